"""Stage 4: the plan of one trial and how near it comes to the query set, as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Training
from orchestrator.core.arrangements import Needs, Request, Settings, arrange, find_method
from orchestrator.core.bigrams import Bigrams
from orchestrator.core.plan import Plan, in_passes
from orchestrator.core.quadratic import Influence
from orchestrator.core.ranking import Candidates, End
from orchestrator.data.dataset import load_columns_of
from orchestrator.errors import PlanError
from orchestrator.stages.pool import Pool
from orchestrator.storage.artifacts import Artifact, write_table
from orchestrator.storage.files import PLAN_SCHEMA, SOURCE
from orchestrator.training.spec import planned_rows_fed, planned_steps
from orchestrator.training.tokens import Tokens

ARRANGE_VERSION = 2


class Known(TypedDict, total=False):
    """What a method may be told beside vectors and texts, as `Request` explains it."""

    listed: NDArray[np.int64] | None
    answers: NDArray[np.int64] | None
    losses: NDArray[np.float64] | None
    influence: Influence | None


def settings_of(arrangement: Arrangement, seed: int) -> Settings:
    """The `arrangement` section as a method reads it."""
    window = arrangement.turn_window
    return Settings(
        seed=seed,
        selection=arrangement.selection,
        order=arrangement.order,
        rows=arrangement.rows,
        per_task=arrangement.per_task,
        answer_tokens=arrangement.answer_tokens,
        equal_lengths=arrangement.equal_lengths,
        turns=arrangement.turns,
        turn_window=None if window is None else (window[0], window[1]),
        cut=arrangement.cut,
        within_turn=arrangement.within_turn,
        measure=arrangement.measure,
        options=arrangement.options,
    )


def needs_of(arrangement: Arrangement, seed: int) -> Needs:
    """What has to be made before the plan of an arrangement."""
    needs = find_method(arrangement.method).needs(settings_of(arrangement, seed))
    counted = arrangement.answer_tokens is not None or arrangement.equal_lengths
    return replace(needs, answers=True) if counted else needs


def draws_plan(arrangement: Arrangement, seed: int) -> bool:
    """Whether another seed may give another plan; of a method that does not say, it may."""
    method = find_method(arrangement.method)
    return arrangement.equal_lengths or method.draws(settings_of(arrangement, seed))


def reads_model(arrangement: Arrangement, seed: int) -> bool:
    """Does the plan need the model that is trained, or its tokenizer?"""
    needs = needs_of(arrangement, seed)
    return needs.answers or needs.losses or needs.influence


def make_plan(
    arrangement: Arrangement,
    seed: int,
    pool: Pool,
    neighbours: Mapping[End, Candidates],
    bigrams: tuple[Bigrams, Bigrams] | None = None,
    **known: Unpack[Known],
) -> Plan:
    """The plan of an arrangement.

    Args:
        neighbours: ranked lists of all queries over all units, from each end that `needs_of` asks
            for.
        bigrams: of the pool's rows and of the queries; None where they are not needed, or there is
            no text.
        known: what else the arrangement needs, as far as it is known.

    Raises:
        PlanError: the arrangement asks for what the pool does not have or holds no row, or its
            method fails or breaks the contract of plans.
    """
    request = Request(
        units=pool.units,
        groups=pool.groups,
        vectors=pool.vectors,
        queries=pool.queries,
        neighbours=neighbours,
        bigrams=bigrams and (bigrams[0].of_units(pool.units), bigrams[1]),
        **known,
        **vars(settings_of(arrangement, seed)),
    )
    try:
        plan = arrange(arrangement.method, request)
    except ValueError as error:
        raise PlanError(f"arrangement: {error}") from error
    if not len(plan):
        raise PlanError(
            "the arrangement holds no row: raise arrangement.rows or .turns, or move .turn_window"
        )
    return plan


def plan_of_passes(
    arranged: Callable[[Arrangement, int], Plan],
    arrangement: Arrangement,
    training: Training,
    seed: int,
) -> Plan:
    """The plan of all passes over the data (epochs); it notes what a new seed changed.

    Args:
        arranged: makes the plan of one pass, of an arrangement with a seed.
        arrangement: of the first pass. A budget in answer tokens holds for that; later ones have
            its number of rows, since passes are equally long.
        training: tells how many passes there are, and whether each is arranged anew.
        seed: of the trial, and of the first pass.

    Raises:
        PlanError: `arranged` raised it, or passes differ in length, so that no step could be told
            from another's.
    """
    first = arranged(arrangement, seed)
    if training.epochs == 1:
        return first
    if training.reorder == "none":
        return in_passes([first] * training.epochs)
    # Not the next seeds: a pass of one trial would be one of another trial of the study, too.
    later = [
        int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        for number in range(1, training.epochs)
    ]
    again = arrangement
    if arrangement.answer_tokens is not None:
        again = arrangement.model_copy(update={"answer_tokens": None, "rows": len(first)})
    passes = [first, *(arranged(again, other) for other in later)]
    try:
        whole = in_passes(passes)
    except ValueError as error:
        raise PlanError(
            f"training.reorder: {error}: set arrangement.rows, and cut: true"
        ) from error
    distinct = len(np.unique(whole.rows))
    found = ""
    if all(np.array_equal(plan.rows, first.rows) for plan in passes):
        found = "every pass has the same order, in which nothing is random"
    elif distinct > len(first):
        found = f"the passes of {len(first):,} rows draw {distinct:,} different ones"
    return replace(whole, note="; ".join(filter(None, [first.note, found])))


def check_answers(rows: NDArray[np.int64], tokens: Tokens, config: TrialConfig) -> None:
    """Refuse a plan with a step that would learn nothing, before the steps in front of it are made.

    Args:
        rows: (n,) int64 of the plan, over all passes.
        tokens: of all instances.

    Raises:
        PlanError: naming the first global batch of which no row has a token that carries loss.
    """
    ends = planned_rows_fed(config, np.arange(planned_steps(config, len(rows)) + 1), len(rows))
    answered = tokens.answer_counts(rows[: ends[-1]]) > 0
    learns = np.logical_or.reduceat(answered, ends[:-1])
    if not learns.all():
        step = int(np.argmin(learns))
        fed = rows[ends[step] : ends[step + 1]]
        raise PlanError(
            f"step {step + 1} would be fed rows {fed.tolist()}, of which none has an answer left "
            f"within model.max_length = {config.model.max_length} tokens: raise it, or leave rows "
            "with such long prompts out of data.pool"
        )


def arranges_vectors(arrangement: Arrangement) -> bool:
    """Does the plan depend on the embeddings?"""
    return find_method(arrangement.method).embeds or not isinstance(arrangement.granularity, str)


def looks_at_vectors(config: TrialConfig) -> bool:
    """Does anything of the trial need the embeddings?"""
    return arranges_vectors(config.arrangement) or config.evaluation.measures


def embedding_model(config: TrialConfig) -> str | None:
    """The model that embeds; None where nothing needs vectors, or they are given."""
    embeds = looks_at_vectors(config) and config.embedding.vectors is None
    return config.embedding.model if embeds else None


def write_plan(plan: Plan, dataset: Artifact, path: Path) -> None:
    """`plan.parquet`: position, row, id, task, turn, unit, distance and query.

    The last two are null where there is none. Where the pool has a list of sources, also the
    source of each row.
    """
    splits = dataset.info["splits"]
    listed, first = "sources" in splits["pool"], splits["pool"]["instances"]
    columns = ["id", "task", *([SOURCE.name] if listed else [])]
    chosen = load_columns_of(dataset.path, plan.rows, columns)
    test_rows = np.arange(first, first + splits["query"]["instances"])
    queries = load_columns_of(dataset.path, test_rows, ["id"])["id"]
    planned = plan_table(plan, chosen["id"], chosen["task"], queries)
    if listed:
        planned = planned.append_column(SOURCE, chosen[SOURCE.name])
    write_table(path, planned)


def plan_table(
    plan: Plan,
    ids: pa.ChunkedArray,
    tasks: pa.ChunkedArray,
    queries: pa.ChunkedArray | None = None,
) -> pa.Table:
    """A plan as a table; what the method noted is in the schema's metadata.

    Args:
        ids, tasks: of the plan's rows, in its order.
        queries: ids of all queries; None: their numbers.
    """
    chosen = np.full(len(plan), -1) if plan.query is None else plan.query
    query = pa.array(chosen, mask=chosen < 0)
    columns = {
        "position": np.arange(len(plan)),
        "row": plan.rows,
        "id": ids,
        "task": tasks,
        "turn": plan.turn,
        "unit": plan.unit,
        "distance": pa.array(plan.distance, mask=np.isnan(plan.distance)),
        "query": query.cast(pa.string()) if queries is None else queries.take(query),
    }
    return pa.table(
        columns, schema=PLAN_SCHEMA.with_metadata({"note": plan.note} if plan.note else {})
    )
