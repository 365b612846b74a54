"""Test items in the training pool, found by their text: shared tasks, and prompts that are the
same, exactly or but for case, white space and the punctuation of sentences.

Memory is the test side. Rows that are nearly, but not literally, test items are not found here.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.instance import UNLABELLED
from orchestrator.data.table import WORDS, first_prompts, word_counts
from orchestrator.errors import DataError

# Only what parts sentences: brackets and operators make another task of a sum or of a line of code.
_SEPARATORS = str.maketrans(dict.fromkeys(".,;:!?¡¿'\"`´‘’‚“”„«»،؛؟。、।", " "))


class TestItems:
    """The items of all test sets, which the pool must not hold."""

    __test__ = False  # not a test case for pytest

    def __init__(self, tests: Mapping[str, pa.Table], may_share: Collection[str] = ()) -> None:
        """Take in the test sets.

        Args:
            tests: by name.
            may_share: names of those whose tasks the pool may hold.
        """
        self._tasks = {
            name: set()
            if name in may_share
            else set(table["task"].unique().to_pylist()) - {UNLABELLED}
            for name, table in tests.items()
        }
        prompts = {name: first_prompts(table) for name, table in tests.items()}
        self._exact = {name: set(map(_digest, texts)) for name, texts in prompts.items()}
        self._normalised = {
            name: {_digest(normalised(text)) for text in texts} for name, texts in prompts.items()
        }

    def leaks(self, task: str, prompt: str) -> list[str]:
        """Returns the kinds of leakage of a row of the pool, each with its test set.

        Args:
            task: of the row.
            prompt: what stands before its first answer.
        """
        alike = _digest(normalised(prompt))
        kinds = []
        for name, tasks in self._tasks.items():
            if task in tasks:
                kinds.append(f"task shared with {name}")
            if alike in self._normalised[name]:  # as what is the same exactly is, too
                kind = "exact" if _digest(prompt) in self._exact[name] else "normalised"
                kinds.append(f"{kind} duplicate of {name}")
        return kinds

    def marked(self, table: pa.Table) -> pa.Table:
        """Returns instances of the pool with their column `leaks` filled."""
        rows = zip(table["task"].to_pylist(), first_prompts(table), strict=True)
        leaks = pa.array([self.leaks(task, prompt) for task, prompt in rows], WORDS)
        return table.set_column(table.schema.get_field_index("leaks"), "leaks", leaks)


def without_leaks(
    pool: Iterator[pa.Table], policy: str, dropped: Counter[str], leaks: Counter[str]
) -> Iterator[pa.Table]:
    """Yields the pool: `error` raises at the end, `drop` leaves leaks out, `allow` counts them.

    Args:
        pool: with a column `leaks`, of `TestItems.leaks`.
        dropped: counts what is left out, by its first kind.
        leaks: counts rows by kind of leakage and test set. A row may be of several kinds.

    Raises:
        DataError: under `error`, after the last row, with the counts of all kinds.
    """
    example = ""
    for table in pool:
        leaking = pc.greater(pc.list_value_length(table["leaks"]), 0)
        found = table.filter(leaking)
        if not len(found):
            yield table
            continue
        leaks.update(word_counts(found["leaks"]))
        first = found.slice(0, 1).to_pylist()[0]
        example = example or f"{first['id']!r} of task {first['task']!r}"
        if policy == "drop":
            dropped.update(word_counts(pc.list_element(found["leaks"], 0)))
            yield table.filter(pc.invert(leaking))
        else:
            yield table
    if leaks and policy == "error":
        counts = ", ".join(f"{count:,} {kind}" for kind, count in leaks.items())
        raise DataError(
            f"the pool holds test items: {counts}; the first is {example}. "
            "Set data.leakage: drop to leave them out, or allow to keep them"
        )


def normalised(text: str) -> str:
    """Puts a text into Unicode's NFKC form, without case, and with one space for each run of white
    space and sentence punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_SEPARATORS).split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
