"""The splits of a study: its sources read, and which instance is in which split decided.

In this order: what the options of each source keep, the hold-out, under `leakage: drop` the leaks,
what is drawn of each source of a pool, otherwise the leaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config.sources import Data, SourceOptions
from orchestrator.data.checking import CHECKED
from orchestrator.data.draws import drawn_numbers, lowest
from orchestrator.data.hold_out import HELD_OUT, held_out_rows
from orchestrator.data.leakage import TestItems, without_leaks
from orchestrator.data.mixture import UNDRAWN, taken_rows
from orchestrator.data.readers import Counts, InOrder, describe, read
from orchestrator.data.spool import Spool
from orchestrator.errors import DataError

Streams = dict[str, Iterator[pa.Table]]  # of the pool, by source; "" is one that stands alone


@dataclass(frozen=True)
class Splits:
    """The splits of a study. Tables of a pool of several sources have a column `source`.

    Attributes:
        tests: the whole of each test set, in the order of the study file.
        pool: its instances as they are read.
        counts: what was left out and changed of each test set.
        sources: the same of each source of the pool, filled while it is read.
        leaks: rows of the pool by kind of leakage, likewise.
    """

    tests: dict[str, pa.Table]
    pool: Iterator[pa.Table]
    counts: dict[str, Counts]
    sources: dict[str, Counts]
    leaks: Counter[str]


def read_splits(data: Data, scratch: Path, in_order: InOrder = map) -> Splits:
    """Read the test sets, and of the pool what has to be known before any of it is passed on.

    Args:
        data: the sources.
        scratch: folder for instances that are set aside.
        in_order: calls the checks of blocks.

    Raises:
        DataError: a source that cannot be read or gives nothing, a hold-out of nothing or of all,
            or more rows of a source than it gives.
    """
    marked = _marked(data, scratch, in_order)
    leaks: Counter[str] = Counter()
    pool = _pool(data, marked.streams, marked.sources, leaks, scratch)
    return Splits(marked.tests, pool, marked.counts, marked.sources, leaks)


def read_tests(data: Data, scratch: Path, in_order: InOrder = map) -> dict[str, pa.Table]:
    """Returns the whole of each test set, in the order of the study file.

    Args and Raises as of `read_splits`.
    """
    return _marked(data, scratch, in_order).tests


def undrawn_pool(data: Data, scratch: Path, in_order: InOrder = map) -> Iterator[pa.Table]:
    """Yields the pool with its leaks, marked in the column `leaks`, and before any of it is drawn.

    Args and Raises as of `read_splits`.
    """
    return chain.from_iterable(_marked(data, scratch, in_order).streams.values())


class _Marked(NamedTuple):
    """The test sets, what was left out of them and of each source, and the pool by source."""

    tests: dict[str, pa.Table]
    counts: dict[str, Counts]
    sources: dict[str, Counts]
    streams: Streams


def _marked(data: Data, scratch: Path, in_order: InOrder) -> _Marked:
    """Reads the test sets, takes the hold-out and marks the leaks of the pool."""
    hold_out = data.hold_out
    tests, counts = _test_sets(data, in_order)
    sources = {name: Counts() for name in data.pool_sources}
    if hold_out is None or hold_out.origin == "query":
        streams = _streams(data, sources, TestItems(tests), in_order)
    else:
        spools = _set_aside(_streams(data, sources, None, in_order), scratch, "read")
        held = held_out_rows(
            hold_out, lambda name: chain.from_iterable(s.column(name) for s in spools.values())
        )
        masks = dict(zip(spools, np.split(held, _ends(spools)), strict=True))
        for name, mask in masks.items():
            sources[name].dropped[HELD_OUT] = int(mask.sum())
        taken = [table for name, spool in spools.items() for table in spool.tables(masks[name])]
        tests["held_out"] = pa.concat_tables(taken)
        counts["held_out"] = Counts()
        tests = {name: tests[name] for name in data.test_sets if name in tests}
        # One by one out of the pool: that they share tasks with it is what was asked for.
        mark = TestItems(tests, {"held_out"} if hold_out.by == "instance" else set()).marked
        streams = {
            name: in_order(mark, spool.tables(~masks[name])) for name, spool in spools.items()
        }
    return _Marked(tests, counts, sources, streams)


def check_any(key: str, source: SourceOptions, instances: int, counts: Counts) -> None:
    """Refuse a source that gives nothing.

    Raises:
        DataError: naming its key, and what was left out of it.
    """
    if not instances:
        reasons = ", ".join(f"{n:,} {why}" for why, n in counts.dropped.items())
        raise DataError(
            f"{key} ({describe(source)}) gives no instances"
            + (f" (dropped: {reasons})" if reasons else "")
            + ": name a source that holds some, or loosen its limits"
        )


def _test_sets(data: Data, in_order: InOrder) -> tuple[dict[str, pa.Table], dict[str, Counts]]:
    """The test sets that are not taken out of the pool, and what was left out of them."""
    given = {
        name: source for name, source in data.test_sets.items() if isinstance(source, SourceOptions)
    }
    counts = {name: Counts() for name in given}
    tests = {
        name: pa.concat_tables(
            [CHECKED.empty_table(), *read(source, counts[name], in_order=in_order)]
        )
        for name, source in given.items()
    }
    if data.hold_out is not None and data.hold_out.origin == "query":
        query = tests["query"]
        held = held_out_rows(data.hold_out, lambda name: iter([query[name]]))
        tests |= {"query": query.filter(pa.array(~held)), "held_out": query.filter(pa.array(held))}
        counts["query"].dropped[HELD_OUT] = int(held.sum())
        counts["held_out"] = Counts()
    return {name: tests[name] for name in data.test_sets if name in tests}, counts


def _streams(
    data: Data, counts: dict[str, Counts], items: TestItems | None, in_order: InOrder
) -> Streams:
    """Each source of the pool as it is read; those of a list with their name."""
    return {
        name: _named(name, read(source, counts[name], items, in_order))
        for name, source in data.pool_sources.items()
    }


def _named(name: str, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables with a column `source`, and ids that no other source has: `<source>/<id>`."""
    if not name:
        yield from tables
        return
    for table in tables:
        ids = pc.binary_join_element_wise(name, table["id"], "/")
        at = table.schema.get_field_index("id")
        yield table.set_column(at, "id", ids).append_column("source", pa.repeat(name, len(table)))


def _pool(
    data: Data, streams: Streams, counts: dict[str, Counts], leaks: Counter[str], scratch: Path
) -> Iterator[pa.Table]:
    """What is left and drawn of the pool's sources, one behind the other."""
    if data.leakage == "drop":
        streams = {
            name: without_leaks(tables, "drop", counts[name].dropped, leaks)
            for name, tables in streams.items()
        }
    if any(source.drawn for source in data.pool_sources.values()):
        streams = _drawn(data, streams, counts, scratch)
    pool = chain.from_iterable(streams.values())
    if data.leakage == "drop":
        return pool
    return without_leaks(pool, data.leakage, Counter(), leaks)


def _drawn(data: Data, streams: Streams, counts: dict[str, Counts], scratch: Path) -> Streams:
    """The rows that are drawn of each source, in its order."""
    sources, spools = data.pool_sources, _set_aside(streams, scratch, "drawn")
    for name, source in sources.items():
        check_any(f"data.pool, source {name}", source, spools[name].rows, counts[name])
    taken = taken_rows(sources, {name: spool.rows for name, spool in spools.items()})
    drawn: Streams = {}
    for name, spool in spools.items():
        if undrawn := spool.rows - taken[name]:
            counts[name].dropped[UNDRAWN] = undrawn
        seed, ids = sources[name].seed or 0, spool.column("id")
        numbers = [drawn_numbers("pool", seed, piece.to_pylist()) for piece in ids]
        drawn[name] = spool.tables(lowest(np.concatenate(numbers), taken[name]))
    return drawn


def _set_aside(streams: Streams, scratch: Path, kind: str) -> dict[str, Spool]:
    return {
        name: Spool(scratch / f"{kind}-{number}", tables)
        for number, (name, tables) in enumerate(streams.items())
    }


def _ends(spools: dict[str, Spool]) -> list[int]:
    """Where the rows of each spool but the last end, among all rows."""
    return np.cumsum([spool.rows for spool in spools.values()])[:-1].tolist()
