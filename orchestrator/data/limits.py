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

from orchestrator.config.sources import SourceOptions, Tasks
from orchestrator.data.instance import Instance, Message

BEYOND = "beyond max_per_task"


def within(
    options: SourceOptions, instances: Iterator[Instance], dropped: Counter[str]
) -> Iterator[Instance]:
    """Yields the instances that the options keep, in their order.

    Args:
        options: of the source.
        instances: with ids that are unique.
        dropped: counts by reason what is left out; filled while the iterator is consumed.
    """
    fitting = (
        one for instance in instances if (one := _fitted(options, instance, dropped)) is not None
    )
    if options.max_per_task is None:
        return fitting
    if options.seed is None:
        return _first(fitting, options.max_per_task, dropped)
    return _sampled(fitting, options.max_per_task, options.seed, dropped)


def _fitted(options: SourceOptions, instance: Instance, dropped: Counter[str]) -> Instance | None:
    if not _wanted(options.tasks, instance.task):
        dropped["task excluded"] += 1
        return None
    messages, notes = instance.messages, list(instance.notes)
    if options.max_chars is not None and _characters(messages) > options.max_chars:
        if options.too_long == "drop":
            dropped["longer than max_chars"] += 1
            return None
        messages = cut(messages, options.max_chars)
        notes.append("cut at max_chars")
    if not messages:
        dropped["no answer within max_chars"] += 1
        return None
    unlearned = tuple(place for place in instance.unlearned if place < len(messages))
    if 2 * len(unlearned) == len(messages):
        dropped["no answer to learn within max_chars"] += 1
        return None
    return replace(instance, messages=messages, notes=tuple(notes), unlearned=unlearned)


def cut(messages: tuple[Message, ...], characters: int) -> tuple[Message, ...]:
    """Cuts a conversation to its first characters, as pairs that end in an answer.

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
    return tuple(kept[: len(kept) // 2 * 2])


def _wanted(tasks: Tasks, task: str) -> bool:
    def matches(patterns: list[str]) -> bool:
        return any(fnmatch.fnmatchcase(task, pattern) for pattern in patterns)

    return matches(tasks.include) and not matches(tasks.exclude)


def _characters(messages: tuple[Message, ...]) -> int:
    return sum(len(message["content"]) for message in messages)


def _first(instances: Iterator[Instance], size: int, dropped: Counter[str]) -> Iterator[Instance]:
    taken: Counter[str] = Counter()
    for instance in instances:
        if taken[instance.task] < size:
            taken[instance.task] += 1
            yield instance
        else:
            dropped[BEYOND] += 1


def _sampled(
    instances: Iterator[Instance], size: int, seed: int, dropped: Counter[str]
) -> Iterator[Instance]:
    """Yields `size` instances of each task, drawn by the hash of seed and id.

    The draw depends on no other instance, nor on their order; memory is the sample.
    """
    heaps: defaultdict[str, list[tuple[int, int, Instance]]] = defaultdict(list)
    for position, instance in enumerate(instances):
        heap = heaps[instance.task]
        entry = (-_drawn(seed, instance.id), position, instance)  # the top is the largest hash
        if len(heap) < size:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
            dropped[BEYOND] += 1
    chosen = [(position, instance) for heap in heaps.values() for _, position, instance in heap]
    yield from (instance for _, instance in sorted(chosen, key=lambda pair: pair[0]))


def _drawn(seed: int, id: str) -> int:
    digest = hashlib.blake2b(f"{seed}:{id}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big")
