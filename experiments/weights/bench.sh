# After the long run: the CPU quiet, then the benchmarks of the repository and of gpu.py.
. $(dirname $0)/start.sh
R=$PWD
for i in $(seq ${LIMIT:-250}); do grep -q RESULT $D/long.log && break; sleep 1; done
grep '"step"' $D/long.log | tail -2 | cut -c1-420; grep -v '"step"' $D/long.log | tail -4 | cut -c1-3000; state
cp $D/long.log $D/probes.log $D/probes.jsonl $OUT/ 2>/dev/null; cat $D/long/*.jsonl > $OUT/long.jsonl 2>/dev/null
for f in $(ls $D/long/long.safetensors 2>/dev/null || ls $D/long/*.part.safetensors); do split -b 15M $f $OUT/$(basename $f).; done
kill $(pgrep -f src/corpus.py) 2>/dev/null
mkdir -p $D/bin $D/uw; printf '#!/bin/sh\ncase "$*" in *rev-parse*) cat %s/commit;; esac\n' $G > $D/bin/git; chmod +x $D/bin/git
for w in $G/uw/*.whl; do python3 -m zipfile -e $w $D/uw; done
export MOLAE_DATA=$G/data PYTHONPATH=$R:$D/rd:$D/uw:$D/meta PATH=$D/bin:$PATH
mkdir -p $D/meta; cp -r $G/src/*.dist-info $D/meta/; unset OMP_NUM_THREADS
cp $G/src/gpu.py benchmarks/
timeout ${GPU:-150} python3 benchmarks/gpu.py --molecules 1024 --turns 5 2>&1 | grep -v Warn | cut -c1-3500 | tail -30
timeout ${PRE:-80} python3 benchmarks/pretraining_step.py --turns 3 2>&1 | tail -25 | cut -c1-1500
cp benchmarks/results/gpu.json $OUT/; [ benchmarks/results/pretraining_step.json -nt benchmarks/gpu.py ] && cp benchmarks/results/pretraining_step.json $OUT/
ls -la $OUT | tail -n +4 | cut -c20-90
