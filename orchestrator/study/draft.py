"""The first draft of a study: what was asked for and what the data holds, as a commented file.

It is small, so that it ends in minutes on two CPU cores: its comments say what to raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config.json_schema import LINE
from orchestrator.config.sources import SourceOptions
from orchestrator.config.strict_yaml import dump_line
from orchestrator.data.detect import Contents

# What can be compared, and what that means.
COMPARED = {
    "order": "the same rows nearest first, in random order, farthest first",
    "selection": "rows near the queries, random rows, rows far from them",
    "granularity": "single rows, or whole tasks that move as one",
    "turns": "1, 2 or 4 turns: in each every query takes its nearest free row",
    "seeds": "two draws of the pool for each arm, which show what is chance",
}
POOL_ROWS, TEST_ITEMS, ROWS, BATCH = 2_000, 48, 64, 8  # of a first look, at most
TURNS = (1, 2, 4)
ROWS_OF_CLUSTER = 20  # on average, where there are no tasks to move as one
LEAKLESS = "no row of the pool is a test item, and none may become one"
COLUMN = 40  # at which comments begin


@dataclass(frozen=True)
class Wish:
    """What a study shall be of.

    Attributes:
        name: of the study.
        pool, queries: sections of the data, each with what was counted of it.
        model: to train.
        compare: names of `COMPARED`.
        gpu: whether this machine has one.
    """

    name: str
    pool: tuple[SourceOptions, Contents]
    queries: tuple[SourceOptions, Contents]
    model: str
    compare: Sequence[str]
    gpu: bool = False

    @property
    def pool_limit(self) -> int | None:
        """Rows of each task of the pool that are kept; None: all. Draws by seed leave some out."""
        rows = len(self.pool[1].table)
        kept = min(POOL_ROWS, rows // 2 if "seeds" in self.compare else rows)
        return None if kept == rows else max(1, kept // max(1, self.pool[1].tasks))

    @property
    def query_limit(self) -> int | None:
        """Items of each task of the queries that are kept; None: all."""
        rows, tasks = len(self.queries[1].table), self.queries[1].tasks
        return None if rows <= TEST_ITEMS else max(1, TEST_ITEMS // max(1, tasks))

    @property
    def budget(self) -> int:
        """Rows of an arm; where turns are compared about as many as the first of them holds: fewer
        than there are queries, some of which have the same nearest row."""
        if "turns" in self.compare:
            return max(1, _kept(self.queries[1], self.query_limit) * 2 // 3)
        pool = self.pool[1]
        left_out = sum(pool.leaks.values()) if self.leakage[0] == "drop" else 0
        kept = min(_kept(pool, self.pool_limit), len(pool.table) - left_out)
        return max(1, min(ROWS, kept // 2))

    @property
    def leakage(self) -> tuple[str, str]:
        """The policy that lets the study run, and why."""
        leaks = self.pool[1].leaks
        found = ", ".join(f"{count:,} rows: {kind}" for kind, count in leaks.items())
        if any(kind.startswith("task") for kind in leaks):
            return "allow", f"kept in the pool: {found}; this is no test of unseen tasks"
        return ("drop", f"left out of the pool: {found}") if leaks else ("error", LEAKLESS)


def write_draft(wish: Wish) -> str:
    """Returns the text of the study file, each choice with its reason behind it."""
    return "\n".join(
        [*_head(wish), *_data(wish), *_arrangement(wish), *_training(wish), *_sweep(wish), ""]
    )


def _kept(contents: Contents, limit: int | None) -> int:
    rows = len(contents.table)
    return rows if limit is None else min(rows, limit * max(1, contents.tasks))


def _said(line: str, comment: str) -> str:
    return f"{line:<{COLUMN}}# {comment}"


def _head(wish: Wish) -> Iterator[str]:
    yield LINE
    yield "#"
    for name in wish.compare:
        yield f"# {name}: {COMPARED[name]}"
    yield "#"
    yield "# A first look that takes minutes: what to change for more stands behind it. Editors"
    yield "# explain each key by the schema that the first line names."
    yield f"study: {wish.name}"
    yield _said("seed: 0", "decides all that is drawn at random in a trial")


def _data(wish: Wish) -> Iterator[str]:
    policy, reason = wish.leakage
    limit = {} if wish.pool_limit is None else {"max_per_task": wish.pool_limit, "seed": 0}
    yield "data:"
    yield f"  # {wish.pool[1].said}" + (
        "; max_per_task: so many of each are drawn" if limit else ""
    )
    yield f"  pool: {_section(wish.pool[0], limit)}"
    limit = {} if wish.query_limit is None else {"max_per_task": wish.query_limit, "seed": 0}
    yield f"  # {wish.queries[1].said}: test items that the arrangement looks at"
    yield f"  query: {_section(wish.queries[0], limit)}"
    yield "  # half of the test items out of its sight, which makes a stricter test:"
    yield "  # held_out: {from: query, fraction: 0.5}"
    yield _said(f"  leakage: {policy}", reason)


def _section(source: SourceOptions, more: dict[str, Any]) -> str:
    given = source.model_dump(exclude_unset=True, mode="json")
    return dump_line({"reader": given.pop("reader"), **given, **more})


def _arrangement(wish: Wish) -> Iterator[str]:
    by_turns = "turns" in wish.compare
    yield "embedding:"
    yield _said("  model: all-MiniLM-L6-v2", "what tells near from far")
    yield "arrangement:"
    yield _said("  method: tma", "in a turn every query takes its nearest free row")
    yield _said("  granularity: instance", "what moves as one; task: all rows of a task")
    both = "order" in wish.compare and "selection" not in wish.compare
    yield _said(
        f"  selection: {'both_ends' if both else 'nearest'}", "both_ends: half near, half far rows"
    )
    order = "random" if by_turns else "nearest_first"
    yield _said(f"  order: {order}", "nearest_first, farthest_first, random or sandwich")
    if by_turns:
        yield _said(f"  turns: {TURNS[0]}", "the budget")
    else:
        yield _said(f"  rows: {wish.budget}", "the budget; thousands for more than a first look")


def _training(wish: Wish) -> Iterator[str]:
    batch = max(1, min(BATCH, wish.budget // BATCH))
    yield "model:"
    yield f"  {dump_line({'name': wish.model})[1:-1]}"
    yield _said("  template: user_assistant", "chat: the one of the model's tokenizer")
    yield _said("  max_length: 512", "tokens of prompt and answer; the end is cut away")
    yield "training:"
    yield _said(f"  global_batch: {batch}", "rows of a step; the paper has 16")
    yield _said("  micro_batch_tokens: 1024", "more where memory allows: faster, the same result")
    yield _said("  learning_rate: 2.0e-5", "for a small model; the paper has 1.0e-6 for 7B")
    if "turns" in wish.compare and "order" not in wish.compare:
        steps = wish.budget // batch
        yield _said(f"  max_steps: {steps}", "about what one turn fills: arms train equally long")
    yield _said(f"  gpus_per_worker: {int(wish.gpu)}", "0: on CPU cores")
    yield "evaluation:"
    yield _said("  every: 3", "steps; dense_start: 1, 2, 5, 10, 20, 50, ...")


def _sweep(wish: Wish) -> Iterator[str]:
    turns = "turns" in wish.compare
    tasks = wish.pool[1].tasks > 1
    clusters = max(2, _kept(wish.pool[1], wish.pool_limit) // ROWS_OF_CLUSTER)
    axes = {
        "order": ("arrangement.order", ["nearest_first", "random", "farthest_first"]),
        "selection": (
            "arrangement.selection",
            ["nearest", "farthest"] if turns else ["nearest", "random", "farthest"],
        ),
        "granularity": (
            "arrangement.granularity",
            ["instance", "task" if tasks else {"clusters": clusters}],
        ),
        "turns": ("arrangement.turns", list(TURNS)),
        "seeds": ("data.pool.seed", [0, 1]),
    }
    yield _said("sweep:", "a trial for each combination of the lists")
    yield "  parameters:"
    for name in COMPARED:
        if name in wish.compare:
            key, values = axes[name]
            yield f"    {key}: {dump_line({'grid': values})}"
