#!/usr/bin/env bash
# What must be seen first on a machine with GPUs, within 15 minutes: LLaMA-2-7B's shape with random
# weights under each preset, a gang under Ray with checkpoints, and one that loses a rank.
#
#   tests/benchmarks/first_gpu.sh FOLDER
#
# Nothing is fetched. FOLDER gets the log of each part, and table.md: real tokens a second, MFU, the
# share of the time that the optimizer takes, peak and planned memory, or why a part has no figures.
set -uo pipefail
out=$(mkdir -p "${1:?a folder for logs and table}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.." || exit 2
ends=$((SECONDS + 870))
export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-expandable_segments:True} # as trials have it
gpus=$(python -c 'import torch; print(torch.cuda.device_count())') || exit 2
[ "$gpus" -gt 0 ] || { echo "torch sees no GPU: run this on a machine with one" >&2; exit 2; }

{
  python -c 'import torch; print(torch.cuda.get_device_name(), "torch", torch.__version__)'
  echo
  echo "| Part | real tokens/s | useful share | MFU | optimizer | peak GB | planned |"
  echo "| --- | --- | --- | --- | --- | --- | --- |"
} > "$out/table.md"

figure() { # FILE NAME: the last number of the line that begins so
  awk -v name="$2" 'index($0, name) == 1 { print $NF }' "$1"
}

part() { # NAME GPUS OPTIONS: a row of the table
  local name=$1 count=$2 log left
  shift 2
  log="$out/${name//[^a-z0-9]/-}.log"
  left=$((ends - SECONDS))
  if [ "$count" -gt "$gpus" ]; then
    echo "| $name | needs $count GPUs | | | | | |"
  elif [ "$left" -lt 60 ]; then
    echo "| $name | no time left | | | | | |"
  elif timeout $((left < 200 ? left : 200)) torchrun --standalone --nproc-per-node "$count" \
      tests/benchmarks/llama2_7b.py --steps 6 "$@" > "$log" 2>&1; then
    awk -v name="$name" -v rate="$(figure "$log" 'real tokens a second')" \
      -v useful="$(figure "$log" 'useful share')" -v mfu="$(figure "$log" 'MFU')" \
      -v pass="$(figure "$log" 'seconds of forward')" \
      -v update="$(figure "$log" 'seconds of the optimizer')" \
      -v peak="$(figure "$log" 'peak memory')" \
      -v plan="$(sed -n 's/^planned: \([0-9.]* GB\).*/\1/p' "$log")" \
      'BEGIN { printf "| %s | %.0f | %.3f | %.3f | %.0f%% | %.1f | %s |\n", name, rate, useful, mfu,
               100 * update / (pass + update), peak, plan }'
  else
    echo "| $name | failed: $(grep -v '^ ' "$log" | tail -n 1 | cut -c 1-120 | tr '|' '/') | | | | | |"
  fi >> "$out/table.md"
  tail -n 1 "$out/table.md"
}

gang() { # a study of one gang on all GPUs, one rank of which is killed; told in a sentence
  local study=$out/gang/quickstart left=$((ends - SECONDS)) run
  if [ "$left" -lt 90 ]; then
    echo "gang under Ray: no time left"
    return
  fi
  timeout "$left" orchestrator run experiments/quickstart.yaml --output "$out/gang" \
    --set model.name=random:tiny-llama --set embedding.model=random:tiny-bert \
    --set training.gpus_per_worker=1 --set training.workers="$gpus" \
    --set training.zero_stage=2 --set 'training.checkpoint={every: 2}' \
    --set 'sweep={failure_retries: 1}' > "$out/gang.log" 2>&1 &
  run=$!
  until compgen -G "$study/trials/*/checkpoints/step-*" > /dev/null || ! kill -0 "$run" 2> /dev/null
  do sleep 0.2; done
  # The process of one GPU is the trial's own, of several Ray Train's workers.
  python - "$run" << 'END'
import sys, psutil
below = psutil.Process(int(sys.argv[1])).children(recursive=True)
ranks = [p for p in below if p.name().startswith(("ray::RayTrain", "ray::Implicit"))]
max(ranks, key=lambda p: (p.name(), p.create_time())).kill()
END
  if wait "$run" && orchestrator verify "$study" > "$out/verify.log" 2>&1 \
      && grep -q '"resume"' "$study"/trials/*/journal.jsonl; then
    echo "gang of $gpus under Ray: lost a rank, went on from a checkpoint, order proved"
  else
    echo "gang of $gpus under Ray: failed, see gang.log: $(tail -n 1 "$out/gang.log")"
  fi
}

lora=(--adapter lora --no-checkpointing)
part "lora" 1 "${lora[@]}"
part "lora compiled" 1 "${lora[@]}" --compile
part "full one gpu offload" 1 --zero-stage 2 --offload optimizer --no-checkpointing
full=(--zero-stage 2 --no-checkpointing --micro-batch-tokens 1024)
part "full two gpus" 2 "${full[@]}"
part "full two gpus 64 rows" 2 "${full[@]}" --global-batch 64
gang | tee -a "$out/table.md"
echo "table: $out/table.md"
