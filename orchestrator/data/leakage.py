"""Test items in the training pool: shared tasks, and prompts that are the same but for case and
white space."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from orchestrator.data.instance import Instance
from orchestrator.errors import DataError


class TestSide:
    """What the pool must not hold.

    Attributes:
        found: rows of the pool by kind of leakage, filled while `filter` is consumed.
    """

    __test__ = False  # not a test case for pytest

    def __init__(self, tests: dict[str, list[Instance]]) -> None:
        self._tasks = {i.task: name for name, items in tests.items() for i in items}
        self._prompts = {_normalised(i): name for name, items in tests.items() for i in items}
        self.found: Counter[str] = Counter()

    def filter(
        self, pool: Iterator[Instance], policy: str, dropped: Counter[str]
    ) -> Iterator[Instance]:
        """The pool under a policy: `error` raises at the end, `drop` leaves out, `allow` counts."""
        example = ""
        for instance in pool:
            kind = self._kind(instance)
            if kind:
                self.found[kind] += 1
                example = example or f"{instance.id!r} of task {instance.task!r}"
                if policy == "drop":
                    dropped[kind] += 1
                    continue
            yield instance
        if self.found and policy == "error":
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.found.items())
            raise DataError(
                f"the pool holds test items: {kinds}; the first is {example}. "
                "Set data.leakage: drop to leave them out, or allow to keep them"
            )

    def _kind(self, instance: Instance) -> str | None:
        if instance.task in self._tasks:
            return f"task shared with {self._tasks[instance.task]}"
        name = self._prompts.get(_normalised(instance))
        return f"prompt shared with {name}" if name else None


def _normalised(instance: Instance) -> bytes:
    """Digest of the first prompt in lower case with single spaces."""
    text = " ".join(instance.messages[0]["content"].lower().split())
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
