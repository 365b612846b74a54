"""One model, measured as trials measure theirs before the first step; nothing is trained.

Runs under any launcher, as `loop` does. Not for a trial's own steps: the loop measures those.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.models.node_copy import on_this_node
from orchestrator.storage.files import GENERATIONS_FILE, LOSSES_FILE
from orchestrator.training import tokens as token_table
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import init_distributed
from orchestrator.training.engine import deepspeed_config, frozen_engine
from orchestrator.training.evaluation.losses import Evaluator
from orchestrator.training.memory import measured
from orchestrator.training.model import load_model
from orchestrator.training.outcome import mark_finished
from orchestrator.training.spec import TrialSpec, inputs_of
from orchestrator.training.start import agreed_device, agreed_packing


def evaluate_model(spec: TrialSpec, adapter: Path | None, facts: dict[str, Any]) -> None:
    """Write the losses of a model, and its answers where the study asks for some, with digests.

    The lines of both tables have step 0, as those of a trial's untouched model.

    Args:
        spec: as of a trial that would train this model; every rank calls with the same one. Its
            folder takes the tables and the result.
        adapter: folder of a trained adapter beside the model; None for none.
        facts: what the result says besides what is measured.

    Raises:
        TrainingError: a loss is not finite.
        ResourceError: memory ran out, and smaller micro-batches cannot help.
    """
    began, config = time.monotonic(), spec.config
    rank, ranks = init_distributed(gpu=config.training.gpus_per_worker > 0)
    device = agreed_device(config, ranks)
    torch.manual_seed(config.seed)
    local = on_this_node(spec.model, spec.model_digest, config.model.cache)
    settings = deepspeed_config(config.training, device)
    model = load_model(local, config.model, device, settings, adapter)
    engine = frozen_engine(model, config.training, device)
    packed = agreed_packing(engine.module, config, device) is None
    inputs, tokens = inputs_of(spec.dataset, np.empty(0, np.int64)), token_table.load(spec.tokens)
    budget = TokenBudget.read(spec, "evaluation")
    evaluator = Evaluator(spec, inputs, tokens, engine, device, budget, packed=packed)

    training = config.training
    losses, means = measured(evaluator.losses, 0, training, budget, "in an evaluation")
    tables = {LOSSES_FILE: losses}
    if config.evaluation.generate.every is not None:
        answers, scores = measured(evaluator.answers, 0, training, budget, "while it generated")
        tables[GENERATIONS_FILE], means = answers, means | scores
    if rank == 0:
        result = {
            "key": spec.key,
            "means": means,
            "precision": device.precision,
            "seconds": time.monotonic() - began,
        }
        mark_finished(spec.folder, tables, facts | result, there=())
