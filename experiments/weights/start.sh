# Sourced by every call on the device machine: unpacks once, starts the workers once.
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 D=/tmp/d G=$PWD/.gpu
export GRAPH_PY=$G/src/molae_pyg/chem/graph.py CHUNK=250
SETS="bace bbbp clintox sider lipo qm7 tox21"; NUM_SETS=55
mkdir -p $D
count() { ls $D/$1 2>/dev/null | grep -c '^[0-9]*.npz$'; }
if [ ! -e $D/started ]; then
  nvidia-smi -L; nproc --all; date
  cp -r $G $D/gpu; G=$D/gpu; cp -r molae_pyg/weights $G/src/molae_pyg/
  export GRAPH_PY=$G/src/molae_pyg/chem/graph.py
  python3 $G/src/unpack.py $G $D || exit 1
  export PYTHONPATH=$G/src:$D/rd
  LISTS=""; for s in $SETS; do LISTS="$LISTS $G/sets/$s.smi"; done
  NICE=5 setsid nohup python3 $G/src/corpus.py $D/shards 15 fast 0 $D/zincA.npz $G/corpusA.smi.xz $D/zincB.npz $G/corpusB.smi.xz > $D/shards.log 2>&1 &
  export D G SETS LISTS
  setsid nohup bash -c 'until [ $(ls $D/shards | grep -c "^[0-9]*.npz$") -ge 392 ]; do sleep 1; done
    NICE=2 python3 $G/src/corpus.py $D/setshards 15 published 1 $LISTS
    python3 $G/src/merge_sets.py $D/setshards $G/sets $D/sets $SETS && cp $G/sets/freesolv.npz $G/sets/esol.npz $D/sets/ && touch $D/sets/ready' > $D/sets.log 2>&1 &
  touch $D/started
fi
G=$D/gpu
export GRAPH_PY=$G/src/molae_pyg/chem/graph.py PYTHONPATH=$G/src:$D/rd
state() { echo "$(date +%T) shards $(count shards) sets $(count setshards) of $NUM_SETS; $(tail -q -n 2 $D/shards.log $D/sets.log | tr '\n' ' ')"; }
