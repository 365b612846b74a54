"""Conversations as token ids, made once per study and memory-mapped by every worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.instance import Message
from orchestrator.errors import DataError
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import make_template

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
        return np.array([self.answer[self.starts[r] : self.starts[r + 1]].sum() for r in rows])


def write(
    conversations: Iterable[Sequence[Message]],
    tokenizer: Any,
    template: str,
    max_length: int,
    folder: Path,
    *,
    unlearned: Iterable[Sequence[int]] | None = None,
    name_of: Callable[[int], str] = "row {}".format,
) -> dict[str, Any]:
    """Tokenise conversations into `ids.npy`, `answer.npy` and `starts.npy`.

    The files grow as rows come: memory is one batch of conversations, whatever their number.

    Args:
        conversations: the messages of each instance, in row order.
        tokenizer: a fast Hugging Face tokenizer.
        template: `user_assistant`, `chat`, or a text with {prompt} and {answer}.
        max_length: tokens kept of each instance.
        unlearned: of each instance the positions of answers that carry no loss; None: of none.
        name_of: row -> how a message calls it.

    Returns:
        Counts: instances, tokens, instances cut at max_length, instances left without any answer
        token, instances that were `proved`, and those of which the template changed white space;
        and what the tokenizer `changed` inside of messages, with `examples`, as in `Encoder`.

    Raises:
        ModelError: the tokenizer has not what the template needs.
        DataError: a row would not be fed what its messages say, with both texts; all rows are
            looked at first.
    """
    rows = total = cut = unanswered = 0
    encoder = Encoder(tokenizer, make_template(template, tokenizer), Prover(tokenizer))
    with ExitStack() as stack:
        ids, answer, starts = (
            stack.enter_context(_Column(folder / f"{name}.npy", dtype))
            for name, dtype in (("ids", np.int32), ("answer", np.bool_), ("starts", np.int64))
        )
        starts.append([0])
        for row_ids, row_answer in encoder.rows(conversations, unlearned or repeat(())):
            kept, marks = row_ids[:max_length], row_answer[:max_length]
            ids.append(kept)
            answer.append(marks)
            rows += 1
            total += len(kept)
            starts.append([total])
            cut += len(kept) < len(row_ids)
            unanswered += not any(marks)
    if encoder.refused:
        raise _refusal(encoder.refused, name_of)
    return {
        "instances": rows,
        "tokens": total,
        "cut": cut,
        "unanswered": unanswered,
        "proved": encoder.proved,
        "reshaped": encoder.reshaped,
        "changed": dict(encoder.changed),
        "examples": encoder.examples,
    }


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

    def append(self, values: Sequence[Any]) -> None:
        self._file.write(np.asarray(values, self._dtype).tobytes())
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
