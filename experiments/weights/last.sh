# The long run starts in the background; beside it the rungs are probed; brings back what there is.
. $(dirname $0)/start.sh
if [ ! -e $D/long.log ]; then setsid nohup python3 $G/src/train.py $G/src/${LONG:-long}.json > $D/long.log 2>&1 & fi
if [ -d .gpu2/rungs ] && [ ! -e $D/probes.log ]; then
  cp -r .gpu2/rungs .gpu2/rungs.jsonl $D/; touch $D/probes.log
  setsid nohup bash -c 'until [ -e $D/sets/ready ]; do sleep 1; done
   python3 $G/src/probe_rungs.py $D/rungs.jsonl $D/rungs $D/sets $D/probes.jsonl small' > $D/probes.log 2>&1 &
fi
for i in $(seq ${LIMIT:-560}); do grep -q RESULT $D/long.log && break; sleep 1; done
cat $D/probes.log | cut -c1-420; grep '"step"' $D/long.log | tail -${TAIL:-4} | cut -c1-420; grep -v '"step"' $D/long.log | tail -8 | cut -c1-3000; cat $D/sets.log | tail -2; state
[ -e $OUT ] && cp $D/long.log $D/probes.log $D/probes.jsonl $OUT/ 2>/dev/null; cat $D/long/*.jsonl > $OUT/long.jsonl 2>/dev/null
for f in $(ls $D/long/long.safetensors 2>/dev/null || ls $D/long/*.safetensors 2>/dev/null); do split -b 15M $f $OUT/$(basename $f).; done
ls -la $OUT | tail -n +4 | cut -c20-90
