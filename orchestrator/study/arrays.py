"""Plans for a pool of which only the vectors are known: no study, no engine, no text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import PositiveInt

from orchestrator.config.arrangement import Arrangement, Clusters
from orchestrator.config.schema import Neighbours
from orchestrator.config.section import Section, Seed
from orchestrator.core.arrangements import find_method
from orchestrator.core.bigrams import Bigrams
from orchestrator.core.plan import Plan
from orchestrator.core.ranking import Candidates, End, Floats
from orchestrator.errors import DataError, UserError
from orchestrator.host.folders import check_written
from orchestrator.stages.arrange import make_plan, needs_of, plan_table
from orchestrator.stages.exports import LINES
from orchestrator.stages.given import rows_of
from orchestrator.stages.mapped import scratch_array
from orchestrator.stages.pool import make_pool
from orchestrator.stages.search import kmeans_labels, search
from orchestrator.stages.vector_files import open_vectors, survey, write_unit
from orchestrator.storage.artifacts import write_table
from orchestrator.storage.disk import passing_folder, writing


class ArraySettings(Section):
    """What `orchestrator arrange` reads from --set beside arrays."""

    seed: Seed = 0
    arrangement: Arrangement
    depth: PositiveInt = Neighbours().depth  # of the ranked lists


def arrange_arrays(
    embeddings: Path, queries: Path, tasks: Path | None, settings: ArraySettings, out: Path,
    form: str | None,
) -> Plan:  # fmt: skip
    """Write the plan of a pool of which only the vectors are known.

    Args:
        embeddings: .npy file, (rows, d) numbers; scaled to length one where they are not.
        queries: .npy file, (queries, d) numbers.
        tasks: JSON file, a list with the task of each row; only some arrangements need it.
        out: the Parquet file to write; ids are row numbers.
        form: one of `LINES`, beside it; None: the plan alone.

    Raises:
        UserError: naming the file, for arrays that do not fit and a place that cannot be written.
    """
    if out.suffix != ".parquet" or out.is_dir():
        raise UserError(f"--out {out}: give a file that ends in .parquet, as in --out plan.parquet")
    check_written(out.absolute().parent, "give another place with --out")
    pool, test = open_vectors(embeddings), open_vectors(queries)
    check_tasks(settings.arrangement, tasks is not None, "--tasks FILE.json")
    names = pa.array(_read_tasks(tasks, len(pool)), pa.string())
    plan = plan_arrays(
        (pool, test), names, settings, called=(str(embeddings), str(queries)), scratch=out.parent
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.chunked_array([pa.array(plan.rows).cast(pa.string())])
    chosen = pa.chunked_array([names.take(pa.array(plan.rows))])
    write_table(out, plan_table(plan, ids, chosen))
    if form is not None:
        LINES[form](out, None)
    return plan


def plan_arrays(
    vectors: tuple[NDArray[Any], NDArray[Any]] | None, tasks: pa.Array, settings: ArraySettings, *,
    called: tuple[str, str], ids: pa.ChunkedArray | None = None, scratch: Path | None = None,
    bigrams: tuple[Bigrams, Bigrams] | None = None,
) -> Plan:  # fmt: skip
    """The plan of a pool of which no more than the vectors is known, searched in this process.

    Args:
        vectors: of the pool, (rows, d) numbers as by `check_vectors`, perhaps memory-mapped, and
            of the queries, (queries, d); scaled to length one where they are not. None where
            the arrangement looks at none.
        tasks: (rows,) text, the task of each row or null.
        called: what an error calls the two.
        ids: (rows,) distinct text, by which a file names rows; None: row numbers.
        scratch: folder for copies of vectors that are scaled, made where it is missing; None: that
            of temporary files.
        bigrams: of the pool's rows and of the queries; None where their texts are not known.

    Raises:
        DataError: for arrays that do not fit.
    """
    rows = len(tasks)
    for key, count in settings.arrangement.least_rows().items():
        if count > rows:
            raise DataError(f"{key} is {count}, {called[0]} holds {rows} rows: set {rows} or fewer")
    if vectors is None:
        return _make_plan(settings, None, tasks, ids, bigrams)
    pool, queries = vectors
    if pool.shape[1] != queries.shape[1]:
        raise DataError(
            f"{called[0]} has {pool.shape[1]} dimensions, {called[1]} {queries.shape[1]}: "
            "embed both with the same model"
        )
    unit, wanted = _unit_rows(pool, called[0], scratch), _unit_rows(queries, called[1], scratch)
    return _make_plan(settings, (unit, wanted), tasks, ids, bigrams)


def check_tasks(arrangement: Arrangement, given: bool, how: str) -> None:
    """Refuse an arrangement that moves, deals or takes from tasks where none are given.

    Args:
        how: what to type to give them.

    Raises:
        UserError: they are needed.
    """
    dealt = find_method(arrangement.method).deals and isinstance(arrangement.granularity, str)
    needed = dealt or arrangement.granularity == "task" or arrangement.per_task is not None
    if needed and not given:
        raise UserError(
            f"this arrangement moves, deals or takes from tasks: give {how}, a list with the task "
            "of each row, or set arrangement.granularity to instance or {clusters: k}, and "
            "arrangement.selection to neither polar nor uniform"
        )


def _make_plan(
    settings: ArraySettings, vectors: tuple[Floats, Floats] | None, tasks: pa.Array,
    ids: pa.ChunkedArray | None, bigrams: tuple[Bigrams, Bigrams] | None,
) -> Plan:  # fmt: skip
    """The plan of unit vectors of pool and queries."""
    arrangement, grouping = settings.arrangement, None
    rows, queries = vectors or (None, None)
    labels = tasks.dictionary_encode().indices.fill_null(0).to_numpy().astype(np.int64)
    if isinstance(arrangement.granularity, Clusters):
        assert rows is not None, "clusters are made of vectors"
        section = arrangement.granularity
        grouping = kmeans_labels(rows, section.clusters, section.seed)
    pool = make_pool(arrangement.granularity, labels, grouping, rows, queries)

    needs = needs_of(arrangement, settings.seed)
    neighbours: dict[End, Candidates] = {}
    if queries is not None and pool.vectors is not None:
        neighbours = {
            end: search(queries, pool.vectors, settings.depth, end=end) for end in needs.ends
        }
    listed = None
    if needs.listed:
        if ids is None:
            ids = pa.chunked_array([pa.array(range(len(tasks))).cast(pa.string())])
        listed = rows_of(arrangement, ids, {}, lambda _: {})
    return make_plan(arrangement, settings.seed, pool, neighbours, bigrams, listed=listed)


def _read_tasks(path: Path | None, rows: int) -> list[str | None]:
    if path is None:
        return [None] * rows
    try:
        tasks = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no JSON file: {error}") from None
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise DataError(f'{path}: give a JSON list of task names, ["task", ...], one a row')
    if len(tasks) != rows:
        raise DataError(f"{path} names {len(tasks)} tasks, the embeddings have {rows} rows")
    return tasks


def _unit_rows(vectors: NDArray[Any], name: str, scratch: Path | None) -> Floats:
    """Vectors with length one as float32; copied to the disk of `scratch` only if they must be."""
    found = survey(vectors)
    if len(found.bad):
        raise DataError(
            f"{name}: row {found.bad[0]} is zero, infinite or not a number: leave it out"
        )
    if found.unit:
        return vectors
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with writing(scratch or passing_folder()):
        scaled: Floats = scratch_array(scratch, np.float32, vectors.shape)
    write_unit(vectors, scaled, unit=False)
    return scaled
