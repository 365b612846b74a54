"""What a task of the suite is: a few phrasings and a rule that draws one case."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

# The values that fill a phrasing's fields, and the answer to the filled phrasing.
Case = tuple[dict[str, object], object]

DRAWS_PER_CASE = 100  # a draw that repeats an earlier case is thrown away


@dataclass(frozen=True, slots=True)
class Task:
    """A task whose cases are drawn in code, so that every answer is computed.

    Attributes:
        name: unique in the suite; also the seed of the task's cases.
        phrasings: `str.format` templates over the fields of a case, taken in turn.
        draw: draws one case from a seeded generator.
    """

    name: str
    phrasings: tuple[str, ...]
    draw: Callable[[random.Random], Case]

    def examples(self, count: int) -> list[tuple[str, str]]:
        """The first `count` (prompt, answer) pairs; the same in every process.

        No two pairs share a case, so they differ in more than their phrasing.

        Raises:
            ValueError: the task has too few distinct cases.
        """
        # A string seed is hashed with SHA-512, never with the per-process `hash`.
        rng = random.Random(self.name)
        cases: dict[tuple[object, ...], Case] = {}
        for _ in range(DRAWS_PER_CASE * count):
            if len(cases) == count:
                break
            fields, answer = self.draw(rng)
            cases.setdefault(tuple(fields.values()), (fields, answer))
        if len(cases) < count:
            raise ValueError(
                f"task {self.name}: {DRAWS_PER_CASE * count} draws gave {len(cases)} distinct "
                f"cases where {count} are needed: widen what it draws from"
            )
        return [
            (self.phrasings[i % len(self.phrasings)].format(**fields), str(answer))
            for i, (fields, answer) in enumerate(cases.values())
        ]


def task(*phrasings: str) -> Callable[[Callable[[random.Random], Case]], Task]:
    """Decorator: turns a function that draws one case into the task of its name."""

    def build(draw: Callable[[random.Random], Case]) -> Task:
        return Task(draw.__name__, phrasings, draw)

    return build
