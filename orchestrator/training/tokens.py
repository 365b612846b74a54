"""Conversations as token ids, made once per study and memory-mapped by every worker."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Part, load_part
from orchestrator.data.instance import Message
from orchestrator.errors import DataError
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import Template, load_tokenizer, make_template

NAMED = 5  # refused rows that a message names


@dataclass(frozen=True)
class Tokens:
    """All instances of a study, end to end.

    Attributes:
        ids: (total,) int32 token ids.
        answer: (total,) bool, tokens that carry loss: the answers and what marks their end.
        starts: (rows + 1,) int64; instance r holds positions starts[r] to starts[r + 1].
    """

    ids: NDArray[np.int32]
    answer: NDArray[np.bool_]
    starts: NDArray[np.int64]

    @cached_property  # asked for several times in every micro-batch
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) int64: tokens of each instance."""
        return np.diff(self.starts)

    def answer_counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),) int64: tokens that carry loss; 0 where the answer was cut away."""
        # As plain arrays: a slice of a memory-mapped one takes eight times as long.
        answer, starts = np.asarray(self.answer), np.asarray(self.starts)
        bounds = zip(starts[rows].tolist(), starts[rows + 1].tolist(), strict=True)
        return np.fromiter((np.count_nonzero(answer[a:b]) for a, b in bounds), np.int64, len(rows))


@dataclass(frozen=True)
class Tokenised:
    """Instances that follow one another as tokens, and what was found on the way.

    Attributes:
        ids: (tokens,) int32.
        answer: (tokens,) bool.
        lengths: (rows,) int64.
        counts: `cut` at max_length, `unanswered`, `proved` and `reshaped`, as `write` returns them.
        changed: as in `Encoder`; so are `examples` and `refused`.
    """

    ids: NDArray[np.int32]
    answer: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    counts: dict[str, int]
    changed: dict[str, int]
    examples: dict[str, str]
    refused: dict[int, str]


@dataclass(frozen=True)
class Tokeniser:
    """Makes tokens of the parts of a dataset, in whatever process.

    Attributes:
        instances: folder of the dataset.
        model: folder of the tokenizer.
        template: `user_assistant`, `chat`, or a text with {prompt} and {answer}.
        max_length: tokens kept of each instance.
    """

    instances: Path
    model: Path
    template: str
    max_length: int

    def __call__(self, part: Part) -> Tokenised:
        encoder = Encoder(*_tools(self.model, self.template))
        conversations, unlearned = load_part(self.instances, part)
        return tokenised(encoder, conversations, self.max_length, unlearned, part.first)


@lru_cache(maxsize=1)  # of a process that tokenises one part after another
def _tools(model: Path, template: str) -> tuple[Any, Template, Prover]:
    tokenizer = load_tokenizer(model)
    return tokenizer, make_template(template, tokenizer), Prover(tokenizer)


def tokenised(
    encoder: Encoder,
    conversations: Iterable[Sequence[Message]],
    max_length: int,
    unlearned: Iterable[Sequence[int]] | None = None,
    first: int = 0,
) -> Tokenised:
    """Tokenise conversations.

    Args:
        encoder: that has made no tokens yet.
        conversations: the messages of each instance, in row order.
        max_length: tokens kept of each instance.
        unlearned: of each instance the positions of answers that carry no loss; None: of none.
        first: row number of the first instance.
    """
    ids, answer = array("i"), bytearray()
    lengths = []
    cut = unanswered = 0
    for row_ids, row_answer in encoder.rows(conversations, unlearned or repeat(()), first):
        kept = row_ids[:max_length]
        ids.extend(kept)
        marks = bytes(row_answer[:max_length])
        answer += marks
        lengths.append(len(kept))
        cut += len(kept) < len(row_ids)
        unanswered += not any(marks)
    return Tokenised(
        np.array(ids, np.int32),
        np.frombuffer(answer, np.bool_),
        np.array(lengths, np.int64),
        {
            "cut": cut,
            "unanswered": unanswered,
            "proved": encoder.proved,
            "reshaped": encoder.reshaped,
        },
        dict(encoder.changed),
        encoder.examples,
        dict(encoder.refused),
    )


def write(
    parts: Iterable[Tokenised],
    folder: Path,
    name_of: Callable[[int], str] = "row {}".format,
    *,
    skipped: int = 0,
) -> dict[str, Any]:
    """Write the parts of a dataset one after another into `ids.npy`, `answer.npy` and `starts.npy`.

    The files grow as parts come: memory is one of them, whatever their number.

    Args:
        parts: of all instances behind the skipped ones, in row order.
        folder: of the files.
        name_of: row -> how a message calls it.
        skipped: first rows that have no tokens in this table.

    Returns:
        Counts: instances, tokens, instances cut at max_length, instances left without any answer
        token, instances that were `proved`, and those of which the template changed white space;
        and what the tokenizer `changed` inside of messages, with `examples`, as in `Encoder`.

    Raises:
        DataError: a row would not be fed what its messages say, with both texts; all rows are
            looked at first.
    """
    counts = dict.fromkeys(("instances", "tokens", "cut", "unanswered", "proved", "reshaped"), 0)
    changed: Counter[str] = Counter()
    examples: dict[str, str] = {}
    refused: dict[int, str] = {}
    with ExitStack() as stack:
        ids, answer, starts = (
            stack.enter_context(_Column(folder / f"{name}.npy", dtype))
            for name, dtype in (("ids", np.int32), ("answer", np.bool_), ("starts", np.int64))
        )
        starts.append(np.zeros(1 + skipped, np.int64))
        for part in parts:
            ids.append(part.ids)
            answer.append(part.answer)
            starts.append(counts["tokens"] + np.cumsum(part.lengths))
            found = {"instances": len(part.lengths), "tokens": len(part.ids), **part.counts}
            counts = {name: count + found[name] for name, count in counts.items()}
            changed.update(part.changed)
            examples = part.examples | examples
            refused |= part.refused
    if refused:
        raise _refusal(refused, name_of)
    return {**counts, "changed": dict(changed), "examples": examples}


def load(folder: Path) -> Tokens:
    """Memory-map what `write` left."""
    arrays = [
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("ids", "answer", "starts")
    ]
    return Tokens(*arrays)


class _Column:
    """A one-dimensional .npy file that grows at its end."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._length = 0
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(values.astype(self._dtype, copy=False).tobytes())
        self._length += len(values)

    def __enter__(self) -> _Column:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # numpy pads the header so that a longer first axis fits into the same bytes.
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._length,),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def _refusal(refused: dict[int, str], name_of: Callable[[int], str]) -> DataError:
    """The first refused row and why, and how many more there are."""
    first, *others = refused
    more = ""
    if others:
        few = ", ".join(name_of(row) for row in others[:NAMED])
        more = f". {len(others):,} more rows are refused: {few}{', ...' * (len(others) > NAMED)}"
    return DataError(f"{name_of(first)}: {refused[first]}{more}")
