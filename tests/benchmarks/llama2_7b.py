"""How many real tokens a second does the training loop push through LLaMA-2-7B on one GPU?

    python tests/benchmarks/llama2_7b.py --adapter lora
    python tests/benchmarks/llama2_7b.py --zero-stage 2 --offload optimizer
    python tests/benchmarks/llama2_7b.py --adapter lora --optimizer adamw_8bit

The loop alone, without Ray, on one GPU or on those of `torchrun`: the project's own model loading,
engine, batches and optimizer step, with random weights of LLaMA-2-7B's shape and rows of random
tokens whose lengths are spread as those of instruction data. Prints real tokens (padding is not
counted) a second, the useful share of what is computed, the peak of the GPU's memory beside what
the plan said, and MFU: 6 N FLOP a real token where all N weights are trained, 4 N for LoRA, of the
peak of all GPUs (989 TFLOP/s: H100, bf16, dense).

All weights with 8-bit states do not fit 80 GB: 12 bytes a weight, 81 GB, before activations. Sums
of gradients in bfloat16 would take more, not less: DeepSpeed copies them to float32 at the step.

Random weights say nothing of losses, and the lengths are made up: for speed and memory alone.
`--layers` and `--hidden` make the model small, which is then no LLaMA-2-7B and has no MFU worth
reading; only so does it run without a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from orchestrator.config.schema import TrialConfig
from orchestrator.estimate.rank import memory_of_rank
from orchestrator.estimate.shapes import ModelSizes, model_sizes
from orchestrator.models.presets import byte_tokenizer, preset_config
from orchestrator.training.attention import why_padded
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import Device, init_distributed, pick_device
from orchestrator.training.engine import build_engine, deepspeed_config, update
from orchestrator.training.evaluation.losses import instance_losses
from orchestrator.training.model import load_model
from orchestrator.training.pinned import lock_offloaded
from orchestrator.training.step import Feeder
from orchestrator.training.tokens import Tokens

DATA = {"reader": "builtin", "split": "pool"}
WARM_UP = 2  # steps: allocator, kernels
TESTS = 64  # rows of an evaluation


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", choices=["none", "lora", "qlora"], default="none")
    parser.add_argument("--zero-stage", type=int, default=1)
    parser.add_argument("--offload", choices=["none", "optimizer", "parameters"], default="none")
    parser.add_argument("--optimizer", choices=["adamw", "adamw_8bit"], default="adamw")
    parser.add_argument("--micro-batch-tokens", type=int, default=4096)
    parser.add_argument("--global-batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "flash_attention_2"])
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--liger", action="store_true")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU")
    parser.add_argument("--layers", type=int, help="fewer layers than 32")
    parser.add_argument("--hidden", type=int, help="narrower than 4096")
    return parser.parse_args()


def trial_config(chosen: argparse.Namespace, *, gpu: bool) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "data": {"pool": DATA, "query": {**DATA, "split": "query"}},
            "model": {
                "adapter": "none" if chosen.adapter == "none" else {"type": chosen.adapter},
                "max_length": 1024,
                "attention": chosen.attention,
                "gradient_checkpointing": not chosen.no_checkpointing,
                "compile": chosen.compile,
                "liger": chosen.liger,
            },
            "training": {
                "global_batch": chosen.global_batch,
                "micro_batch_tokens": chosen.micro_batch_tokens,
                "learning_rate": 1e-6,
                "zero_stage": chosen.zero_stage,
                "offload": chosen.offload,
                "optimizer": chosen.optimizer,
                "gpus_per_worker": int(gpu),
                "workers": dist.get_world_size(),
            },
        }
    )


def save_random(chosen: argparse.Namespace, device: Device, folder: Path) -> None:
    """Random weights of the shape, drawn on the device: seven billion take minutes on a CPU."""
    from transformers import AutoModelForCausalLM

    config = preset_config("llama-2-7b")
    if chosen.layers:
        config.num_hidden_layers = chosen.layers
    if chosen.hidden:
        config.intermediate_size = chosen.hidden * 11_008 // 4096
        config.num_attention_heads = config.num_key_value_heads = max(1, chosen.hidden // 128)
        config.head_dim = chosen.hidden // config.num_attention_heads
        config.hidden_size = chosen.hidden
    with device.torch_device:
        model = AutoModelForCausalLM.from_config(config, dtype=device.dtype)
    model.save_pretrained(folder)
    byte_tokenizer(config.max_position_embeddings).save_pretrained(folder)


def random_tokens(rows: int, vocabulary: int) -> Tokens:
    """Rows of 16 to 1,024 tokens, 200 in the middle; the last quarter is the answer."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(200), 0.8, rows), 16, 1024).astype(np.int64)
    starts = np.concatenate([[0], lengths.cumsum()])
    answer = np.zeros(starts[-1], np.bool_)
    for start, length in zip(starts[:-1], lengths, strict=True):
        answer[start + length * 3 // 4 : start + length] = True
    return Tokens(rng.integers(3, vocabulary, starts[-1]).astype(np.int32), answer, starts)


def measure(config: TrialConfig, folder: Path, device: Device, steps: int) -> dict[str, float]:
    """Run the loop; seconds are medians over the steps after the warm-up."""
    batch, training = config.training.global_batch, config.training
    model = load_model(folder, config.model, device, deepspeed_config(training, device))
    engine = build_engine(model, training, device, seed=0)
    tokens = random_tokens(batch * (WARM_UP + steps) + TESTS, model.config.vocab_size)
    budget = TokenBudget(Path(), "benchmark", "training", training.micro_batch_tokens)
    packed = why_padded(engine.module, config.model, device) is None
    feeder = Feeder(engine, tokens, config, device.torch_device, budget, packed=packed)
    real, shares, passes, updates = 0, [], [], []
    for step in range(WARM_UP + steps):
        rows = np.arange(step * batch, (step + 1) * batch)
        began = clock(device)
        fed = feeder.feed(step + 1, rows)
        middle = clock(device)
        update(engine, training, device, training.learning_rate)
        if step >= WARM_UP:
            passes.append(middle - began)
            updates.append(clock(device) - middle)
            real += int(tokens.lengths[rows].sum())
            shares.append(fed.useful_share)
    seconds = sum(passes) + sum(updates)
    tests = np.arange(TESTS) + batch * (WARM_UP + steps)
    evaluations = []
    for _ in range(2):  # the first one warms up
        began = clock(device)
        instance_losses(engine, tokens, tests, budget.tokens, device.torch_device, packed=packed)
        evaluations.append(clock(device) - began)
    return {
        "real tokens a second": real / seconds,
        "useful share of computed tokens": float(np.mean(shares)),
        "seconds of forward and backward": float(np.median(passes)),
        "seconds of the optimizer": float(np.median(updates)),
        f"seconds of evaluating {TESTS} rows": evaluations[-1],
    }


def clock(device: Device) -> float:
    if device.torch_device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def report(
    config: TrialConfig, sizes: ModelSizes, device: Device, found: dict[str, float], peak: float
) -> None:
    if dist.get_rank():
        return
    for name, value in found.items():
        print(f"{name:<34} {value:12.3f}")
    if device.torch_device.type == "cuda":
        gigabytes = torch.cuda.max_memory_allocated() / 1e9
        print(f"{'peak memory of the GPU, GB':<34} {gigabytes:12.3f}")
        flop = (6 if config.model.adapter == "none" else 4) * sizes.parameters
        share = flop * found["real tokens a second"] / (peak * 1e12 * dist.get_world_size())
        print(f"{'MFU over real tokens':<34} {share:12.3f}")
    print(f"planned: {memory_of_rank(config, sizes, device.precision)}")


def main() -> None:
    chosen = options()
    gpu = torch.cuda.is_available()
    if not gpu and not (chosen.layers and chosen.hidden):
        raise SystemExit(
            "LLaMA-2-7B needs a GPU, and this machine has none: run this on a machine with one, "
            "or try the script with --layers 2 --hidden 64"
        )
    init_distributed(gpu=gpu)
    device = pick_device("bfloat16" if gpu else "float32", gpu=gpu)
    offloads = gpu and chosen.offload != "none"
    device = replace(device, pinned=offloads and lock_offloaded())
    config = trial_config(chosen, gpu=gpu)
    with tempfile.TemporaryDirectory() as folder:
        save_random(chosen, device, Path(folder))
        if gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        sizes = model_sizes(Path(folder))
        where = torch.cuda.get_device_name() if gpu else "CPU"
        if dist.get_rank() == 0:
            print(f"{sizes.parameters:,} parameters, {device.precision}, {where}; {vars(chosen)}")
        found = measure(config, Path(folder), device, chosen.steps)
    report(config, sizes, device, found, chosen.peak)


if __name__ == "__main__":
    main()
