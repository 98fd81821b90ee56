. $(dirname $0)/start.sh
sleep 2; state
(PYTHONPATH=$PWD:$D/rd timeout 100 python3 -m pytest -x -q -p no:cacheprovider tests/nn/test_fused_attention.py 2>&1 | tail -15) 
state
timeout 150 python3 $G/src/train.py $G/src/smoke.json 2>&1 | tail -40
state; nvidia-smi --query-gpu=memory.used,utilization.gpu --format=csv; date
