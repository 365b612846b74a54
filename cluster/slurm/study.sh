#!/usr/bin/env bash
# A study on a Slurm allocation: a Ray node on each of its machines, the driver on the first.
#
#   sbatch --nodes=2 --gpus-per-node=4 --time=24:00:00 cluster/slurm/study.sh STUDY.yaml --output DIR
#
# The arguments are those of `orchestrator run`; DIR must be on storage that all machines share.
# What the time limit cuts off is finished by typing the same again. `ray symmetric-run` would start
# the nodes as well, but it does not pass on the signal that comes before the time limit. The limits
# of the login node stay there: that of locked memory is small, and slows offload down.
#
#SBATCH --job-name=orchestrator
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --propagate=NONE
#SBATCH --signal=B:USR1@120
#SBATCH --output=orchestrator-%j.log
set -euo pipefail

SECONDS_TO_JOIN=300
PORT=6379

# Slurm allots nodes, not networks: whoever reaches a port of this one can try it. Only this job's
# processes can read the token, in a folder of the home that all nodes share.
private=$(mktemp --directory "$HOME/.ray-job-$SLURM_JOB_ID-XXXXXX")
steps=()
# shellcheck disable=SC2329  # the trap calls it
clean_up() {
    if ((${#steps[@]})); then
        kill "${steps[@]}" 2> /dev/null || true
        wait "${steps[@]}" || true
    fi
    rm -rf "$private"
}
trap clean_up EXIT
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/auth_token"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$RAY_AUTH_TOKEN_PATH")

# How the head asks a job to stop that `ray job submit` sends to it, as in the Dockerfile.
export RAY_JOB_STOP_SIGNAL=SIGINT RAY_JOB_STOP_WAIT_TIME_S=120

head_ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
address="$head_ip:$PORT"
on_each=(srun --overlap --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE")

"${on_each[@]}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
    ray start --head --block --node-ip-address="$head_ip" --port="$PORT" \
    --num-cpus="$SLURM_CPUS_ON_NODE" --dashboard-host=127.0.0.1 \
    --temp-dir="/tmp/ray-$SLURM_JOB_ID" &
steps+=("$!")
until ray health-check --address "$address" 2> /dev/null; do
    if ! kill -0 "${steps[0]}" 2> /dev/null || ((SECONDS > SECONDS_TO_JOIN)); then
        echo "error: Ray's head did not start on $SLURMD_NODENAME: see the lines above" >&2
        exit 1
    fi
    sleep 1
done

others=$((SLURM_JOB_NUM_NODES - 1))
if ((others)); then
    "${on_each[@]}" --nodes="$others" --ntasks="$others" --exclude="$SLURMD_NODENAME" \
        ray start --block --address="$address" --num-cpus="$SLURM_CPUS_ON_NODE" &
    steps+=("$!")
fi

export RAY_ADDRESS="$address"
python - "$SLURM_JOB_NUM_NODES" "$SECONDS_TO_JOIN" << 'PYTHON' &
import sys, time
import ray

wanted, seconds = map(int, sys.argv[1:])
deadline = time.monotonic() + seconds
ray.init(logging_level="error")
while (joined := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > deadline:
        sys.exit(f"error: {joined} of {wanted} nodes joined in {seconds} s: see the lines above")
    time.sleep(1)
PYTHON
joining=$!
wait -n "${steps[@]}" "$joining" || true
if kill -0 "$joining" 2> /dev/null; then
    kill "$joining"
    echo "error: a Ray node ended while it started: see the lines above" >&2
    exit 1
fi
wait "$joining"

# With job control a child in the background still hears SIGINT, the signal at which Ray Tune saves
# its state and ends the trials; each continues from its newest checkpoint.
set -m
orchestrator run "$@" &
study=$!
trap 'kill -INT "$study"' USR1 TERM
code=0
wait "$study" || code=$?
while kill -0 "$study" 2> /dev/null; do # a signal ended the wait, not the study
    code=0
    wait "$study" || code=$?
done
exit "$code"
