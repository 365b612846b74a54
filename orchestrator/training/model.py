"""The pretrained model as a module that can be trained: arithmetic, adapters, kernels.

Code that comes with a model is never run, and only safetensors are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from orchestrator.config.training import Model
from orchestrator.errors import ModelError, first_line
from orchestrator.models import check_folder
from orchestrator.training.adapters import adapter_type
from orchestrator.training.device import Device


def load_model(
    path: Path,
    model: Model,
    device: Device,
    deepspeed: dict[str, Any] | None = None,
    trained_adapter: Path | None = None,
) -> torch.nn.Module:
    """The model on its device, its trainable parameters those with `requires_grad`.

    All weights of the file have the device's dtype, a new adapter's are float32. These depend on
    the seed of torch alone, whatever loading has drawn.

    Args:
        path: folder in transformers' format with safetensors.
        model: adapter, attention and kernels.
        device: of this rank.
        deepspeed: DeepSpeed's configuration. Under ZeRO-3 the weights are loaded in partitions,
            and no rank ever holds them all.
        trained_adapter: folder of the adapter to put beside the model, in peft's format; None: a
            new one, where the settings ask for one.

    Returns:
        A causal language model of transformers; with an adapter, peft's wrapper around it.

    Raises:
        ModelError: the folder is not safe to load, lacks weights, or has no layer that an adapter
            names.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    check_folder(path, f"the model folder {path}")
    adapter = adapter_type(model.adapter)
    partitioned = (deepspeed or {}).get("zero_optimization", {}).get("stage") == 3
    # transformers looks for it while it loads, and only as long as it is referred to.
    partitioning = HfDeepSpeedConfig(deepspeed) if partitioned else None
    factory: Any = AutoModelForCausalLM
    try:
        module, loading = factory.from_pretrained(
            path,
            dtype=device.dtype,
            attn_implementation=model.attention,
            use_safetensors=True,
            trust_remote_code=False,
            # Straight to the device: several ranks would otherwise fill the host's memory at once.
            device_map=None if partitioned else {"": device.torch_device},
            quantization_config=adapter.quantisation(device),
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the model {path} cannot be loaded: {first_line(error)}") from error
    del partitioning
    check_loaded(loading, f"the model {path}")
    accelerate(module, model)
    if trained_adapter is None:
        module = adapter.attach(module, model.adapter, device)
    else:
        from peft import PeftModel

        module = PeftModel.from_pretrained(module, str(trained_adapter))
    if model.compile:
        # In place: the names of the parameters, and with them saved files, stay as they are.
        # Batches differ in size and length, and would be compiled one by one.
        module.compile(dynamic=True)
    module.train()
    return module


def check_loaded(loading: dict[str, Any], what: str) -> None:
    """Refuse a model with weights that its files lack: transformers draws them at random.

    Args:
        loading: what `from_pretrained` says with `output_loading_info`; tied weights are not
            missing.
        what: how an error calls the model.

    Raises:
        ModelError: naming the first three.
    """
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{what} lacks the weights {', '.join(missing[:3])}: random ones would stand in their "
            "place. Fetch it again, or name another"
        )


def accelerate(module: Any, model: Model) -> None:
    """Memory and speed that change no result."""
    if model.gradient_checkpointing:
        # The reentrant kind gives no gradients where the inputs need none, as beside an adapter.
        module.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False}
        )
    if model.liger:
        from transformers.integrations.liger import apply_liger_kernel

        # Not its losses: the loop normalises over the global batch itself, from logits.
        losses = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        apply_liger_kernel(module, losses)
