"""Scores of answers by a reward model: a sequence classifier with one label, or UltraRM's layout.

UltraRM (arXiv 2310.01377) is a Llama whose `regression_head.weight`, (1, hidden), is applied to the
last token of "Human: {prompt}\\n\\nAssistant: {answer}", a blank line between the turns as in the
authors' script. Any other model reads the conversation in its own chat template, or "prompt answer"
where it has none.

A reward model is not trained here and holds its memory only while it scores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.errors import ModelError
from orchestrator.training.batches import split
from orchestrator.training.chat import FIXED_DATE
from orchestrator.training.device import Device
from orchestrator.training.model import check_loaded

REGRESSION_HEAD = "regression_head.weight"


def check_reward_model(folder: Path) -> None:
    """Refuse a folder that holds no reward model, by its configuration and tensor names alone.

    Raises:
        ModelError: what it is instead.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = (config.architectures or ["no architecture"])[0]
    if _file_with_head(folder):
        if config.model_type != "llama":
            raise ModelError(
                f"the reward model {folder} has a {REGRESSION_HEAD}, but is a {config.model_type}: "
                "UltraRM's layout is a llama"
            )
    elif not kind.endswith("ForSequenceClassification") or config.num_labels != 1:
        raise ModelError(
            f"evaluation.generate.reward_model: {folder} holds {kind} with {config.num_labels} "
            "labels. A reward model is a ...ForSequenceClassification with one label, or a llama "
            f"with {REGRESSION_HEAD}"
        )


def has_own_head(folder: Path) -> bool:
    """Whether a model has UltraRM's layout."""
    return _file_with_head(folder) is not None


def parameter_count(folder: Path) -> int:
    """Numbers in the *.safetensors of a model, read from their headers alone."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                count += math.prod(tensors.get_slice(name).get_shape())
    return count


@torch.no_grad()
def rewards(
    folder: Path,
    prompts: Sequence[str],
    answers: Sequence[str],
    token_budget: int,
    device: Device,
) -> NDArray[np.float64]:
    """The reward of each answer. The model is loaded, used and dropped.

    Args:
        folder: the reward model, safetensors.
        prompts, answers: n texts each. Where a model cannot read them whole, the start is cut.
        token_budget: padded tokens in one forward pass.
        device: where it computes, and in which arithmetic; the head is always float32.

    Returns:
        (n,) float64, in the model's own unit.

    Raises:
        ModelError: if the folder holds no reward model, or lacks some of its weights.
    """
    if not prompts:
        return np.empty(0)
    check_reward_model(folder)
    model, head = _load(folder, device)
    ids = _encode(folder, model.config, prompts, answers, ultra=head is not None)
    lengths = np.array([len(each) for each in ids])
    # A classifier finds the last token of a padded row by its padding id: without one, no padding.
    padded = head is not None or model.config.pad_token_id is not None
    rewards = np.empty(len(ids))
    for batch in split(np.arange(len(ids)), lengths, token_budget if padded else 1, ranks=1)[0]:
        scores = _scores(model, head, [ids[row] for row in batch.rows], device.torch_device)
        rewards[batch.rows] = scores.double().cpu().numpy()
    del model, head
    if device.torch_device.type == "cuda":
        torch.cuda.empty_cache()
    return rewards


def _scores(
    model: Any, head: torch.Tensor | None, ids: list[list[int]], device: torch.device
) -> torch.Tensor:
    """(n,) scores of n texts in one forward pass, padded on the right."""
    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    rows = [torch.as_tensor(each, device=device) for each in ids]
    mask = pad([torch.ones_like(row) for row in rows])
    inputs = pad(rows, padding_value=model.config.pad_token_id or 0)
    if head is None:
        return model(input_ids=inputs, attention_mask=mask).logits[:, 0]
    hidden = model(input_ids=inputs, attention_mask=mask, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(rows)), mask.sum(dim=1) - 1]
    return last.float() @ head[0]


def _load(folder: Path, device: Device) -> tuple[Any, torch.Tensor | None]:
    """The model, and the (1, hidden) float32 head of UltraRM's layout or None."""
    from safetensors import safe_open
    from transformers import AutoModelForSequenceClassification, LlamaModel

    file = _file_with_head(folder)
    factory: Any = LlamaModel if file else AutoModelForSequenceClassification
    model, loading = factory.from_pretrained(
        folder,
        dtype=device.dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    check_loaded(loading, f"the reward model {folder}")
    head = None
    if file:
        with safe_open(file, "pt") as tensors:
            head = tensors.get_tensor(REGRESSION_HEAD).to(device.torch_device, torch.float32)
    return model.to(device.torch_device).eval(), head


def _file_with_head(folder: Path) -> Path | None:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            if REGRESSION_HEAD in tensors.keys():  # noqa: SIM118 - not a dictionary
                return path
    return None


def _encode(
    folder: Path, config: Any, prompts: Sequence[str], answers: Sequence[str], *, ultra: bool
) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    # The answer is at the end.
    tokenizer.truncation_side = "left"
    pairs = list(zip(prompts, answers, strict=True))
    chat = tokenizer.chat_template is not None and not ultra
    if ultra:
        texts = [f"Human: {prompt}\n\nAssistant: {answer}" for prompt, answer in pairs]
    elif chat:
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],
                tokenize=False,
                chat_template=FIXED_DATE + tokenizer.get_chat_template(),
            )
            for prompt, answer in pairs
        ]
    else:
        texts = [f"{prompt} {answer}".strip() for prompt, answer in pairs]
    limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", 2**31))
    # A chat template writes its own special tokens.
    encoded = tokenizer(texts, add_special_tokens=not chat, truncation=True, max_length=limit)
    return encoded["input_ids"]
