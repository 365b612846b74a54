"""Test items in the training pool, found by their text: shared tasks, and prompts that are the
same, exactly or but for case, white space and the punctuation of sentences.

Memory is the test side. Rows that are nearly, but not literally, test items are not found here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from orchestrator.data.instance import UNLABELLED, Instance
from orchestrator.errors import DataError

# Only what parts sentences: brackets and operators make another task of a sum or of a line of code.
_SEPARATORS = re.compile(r"[\s.,;:!?¡¿'\"`´‘’‚“”„«»،؛؟。、।]+")


class TestItems:
    """The items of all test sets, which the pool must not hold.

    Attributes:
        leaks: rows of the pool by kind of leakage and test set, filled while `filter` is
            consumed. A row may be of several kinds.
    """

    __test__ = False  # not a test case for pytest

    def __init__(self, tests: dict[str, list[Instance]]) -> None:
        self._tasks = {
            name: {i.task for i in items} - {UNLABELLED} for name, items in tests.items()
        }
        self._exact = {name: {_digest(_prompt(i)) for i in items} for name, items in tests.items()}
        self._normalised = {
            name: {_digest(normalised(_prompt(i))) for i in items} for name, items in tests.items()
        }
        self.leaks: Counter[str] = Counter()

    def filter(
        self, pool: Iterator[Instance], policy: str, dropped: Counter[str]
    ) -> Iterator[Instance]:
        """Yields the pool: `error` raises at the end, `drop` leaves leaks out, `allow` counts them.

        Raises:
            DataError: under `error`, after the last row, with the counts of all kinds.
        """
        example = ""
        for instance in pool:
            kinds = list(self._kinds(instance))
            self.leaks.update(kinds)
            if kinds:
                example = example or f"{instance.id!r} of task {instance.task!r}"
                if policy == "drop":
                    dropped[kinds[0]] += 1
                    continue
            yield instance
        if self.leaks and policy == "error":
            counts = ", ".join(f"{count:,} {kind}" for kind, count in self.leaks.items())
            raise DataError(
                f"the pool holds test items: {counts}; the first is {example}. "
                "Set data.leakage: drop to leave them out, or allow to keep them"
            )

    def _kinds(self, instance: Instance) -> Iterator[str]:
        prompt = _prompt(instance)
        exact, alike = _digest(prompt), _digest(normalised(prompt))
        for name in self._tasks:
            if instance.task in self._tasks[name]:
                yield f"task shared with {name}"
            if exact in self._exact[name]:
                yield f"exact duplicate of {name}"
            elif alike in self._normalised[name]:
                yield f"normalised duplicate of {name}"


def normalised(text: str) -> str:
    """Puts a text into Unicode's NFKC form, without case, and with one space for each run of white
    space and sentence punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SEPARATORS.sub(" ", folded).strip()


def _prompt(instance: Instance) -> str:
    return instance.messages[0]["content"]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
