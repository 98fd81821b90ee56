. $(dirname $0)/start.sh
state
timeout ${LIMIT:-575} python3 $G/src/train.py $G/src/ladder.json > $D/ladder.log 2>&1
setsid nohup python3 $G/src/train.py $G/src/${LONG:-long}.json > $D/long.log 2>&1 &
grep -v '"step"' $D/ladder.log | tail -30 | cut -c1-1200
cat $D/sets.log; state
cp $D/ladder.log $D/ladder/results.jsonl $OUT/; (cd $D/ladder && tar c *.safetensors | split -b 15M - $OUT/rungs.tar.)
ls -la $OUT | head -20
