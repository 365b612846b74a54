"""Attention that keeps the rows of a packed batch apart, and the proof that a model keeps to it.

transformers hands where rows end, `cu_seq_lens_q` and its fellows, from the model's arguments to
the attention of every layer. On a GPU torch's kernel for rows of unequal lengths reads them; on a
CPU rows go through torch's own attention, those of one length together: where lengths are equal as
fast as padded rows, and else faster, by a tenth to a quarter on real texts (experiments/LOG.md).
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn

from orchestrator.config.training import Model
from orchestrator.training.batches import collate
from orchestrator.training.device import Device
from orchestrator.training.losses import answer_logits
from orchestrator.training.memory import out_of_memory
from orchestrator.training.tokens import Tokens

PACKED = "packed_rows"
CHECKED = (5, 7)  # tokens of the two rows of the check
ALIKE = 1e-4  # largest difference between two logits, of the spread of all
CLOSE = 0.05  # root mean square of a difference, of the spread of a token's logits


def why_padded(
    model: Any, settings: Model, device: Device, longest: int | None = None
) -> str | None:
    """Why rows cannot lie end to end in one sequence for this model; None where they can.

    Then the model was told to attend as this module does. Where it does not keep rows apart, as
    layers with a state or with attention of their own, it is left as it was.

    Args:
        model: a causal language model of transformers, or peft's wrapper around one; every rank
            calls.
        longest: tokens of a row, at most; None: `model.max_length`.
    """
    longest = longest or settings.max_length
    gpu = device.torch_device.type == "cuda"
    if settings.attention != "sdpa":
        return f"model.attention is {settings.attention}"
    if gpu and device.dtype == torch.float32:
        return "on GPUs rows are kept apart in 16 bits only"
    if settings.compile and not gpu:
        return "on the CPU a compiled model would be compiled for each length"
    config = model.config.get_text_config()
    if longest > (getattr(config, "attention_chunk_size", None) or math.inf):
        return f"this model attends in chunks shorter than rows of {longest:,} tokens"
    training = model.training
    windows: set[int | None] = set()
    model.eval()
    try:
        attend_packed(model, windows)
        apart = keeps_rows_apart(model, device.torch_device)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:  # it takes no such input
        if out_of_memory(error):
            raise
        apart = False
    finally:
        model.train(training)
    window = getattr(config, "sliding_window", None)
    if apart and (window is None or window >= longest or window in windows):
        attend_packed(model)
        return None
    model.set_attn_implementation(settings.attention)
    return (
        "this model keeps its window in a mask alone" if apart
        else "what this model says of a row depends on the row before it"
    )  # fmt: skip


def attend_packed(model: Any, windows: set[int | None] | None = None) -> None:
    """Tells a model of transformers to attend as this module does.

    Args:
        windows: takes the sliding window of each layer that says one, whenever it attends.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def noting(*arguments: Any, **settings: Any) -> tuple[torch.Tensor, None]:
        assert windows is not None
        windows.add(settings.get("sliding_window"))
        return packed_attention(*arguments, **settings)

    AttentionInterface.register(PACKED, packed_attention if windows is None else noting)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    model.set_attn_implementation(PACKED)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each row of a packed batch to itself; torch's own for other batches.

    Args:
        query: (n, heads, tokens, head size).
        key, value: (n, heads or fewer, tokens, head size).
        attention_mask: of a batch that is not packed; else not read.
        settings: those of transformers' attentions. Of a packed batch `cu_seq_lens_q` is where each
            row begins, and the end, (rows + 1,) int32, `max_length_q` the longest row's tokens;
            `sliding_window` is how many tokens a position sees, itself among them, and None all.

    Returns:
        ((n, tokens, heads, head size), None), as transformers asks for.
    """
    ends = settings.get("cu_seq_lens_q")
    if ends is None:
        return _plain(module, (query, key, value), attention_mask, settings)
    window = settings.get("sliding_window")
    if query.is_cuda and not settings.get("dropout"):
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        longest, left = settings["max_length_q"], -1 if window is None else window - 1
        attended = varlen_attn(
            query, key, value, ends, ends, longest, longest,
            scale=settings.get("scaling"), window_size=(left, 0), enable_gqa=True,
        )  # fmt: skip
        return cast("torch.Tensor", attended)[None], None
    parts, begin = [], 0
    for length, rows in groupby(ends.diff().tolist()):
        count = len(list(rows))
        end = begin + count * length
        # (count, heads, length, head size): neighbours of one length go together.
        alike = tuple(
            tensor[0, :, begin:end].unflatten(1, (count, length)).transpose(0, 1)
            for tensor in (query, key, value)
        )
        mask = _window_mask(length, window, query.device)
        parts.append(_plain(module, alike, mask, settings)[0].flatten(0, 1))
        begin = end
    return torch.cat(parts)[None], None


def _plain(
    module: torch.nn.Module,
    tensors: tuple[torch.Tensor, ...],
    mask: torch.Tensor | None,
    settings: dict[str, Any],
) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    attend: Any = sdpa_attention_forward
    attended: tuple[torch.Tensor, None] = attend(module, *tensors, mask, **settings)
    return attended


def _window_mask(
    tokens: int, sliding_window: int | None, device: torch.device
) -> torch.Tensor | None:
    """(1, 1, tokens, tokens) bool, what each position sees; None where it sees all before it."""
    if sliding_window is None or tokens <= sliding_window:
        return None
    place = torch.arange(tokens, device=device)
    behind = place[:, None] - place
    return ((behind >= 0) & (behind < sliding_window))[None, None]


@torch.no_grad()
def keeps_rows_apart(model: Any, device: torch.device) -> bool:
    """Whether a row has the logits it has alone, and the same behind any other row.

    Args:
        model: on the device, in evaluation mode.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    first, second = CHECKED
    ids = np.random.default_rng(0).integers(vocabulary, size=first + second)
    other = (ids[:first] + 1) % vocabulary
    starts = np.cumsum([0, first, second, first])
    rows = Tokens(np.concatenate([ids, other]), np.ones(starts[-1], np.bool_), starts)
    behind, behind_other, alone = (
        answer_logits(model, collate(rows, np.array(chosen), packed=packed).to(device))
        for chosen, packed in (([0, 1], True), ([2, 1], True), ([1], False))
    )
    behind, behind_other = (logits[first - 1 :] for logits in (behind, behind_other))
    close = (behind - alone).square().mean(dim=-1).sqrt() <= CLOSE * alone.std(dim=-1)
    # Experts are chosen by groups of tokens, whose sizes change the last bits.
    alike = (behind - behind_other).abs().amax() <= ALIKE * alone.std()
    return bool(close.all() and alike)
