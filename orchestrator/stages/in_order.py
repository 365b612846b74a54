"""Work on items by all cores there are, with the results in the order of the items.

Where Ray runs its nodes work, otherwise processes of this machine: data is read before Ray starts,
so that a mistake in it is told before anything slow begins. Items and results are what is handed
over, a few for each process at a time, so that memory does not grow with their number. Not for
work that keeps a model or its own files open: that is Ray Data's.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeVar

from orchestrator.errors import ResourceError
from orchestrator.host.share import cores

HERE = 8  # first items, done in this process: no others are started for a small file
AHEAD = 3  # items under way for each process
DIED = (
    "a process that reads or tokenises the data died, most likely killed because its machine ran "
    "out of memory: end other programs, or take a machine with more memory, and run the same "
    "command again"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Workers(NamedTuple):
    """Processes that call one function.

    Attributes:
        number: of them.
        submit: hands an item over; returns what to wait for.
        wait: for a result.
    """

    number: int
    submit: Callable[[Any], Any]
    wait: Callable[[Any], Any]


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], here: int = HERE
) -> Iterator[Result]:
    """Call a function with each item.

    Args:
        function: pickled once to each process; what it remembers stays there.
        items: taken as they are needed.
        here: how many of them are done in this process, before others are started.

    Yields:
        What it returns, in the order of the items.

    Raises:
        ResourceError: a process died.
    """
    rest = iter(items)
    yield from map(function, islice(rest, here))
    first = list(islice(rest, 1))
    if not first:
        return
    with _workers(function) as workers:
        waiting: deque[Any] = deque()
        for item in chain(first, rest):
            waiting.append(workers.submit(item))
            if len(waiting) == AHEAD * workers.number:
                yield workers.wait(waiting.popleft())
        while waiting:
            yield workers.wait(waiting.popleft())


def _workers(function: Callable[[Any], Any]) -> AbstractContextManager[_Workers]:
    ray = sys.modules.get("ray")  # an estimate, which imports the stages for their keys, needs none
    # No node is started for this, and no trial has to end first: then this machine works alone.
    if ray and ray.is_initialized() and ray.available_resources().get("CPU", 0) >= 1:
        return _of_ray(function)
    return _of_this_machine(function)


@contextmanager
def _of_this_machine(function: Callable[[Any], Any]) -> Iterator[_Workers]:
    pool = ProcessPoolExecutor(
        cores(), mp_context=get_context("spawn"), initializer=_keep, initargs=(function,)
    )
    try:
        yield _Workers(
            cores(), lambda item: pool.submit(_call, item), lambda future: future.result()
        )
    except BrokenProcessPool as error:
        raise ResourceError(DIED) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_kept: list[Callable[[Any], Any]] = []  # in a process of the pool: its function


def _keep(function: Callable[[Any], Any]) -> None:
    _kept.append(function)


def _call(item: Any) -> Any:
    return _kept[0](item)


@contextmanager
def _of_ray(function: Callable[[Any], Any]) -> Iterator[_Workers]:
    import ray
    from ray.exceptions import (
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        WorkerCrashedError,
    )

    boxed = [ray.put(function)]  # in a list Ray hands it over as it is
    task = ray.remote(num_cpus=1)(_call_boxed)
    number = max(1, int(ray.cluster_resources()["CPU"]))
    try:
        yield _Workers(number, lambda item: task.remote(boxed, item), ray.get)
    # Again and again: Ray had retried.
    except (NodeDiedError, ObjectLostError, OutOfMemoryError, WorkerCrashedError) as error:
        raise ResourceError(DIED) from error


def _call_boxed(boxed: list[Any], item: Any) -> Any:
    return _unboxed(boxed[0])(item)


@lru_cache(maxsize=1)
def _unboxed(reference: Any) -> Callable[[Any], Any]:
    """The function behind a reference, made once in a process."""
    import ray

    function: Callable[[Any], Any] = ray.get(reference)
    return function
