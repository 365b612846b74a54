"""What a trial loads before its first step: its token table, its model and the engine around it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch.distributed as dist

from orchestrator.config.schema import TrialConfig
from orchestrator.models.node_copy import on_this_node
from orchestrator.training import tokens as token_table
from orchestrator.training.attention import why_padded
from orchestrator.training.device import Device, pick_device, pick_precision
from orchestrator.training.engine import build_engine, deepspeed_config
from orchestrator.training.masters import UpdateFidelity
from orchestrator.training.model import load_model
from orchestrator.training.pinned import lock_offloaded
from orchestrator.training.spec import TrialSpec
from orchestrator.training.tokens import Tokens


class LoadedRank(NamedTuple):
    """What a rank loaded before the first step of a trial.

    Attributes:
        tokens: of all instances of the study.
        test_tokens: of the test sets, as they are measured.
        engine: DeepSpeed's, with the pretrained weights.
        fidelity: compares the engine's weights with those of now.
        why_padded: why rows of a micro-batch are padded; None: they lie end to end.
        seconds: what each part took, and the part before the first one.
    """

    tokens: Tokens
    test_tokens: Tokens
    engine: Any
    fidelity: UpdateFidelity
    why_padded: str | None
    seconds: dict[str, float]


def agreed_device(config: TrialConfig, ranks: int) -> Device:
    """This rank's device, in an arithmetic that all ranks can multiply in; every rank calls."""
    gpu = config.training.gpus_per_worker > 0
    own = pick_precision(config.model.precision, gpu=gpu)
    everywhere: list[str] = [own] * ranks
    dist.all_gather_object(everywhere, own)
    device = pick_device("float32" if "float32" in everywhere else own, gpu=gpu)
    offloads = gpu and config.training.offload != "none"
    return replace(device, pinned=offloads and lock_offloaded())


def agreed_packing(module: Any, config: TrialConfig, device: Device) -> str | None:
    """Why rows of a micro-batch are padded, None where they lie end to end; every rank calls."""
    reasons: list[str | None] = [None] * dist.get_world_size()
    longest = max(config.model.max_length, config.test_length or 0)
    dist.all_gather_object(reasons, why_padded(module, config.model, device, longest))
    return next(filter(None, reasons), None)  # ranks that differed would wait for one another


def load(spec: TrialSpec, device: Device, began: float) -> LoadedRank:
    """Load what the steps of a trial need; every rank calls.

    Args:
        began: when the trial began, in seconds of `time.monotonic`.
    """
    times = [began, time.monotonic()]
    import deepspeed  # noqa: F401  (timed apart from what they load)
    import transformers  # noqa: F401

    times.append(time.monotonic())
    tokens = token_table.load(spec.tokens)
    test_tokens = token_table.load(spec.measured_tokens[0])
    times.append(time.monotonic())
    config = deepspeed_config(spec.config.training, device)
    local = on_this_node(spec.model, spec.model_digest, spec.config.model.cache)
    model = load_model(local, spec.config.model, device, config)
    times.append(time.monotonic())
    engine = build_engine(model, spec.config.training, device, spec.config.seed)
    fidelity = UpdateFidelity(engine)
    padded = agreed_packing(engine.module, spec.config, device)
    times.append(time.monotonic())
    names = ("inputs", "imports", "tokens", "model", "engine")
    parts = dict(zip(names, np.diff(times).tolist(), strict=True))
    seconds = {"seconds": times[-1] - times[0], **parts}
    return LoadedRank(tokens, test_tokens, engine, fidelity, padded, seconds)
