"""Several studies put together as one, on the test items that all of them measured.

Losses compare where the same model read the same items in the same arithmetic. Whatever else
differs, such as the pool, the budget or the learning rate, is what the comparison is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.core.statistics.analysis import area_under_curve
from orchestrator.errors import DataError
from orchestrator.report.figures import SETS
from orchestrator.report.read import StudyRecord
from orchestrator.report.trial import Trial

# Of the untouched model on one item, relative: more is another text, less the arithmetic.
SAME_LOSS = 0.02
MEASURED = ("losses", "generations")  # tables with a line a test item
Items = dict[str, set[str]]  # ids of test items, by set
Untouched = tuple[int, float]  # the tokens of an answer, and the loss before the first step


def side_by_side(records: Sequence[StudyRecord]) -> StudyRecord:
    """The finished trials of several studies as those of one, as if it had measured common items.

    Arms and trials are called `<study>: <name>`. A seed that one study swept and another has fixed
    is taken from its configuration, so that trials are paired by the same seeds. Columns of the
    summary that depend on the test items are those of the common ones.

    Args:
        records: two or more, of different names.

    Raises:
        DataError: two have one name, one has no finished trial, or they differ in the model, in
            arithmetic, in how test items are read, or in all of the test items themselves.
    """
    names = [record.name for record in records]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two studies are called {twice}: give each of them once, or rename one")
    finished = {record.name: [t for t in record.trials if t.finished] for record in records}
    for name, trials in finished.items():
        if not trials:
            raise DataError(f"no trial of {name} finished: run it first, or leave it out")
    _refuse_others(records, finished)
    columns = dict.fromkeys(
        key for trials in finished.values() for trial in trials for key in trial.summary
    )
    named = {
        name: [_named(name, trial, [*columns]) for trial in trials]
        for name, trials in finished.items()
    }
    groups = [(group, _common_items(group)) for group in _paired(named)]
    joined = [_of_common(trial, items) for group, items in groups if items for trial in group]
    if not joined:
        raise DataError(
            f"{' and '.join(names)} have no test item in common: studies compare on the same "
            "data.query, data.held_out or data.off_target, by the ids of their items"
        )
    others = sum(map(len, named.values())) - len(joined)
    left_out = f"{others:,} trials are left out: not all studies have their seeds and test items."
    models = {name: model for r in records for name, model in r.run.get("models", {}).items()}
    return StudyRecord(
        " and ".join(names), joined, {"models": models}, None,
        studies=names, notes=[left_out] if others else [],
    )  # fmt: skip


def _paired(named: dict[str, list[Trial]]) -> list[list[Trial]]:
    """The trials of each seed that all studies have; where there is none, all trials as one group.

    A seed may draw the test items, so that trials of another one measured others.
    """
    trials = [trial for of_study in named.values() for trial in of_study]
    shared = set.intersection(*({t.seed for t in of_study} for of_study in named.values()))
    return [[t for t in trials if t.seed == seed] for seed in sorted(shared)] or [trials]


def _refuse_others(records: Sequence[StudyRecord], finished: dict[str, list[Trial]]) -> None:
    """Refuse studies whose losses are of another model, or another way to compute or read."""
    ways: list[tuple[str, dict[str, set[str]]]] = [
        ("trained models", {r.name: _models(r, finished[r.name]) for r in records}),
        ("arithmetic (model.precision)", _settings(finished, lambda t: t.summary.get("precision"))),
        ("templates (model.template)", _settings(finished, lambda t: _model(t).get("template"))),
        ("lengths of test items", _settings(finished, _length)),
    ]
    for what, values in ways:
        (first, expected), *others = values.items()
        for name, found in others:
            if found != expected:
                raise DataError(
                    f"{first} and {name} cannot be compared, they differ in {what}: "
                    f"{_listed(expected)} and {_listed(found)}"
                )


def _models(record: StudyRecord, trials: Iterable[Trial]) -> set[str]:
    """The trained models by name and content, as far as run.json tells it."""
    known = record.run.get("models", {})
    models = {str(_model(trial).get("name", "")) for trial in trials}
    return {f"{name} {known.get(name, {}).get('fingerprint', '')[:12]}".strip() for name in models}


def _model(trial: Trial) -> dict[str, Any]:
    section: dict[str, Any] = trial.config.get("model", {})
    return section


def _length(trial: Trial) -> Any:
    return trial.config.get("evaluation", {}).get("max_length") or _model(trial).get("max_length")


def _settings(finished: dict[str, list[Trial]], value: Any) -> dict[str, set[str]]:
    return {
        name: {str(value(trial) or "") for trial in trials} for name, trials in finished.items()
    }


def _listed(values: set[str]) -> str:
    return ", ".join(value or "unknown" for value in sorted(values))


def _common_items(trials: Sequence[Trial]) -> Items:
    """The items of each set that every trial measured; empty where there is none.

    Raises:
        DataError: one of them is another text in another study.
    """
    first, *others = [_untouched(trial) for trial in trials]
    common = {
        key: ids
        for key, items in first.items()
        if (ids := set(items).intersection(*(other.get(key, {}) for other in others)))
    }
    for trial, other in zip(trials[1:], others, strict=True):
        for key, ids in common.items():
            for item in sorted(ids):
                _refuse_another_text(item, (trials[0], first[key][item]), (trial, other[key][item]))
    return common


def _refuse_another_text(item: str, *read: tuple[Trial, Untouched]) -> None:
    (first, (tokens, loss)), (second, (others, other)) = read
    if tokens != others or not np.isclose(loss, other, SAME_LOSS, equal_nan=True):
        raise DataError(
            f"{item} is another text in {first.name} than in {second.name}: the loss of the "
            f"untouched model is {loss:.3f} over {tokens} tokens, and {other:.3f} over {others}"
        )


def _untouched(trial: Trial) -> dict[str, dict[str, Untouched]]:
    """What the first step measured, by set and item."""
    table = trial.tables.get("losses")
    if table is None or not len(table):
        return {}
    first = table.filter(pc.equal(table["step"], pc.min(table["step"])))
    found: dict[str, dict[str, Untouched]] = {}
    for line in first.select(["set", "id", "tokens", "loss"]).to_pylist():
        loss = float("nan") if line["loss"] is None else line["loss"]
        found.setdefault(line["set"], {})[line["id"]] = (line["tokens"], loss)
    return found


def _named(study: str, trial: Trial, columns: Sequence[str]) -> Trial:
    """The trial under its study's name, with every column that any study's summary has; what
    another study sweeps and this one does not is taken from the configuration."""
    told = {"trial": trial.name, "arm": trial.arm, "twin_of": trial.summary.get("twin_of", "")}
    names = {key: f"{study}: {name}" for key, name in told.items() if name}
    rest = {
        key: trial.summary.get(key) or _configured(trial.config, key)
        for key in columns
        if key not in names
    }
    return replace(trial, summary=names | rest)


def _of_common(trial: Trial, items: Items) -> Trial:
    """The trial with these test items alone, and the columns that follow from them."""
    tables = {
        name: _of_items(table, items) if name in MEASURED else table
        for name, table in trial.tables.items()
    }
    # Measures are of all queries of a task: of other queries they are other numbers.
    if len(tables["losses"]) < len(trial.tables["losses"]):
        tables.pop("measures", None)
    fewer = replace(trial, tables=tables)
    return replace(fewer, summary=trial.summary | _metrics(fewer))


def _of_items(table: pa.Table, items: Items) -> pa.Table:
    kept = [
        pc.and_(pc.equal(table["set"], key), pc.is_in(table["id"], pa.array(sorted(ids))))
        for key, ids in items.items()
    ]
    return table.filter(reduce(pc.or_, kept))


def _metrics(trial: Trial) -> dict[str, str]:
    """The columns of summary.csv that are made of losses, as text; empty without the set."""
    columns = dict.fromkeys((*(f"{key}_loss" for key in SETS), "best_query_loss"), "")
    columns |= dict.fromkeys(("query_loss_auc", "steps_to_90"), "")
    for key in SETS:
        steps, losses = trial.mean_losses(key)
        if len(steps):
            columns[f"{key}_loss"] = str(losses[-1])
            if key == "query":
                columns["best_query_loss"] = str(np.nanmin(losses))
                columns["query_loss_auc"] = str(float(area_under_curve(steps, losses)))
    return columns


def _configured(config: dict[str, Any], key: str) -> str:
    """The value at a dotted key; "" where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
