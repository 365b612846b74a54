"""How the rows of one global batch are regrouped, and how a group becomes tensors.

The gradient of a step does not depend on either (design: the loss is normalised over the global
batch), so both may serve speed alone. Rows that go through the model together lie end to end in one
sequence, with no token between them, where the model keeps them apart (`attention.py`); else they
are padded to the longest.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from heapq import heapreplace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.training.tokens import Tokens

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        rows: (n,) int64 rows of the token table.
        filler: the rows only keep a rank in step with the others; they carry no loss and are
            not part of the realised order.
    """

    rows: Rows
    filler: bool = False


def pack(rows: Rows, lengths: Rows, token_budget: int, ranks: int) -> list[list[MicroBatch]]:
    """Group rows into micro-batches of nearly equally many tokens, the same number on every rank.

    Longest first, each to the micro-batch with the fewest tokens (Graham's longest processing time
    first), into as few for each rank as keep to the budget.

    Args:
        rows: (n,) int64 rows to be covered, each once.
        lengths: tokens of every row of the token table.
        token_budget: tokens in one micro-batch; a longer row goes alone.
        ranks: data-parallel ranks.

    Returns:
        For each rank its micro-batches, longest first.
    """
    if not len(rows):
        return [[] for _ in range(ranks)]
    ordered = rows[np.lexsort((rows, -lengths[rows]))]

    def fits(passes: int) -> bool:
        groups = _dealt(ordered, lengths, passes * ranks)
        return all(len(group) == 1 or lengths[group].sum() <= token_budget for group in groups)

    most = -(-len(rows) // ranks)  # each row alone
    least = min(most, -(-int(lengths[rows].sum()) // (token_budget * ranks)))
    passes = least + bisect_left(range(least, most), True, key=fits)
    groups = _dealt(ordered, lengths, passes * ranks)
    batches = [MicroBatch(np.array(group)) for group in groups]
    batches.sort(key=lambda batch: (-lengths[batch.rows].sum(), batch.rows[0]))
    batches += [MicroBatch(ordered[-1:], filler=True)] * (passes * ranks - len(batches))
    # Every other round in reverse, so that no rank has the longest of each.
    rounds = [batches[i * ranks : (i + 1) * ranks][:: -1 if i % 2 else 1] for i in range(passes)]
    return [list(share) for share in zip(*rounds, strict=True)]


def _dealt(ordered: Rows, lengths: Rows, count: int) -> list[list[int]]:
    """Rows, longest first, each to the group with the fewest tokens; without the empty groups."""
    groups: list[list[int]] = [[] for _ in range(min(count, len(ordered)))]
    loads = [(0, number) for number in range(len(groups))]  # a heap: the fewest tokens first
    for row, length in zip(ordered.tolist(), lengths[ordered].tolist(), strict=True):
        load, least = loads[0]
        groups[least].append(row)
        heapreplace(loads, (load + length, least))
    return groups


def grouped(
    rows: Rows, lengths: Rows, token_budget: int, ranks: int, *, packed: bool
) -> list[list[MicroBatch]]:
    """The micro-batches of every rank, of rows that lie end to end or are padded."""
    return (pack if packed else split)(rows, lengths, token_budget, ranks)


def positions(lengths: Rows, *, packed: bool) -> int:
    """How many positions a micro-batch of rows of these lengths puts through the model."""
    return int(lengths.sum() if packed else lengths.max() * len(lengths))


def split(rows: Rows, lengths: Rows, token_budget: int, ranks: int) -> list[list[MicroBatch]]:
    """Group rows of similar length, for padding, into micro-batches, as many on every rank.

    Args:
        rows: (n,) int64 rows to be covered, each once.
        lengths: tokens of every row of the token table.
        token_budget: padded tokens in one micro-batch; a longer row goes alone.
        ranks: data-parallel ranks.

    Returns:
        For each rank its micro-batches, longest first.
    """
    ordered = rows[np.lexsort((rows, -lengths[rows]))]
    groups: list[Rows] = []
    start = 0
    while start < len(ordered):
        # The first row of a group is its longest, so it sets the padded length.
        size = max(1, int(token_budget // lengths[ordered[start]]))
        groups.append(ordered[start : start + size])
        start += size
    while len(groups) % ranks and max(map(len, groups)) > 1:
        widest = max(range(len(groups)), key=lambda i: len(groups[i]) * lengths[groups[i][0]])
        if len(groups[widest]) == 1:
            widest = max(range(len(groups)), key=lambda i: len(groups[i]))
        half = len(groups[widest]) // 2
        groups[widest : widest + 1] = [groups[widest][:half], groups[widest][half:]]
    batches = [MicroBatch(group) for group in groups]
    while len(batches) % ranks:
        batches.append(MicroBatch(ordered[-1:], filler=True))
    return [batches[rank::ranks] for rank in range(ranks)]


@dataclass(frozen=True)
class Batch:
    """A micro-batch as tensors.

    Attributes:
        inputs: keyword arguments of the model. Logits are computed where answers need them only:
            the vocabulary projection is a fifth of a small model's work.
        targets: (k,) int64 tokens that carry loss, row after row.
        places: (k,) int64, where the logits that score them lie among those of the model,
            flattened; None: they are those of the model, in this order.
        owners: (k,) int64 numpy, the row of the micro-batch that each belongs to.
    """

    inputs: dict[str, Any]
    targets: torch.Tensor
    places: torch.Tensor | None
    owners: NDArray[np.int64]

    def to(self, device: torch.device) -> Batch:
        """The same on a device; the host does not wait for it."""
        return replace(
            self,
            inputs={name: moved(value, device) for name, value in self.inputs.items()},
            targets=moved(self.targets, device),
            places=moved(self.places, device),
        )


def moved(value: Any, device: torch.device) -> Any:
    """A tensor on a device, copied while the host goes on; anything else as it is."""
    if not isinstance(value, torch.Tensor) or device.type == "cpu":
        return value
    return value.pin_memory().to(device, non_blocking=True)


def collate(tokens: Tokens, rows: Rows, *, packed: bool) -> Batch:
    """Makes one batch of the rows, in the host's memory: end to end, or padded on the left."""
    return _packed(tokens, rows) if packed else _padded(tokens, rows)


def _packed(tokens: Tokens, rows: Rows) -> Batch:
    """Inputs of one sequence, (1, tokens), with positions that restart."""
    lengths = tokens.lengths[rows]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    ids, answer = (np.concatenate(column) for column in _columns(tokens, rows))
    answer[ends[:-1]] = False  # nothing foretells the first token of a row
    places = np.flatnonzero(answer)
    positions = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    row_ends = torch.as_tensor(ends, dtype=torch.int32)
    longest = int(lengths.max())
    return Batch(
        inputs={
            "input_ids": torch.as_tensor(ids[None], dtype=torch.int64),
            "position_ids": torch.as_tensor(positions[None]),
            # Of four dimensions: transformers takes it for finished, and makes none.
            "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool),
            # The logit of a position scores the next token.
            "logits_to_keep": torch.as_tensor(places - 1),
            "cu_seq_lens_q": row_ends,
            "cu_seq_lens_k": row_ends,
            "max_length_q": longest,
            "max_length_k": longest,
        },
        targets=torch.as_tensor(ids[places], dtype=torch.int64),
        places=None,
        owners=np.repeat(np.arange(len(rows)), lengths)[places],
    )


def _padded(tokens: Tokens, rows: Rows) -> Batch:
    """Inputs (n, length), padded on the left, which lines the answers up at the right end."""
    lengths = tokens.lengths[rows]
    width = int(lengths.max())
    mask = np.arange(width) >= (width - lengths)[:, None]
    ids, answer = np.zeros(mask.shape, np.int64), np.zeros(mask.shape, np.bool_)
    ids[mask], answer[mask] = (np.concatenate(column) for column in _columns(tokens, rows))
    answer[np.arange(len(rows)), width - lengths] = False  # nothing foretells a row's first token
    owners, columns = np.nonzero(answer)
    first = max(0, int(columns.min()) - 1) if len(columns) else width - 1
    return Batch(
        inputs={
            "input_ids": torch.as_tensor(ids),
            "attention_mask": torch.as_tensor(mask.astype(np.int64)),
            "position_ids": torch.as_tensor(np.maximum(np.cumsum(mask, axis=1) - 1, 0)),
            "logits_to_keep": width - first,
        },
        targets=torch.as_tensor(ids[owners, columns]),
        # The logit of a position scores the next token.
        places=torch.as_tensor(owners * (width - first) + columns - 1 - first),
        owners=owners,
    )


def _columns(tokens: Tokens, rows: Rows) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    """Token ids and answer marks of each row."""
    parts = [slice(tokens.starts[row], tokens.starts[row + 1]) for row in rows]
    return [tokens.ids[part] for part in parts], [tokens.answer[part] for part in parts]
