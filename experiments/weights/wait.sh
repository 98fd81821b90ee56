# Waits for the long run, at most LIMIT seconds, and brings back what there is.
. $(dirname $0)/start.sh
for i in $(seq ${LIMIT:-550}); do grep -q RESULT $D/long.log && break; pgrep -f long > /dev/null || break; sleep 1; done
grep -v '"step"' $D/long.log | tail -8 | cut -c1-2500; grep '"step"' $D/long.log | tail -${TAIL:-6} | cut -c1-700; state
cp $D/long.log $OUT/; cp $D/long/*.jsonl $OUT/ 2>/dev/null
for f in $D/long/*.safetensors; do split -b 15M $f $OUT/$(basename $f).; done
ls -la $OUT | head -20
