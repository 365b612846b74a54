"""A trained model as files that transformers, or peft for an adapter, reads.

Not for resuming: optimizer and random state are a checkpoint's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.config.training import Model
from orchestrator.errors import TrainingError
from orchestrator.storage.artifacts import commit, scratch_beside
from orchestrator.storage.files import MODEL_FOLDER, STEP_MODELS_FOLDER


def saved_model(trial_folder: Path, step: int, last: int) -> Path:
    """Where a trial keeps its model after a step; `last` is the trial's last."""
    return trial_folder / MODEL_FOLDER if step == last else step_model(trial_folder, step)


def step_model(trial_folder: Path, step: int) -> Path:
    """Where the model of a trial is kept as it was after a step."""
    return trial_folder / STEP_MODELS_FOLDER / f"step-{step}"


def forget_models_after(trial_folder: Path, step: int) -> None:
    """Remove the models of steps that an attempt makes again; one rank calls."""
    for path in (trial_folder / STEP_MODELS_FOLDER).glob("step-*"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)


def save_trained(engine: Any, folder: Path, model_path: Path, model: Model) -> None:
    """Write the adapter, or the whole model, as safetensors with its tokenizer.

    The weights are those that the model computes with, in their dtype. The folder appears when it
    is complete, and takes the place of an older one.

    Args:
        engine: the DeepSpeed engine; every rank must call, for ZeRO-3 gathers its partitions.
        folder: where the files go; rank 0 writes them, other ranks return earlier.
        model_path: folder of the pretrained model, for its tokenizer.
        model: the pretrained model as the study names it. An adapter's files name it, and its
            revision, as what they belong to, not a folder of this machine.

    Raises:
        TrainingError: a weight came back empty.
    """
    from peft import PeftModel

    module = engine.module
    adapter = isinstance(module, PeftModel)
    weights = _gathered(module, trainable=adapter)
    if dist.get_rank() != 0:
        return
    if empty := [name for name, weight in weights.items() if not weight.numel()]:
        raise TrainingError(f"the trained model was not saved: {empty[0]} is empty")
    shutil.rmtree(folder, ignore_errors=True)
    with scratch_beside(folder) as scratch:
        made = scratch / "model"
        if adapter:
            _name_base(module, model)
        _write(module, weights, made, model_path)
        commit(made, folder, {"kind": "adapter" if adapter else "model"})


def _gathered(module: torch.nn.Module, *, trainable: bool) -> dict[str, torch.Tensor]:
    """The weights on the host of rank 0, one whole tensor on the device at a time.

    Args:
        trainable: only the parameters that were trained; a frozen model is not copied.
    """
    import deepspeed

    copies: dict[int, torch.Tensor] = {}
    weights = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if trainable and not value.requires_grad:
            continue
        # Tied weights stay one tensor under two names: transformers writes them once.
        if id(value) not in copies:
            with deepspeed.zero.GatheredParameters([value], enabled=hasattr(value, "ds_id")):
                copies[id(value)] = (
                    value.detach().to("cpu", copy=True) if dist.get_rank() == 0 else torch.empty(0)
                )
        weights[name] = copies[id(value)]
    return weights


def _name_base(module: Any, model: Model) -> None:
    name, config = model.name, module.active_peft_config
    config.base_model_name_or_path, config.revision = name, model.revision
    base = module.get_base_model()
    base.name_or_path = base.config.name_or_path = name  # what peft's model card is filled from


def _write(module: Any, weights: dict[str, torch.Tensor], folder: Path, model_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer

    if isinstance(module, PeftModel):
        # Otherwise peft may ask the hub whether the vocabulary has grown.
        module.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
    else:
        module.save_pretrained(folder, state_dict=weights)
    tokenizer = AutoTokenizer.from_pretrained(model_path, trust_remote_code=False)
    tokenizer.save_pretrained(folder)
