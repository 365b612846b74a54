"""What the options of a source keep of its instances: tasks, turns, characters, instances a task.

Nothing that is left out here is wrong with a record: it is counted, and never an error.
"""

from __future__ import annotations

import fnmatch
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from orchestrator.config.sources import SourceOptions, Tasks
from orchestrator.data.instance import Instance, Message, answer_places

BEYOND = "beyond max_per_task"


def fitted(options: SourceOptions, instance: Instance) -> Instance | str:
    """Returns the instance within the limits that hold for it alone, or why it is left out."""
    if not _wanted(options.tasks, instance.task):
        return "task excluded"
    if options.max_chars is None or _characters(instance.messages) <= options.max_chars:
        return instance
    if options.too_long == "drop":
        return "longer than max_chars"
    messages = cut(instance.messages, options.max_chars)
    if not messages:
        return "no answer within max_chars"
    unlearned = tuple(place for place in instance.unlearned if place < len(messages))
    if len(unlearned) == len(answer_places(messages)):
        return "no answer to learn within max_chars"
    notes = (*instance.notes, "cut at max_chars")
    return replace(instance, messages=messages, notes=notes, unlearned=unlearned)


def within(
    options: SourceOptions, tables: Iterator[pa.Table], dropped: Counter[str]
) -> Iterator[pa.Table]:
    """Yields at most `max_per_task` instances of each task, in their order.

    Args:
        options: of the source.
        tables: of instances with ids that are unique.
        dropped: counts what is left out; filled while the iterator is consumed.
    """
    if options.max_per_task is None:
        return tables
    if options.seed is None:
        return _first(tables, options.max_per_task, dropped)
    return _sampled(tables, options.max_per_task, options.seed, dropped)


def cut(messages: tuple[Message, ...], characters: int) -> tuple[Message, ...]:
    """Cuts a conversation to its first characters, so that it ends in an answer.

    Returns:
        The longest start of `messages` with at most `characters` characters; of a pair whose
        answer would be blank, nothing. May be empty.
    """
    kept: list[Message] = []
    for message in messages:
        piece = message["content"][:characters]
        characters -= len(piece)
        if not piece.strip():
            break
        kept.append({"role": message["role"], "content": piece})
    return tuple(kept[: max(answer_places(kept), default=-1) + 1])


def _wanted(tasks: Tasks, task: str) -> bool:
    return _matches(tasks.include, task) and not _matches(tasks.exclude, task)


def _matches(patterns: list[str], task: str) -> bool:
    return "*" in patterns or any(fnmatch.fnmatchcase(task, pattern) for pattern in patterns)


def _characters(messages: tuple[Message, ...]) -> int:
    return sum(len(message["content"]) for message in messages)


def _first(tables: Iterator[pa.Table], size: int, dropped: Counter[str]) -> Iterator[pa.Table]:
    taken: Counter[str] = Counter()
    for table in tables:
        kept = []
        for row, task in enumerate(table["task"].to_pylist()):
            if taken[task] < size:
                taken[task] += 1
                kept.append(row)
        dropped[BEYOND] += len(table) - len(kept)
        yield table.take(pa.array(kept, pa.int64()))


def _sampled(
    tables: Iterator[pa.Table], size: int, seed: int, dropped: Counter[str]
) -> Iterator[pa.Table]:
    """Yields `size` instances of each task, drawn by the hash of seed and id.

    The draw depends on no other instance, nor on their order; memory is the sample.
    """
    heaps: defaultdict[str, list[tuple[int, int, dict[str, Any]]]] = defaultdict(list)
    position, schema = 0, None
    for table in tables:
        schema = table.schema
        ids, tasks = (table[name].to_pylist() for name in ("id", "task"))
        for row, (id, task) in enumerate(zip(ids, tasks, strict=True)):
            heap, drawn = heaps[task], -_drawn(seed, id)  # the top is the largest hash
            position += 1
            full = len(heap) == size
            dropped[BEYOND] += full
            if not full or drawn > heap[0][0]:
                (values,) = table.slice(row, 1).to_pylist()
                put = heapq.heapreplace if full else heapq.heappush
                put(heap, (drawn, position, values))
    chosen = sorted((position, row) for heap in heaps.values() for _, position, row in heap)
    if chosen:
        yield pa.Table.from_pylist([row for _, row in chosen], schema=schema)


def _drawn(seed: int, id: str) -> int:
    digest = hashlib.blake2b(f"{seed}:{id}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big")
