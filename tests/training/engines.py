"""Engines over a random tiny Llama, and what some of their steps come to."""

import torch
from transformers import AutoModelForCausalLM

from orchestrator.models.presets import preset_config
from orchestrator.training.device import init_distributed, pick_device
from orchestrator.training.engine import build_engine, update

FLOAT32 = pick_device("float32", gpu=False)
BFLOAT16 = pick_device("bfloat16", gpu=False)
IDS = torch.randint(3, 250, (4, 24), generator=torch.Generator().manual_seed(1))


def tiny(dtype=torch.float32):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(preset_config("tiny-llama"), dtype=dtype)


def train(training, device=FLOAT32, model=None, steps=3):
    """Losses and norms of some steps on one batch in two halves, and the engine."""
    init_distributed(gpu=False)
    engine = build_engine(model or tiny(device.dtype), training, device, seed=0)
    losses, norms = [], []
    for _ in range(steps):
        total = 0.0
        for half in (0, 1):
            ids = IDS[2 * half : 2 * half + 2]
            engine.set_gradient_accumulation_boundary(half == 1)
            loss = engine(input_ids=ids, labels=ids, use_cache=False).loss / 2
            engine.backward(loss, scale_wrt_gas=False)
            total += loss.item()
        losses.append(total)
        norms.append(update(engine, training, device, training.learning_rate))
    return losses, norms, engine
