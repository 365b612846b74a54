"""Models that no trial of the study trained, beside its arms; no statistics of arms use them.

`orchestrator evaluate` measured them on the study's test sets. A loss per token depends on what the
tokenizer calls a token: where two count an answer differently, only the loss of whole answers can
be compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.core.statistics.analysis import Floats, Steps
from orchestrator.core.text_metrics import score_titles
from orchestrator.report.arms import Arm
from orchestrator.report.figures import SETS, mean_scores
from orchestrator.report.tables import MISSING, Cell, Table, number
from orchestrator.report.trial import Trial
from orchestrator.storage.files import EVALUATED_FOLDER, LOSSES_FILE, RESULT_FILE

Curve = Callable[[Trial], tuple[Steps, Floats]]
Items = dict[str, set[str]]  # ids of test items, by set


def evaluated_folders(
    study_dir: Path, trials: Iterable[Trial]
) -> tuple[dict[str, Path], list[str]]:
    """What each model that was measured into a study is called, and its folder.

    Models whose test items are not those of any trial are left out: of these a second list tells
    the folders. They were measured before the study had its test sets of now.

    Where one was measured in several ways, its folder is told, whose config.yaml says how.
    """
    results = {
        path.parent: json.loads(path.read_bytes())
        for path in sorted((study_dir / EVALUATED_FOLDER).glob(f"*/{RESULT_FILE}"))
    }
    known = [items for trial in trials if (items := _items(trial.tables.get("losses")))]
    others = [folder for folder in results if not _among(_items_in(folder), known)]
    for folder in others:
        del results[folder]
    names = [result["model"] for result in results.values()]
    named = {
        result["model"] + (f" as {folder.name}" if names.count(result["model"]) > 1 else ""): folder
        for folder, result in results.items()
    }
    return named, [folder.name for folder in others]


def _among(items: Items, known: list[Items]) -> bool:
    """Whether some trial has the same items in each set that both have; so it is without trials."""
    return not known or any(
        all(items[name] == own[name] for name in items.keys() & own.keys()) for own in known
    )


def _items_in(folder: Path) -> Items:
    """The items of a model that was measured; none where they cannot be read, which others tell."""
    try:
        return _items(pq.read_table(folder / LOSSES_FILE, columns=["step", "set", "id"]))
    except (pa.ArrowInvalid, OSError):
        return {}


def _items(table: pa.Table | None) -> Items:
    """The ids of each test set at the first step of a table of losses."""
    if table is None or not len(table):
        return {}
    first = table.filter(pc.equal(table["step"], pc.min(table["step"])))
    found: Items = {}
    for name, item in zip(first["set"].to_pylist(), first["id"].to_pylist(), strict=True):
        found.setdefault(name, set()).add(item)
    return found


def evaluated_table(arms: list[Arm], models: list[Trial]) -> Table | None:
    """Losses and scores of finished arms at their last step, and of the models; None without any.

    Where a tokenizer differs, also the loss of whole answers.
    """
    if not models:
        return None
    rows = {arm.name: arm.trials for arm in arms if arm.finished}
    rows |= {model.name: [model] for model in models}
    columns: dict[str, Curve] = {title: _loss_curve(key) for key, title in SETS.items()}
    columns |= {
        f"{metric}, {title[0].lower()}{title[1:]}": _score_curve(name, key)
        for name, metric in score_titles().items()
        for key, title in SETS.items()
    }
    if tokenizer_notes(arms, models):
        columns |= {f"{title}, nats an answer": _answer_curve(key) for key, title in SETS.items()}
    values = {
        title: {name: _last(trials, curve) for name, trials in rows.items()}
        for title, curve in columns.items()
    }
    kept = [
        title for title, by_row in values.items() if any(v is not None for v in by_row.values())
    ]
    table = Table(["arm or model", *kept])
    for name in rows:
        cells = [values[title][name] for title in kept]
        shown = [Cell(MISSING if v is None else number(v), "number") for v in cells]
        table.rows.append([Cell(name, "wrapped"), *shown])
    return table


def tokenizer_notes(arms: list[Arm], models: list[Trial]) -> list[str]:
    """A sentence for each model whose tokenizer counts the answers' tokens in another way."""
    trained = next((counts for arm in arms for t in arm.trials if (counts := _tokens(t))), {})
    notes = []
    for model in models:
        own = _tokens(model)
        shared = own.keys() & trained.keys()
        if other := sum(own[item] != trained[item] for item in shared):
            notes.append(
                f"{model.name} has another tokenizer than the trials: {other:,} of {len(shared):,} "
                "answers have other numbers of tokens. Its losses are means over tokens of its "
                "own, and do not compare with theirs; nats an answer do, as far as no answer was "
                "cut."
            )
    return notes


def loss_at(trials: list[Trial], test_set: str, step: int) -> float | None:
    """Mean loss of a set after a step, as the mean over trials that measured it; None without."""
    curves = (trial.mean_losses(test_set) for trial in trials)
    found = [float(losses[steps == step][0]) for steps, losses in curves if step in steps]
    return float(np.mean(found)) if found else None


def _tokens(trial: Trial) -> dict[tuple[str, str], int]:
    """Answer tokens of each test item that has any, by set and id."""
    table = trial.tables.get("losses")
    if table is None or "tokens" not in table.column_names or not len(table):
        return {}
    first = table.filter(pc.equal(table["step"], pc.min(table["step"])))
    columns = (first[name].to_pylist() for name in ("set", "id", "tokens"))
    return {(name, item): count for name, item, count in zip(*columns, strict=True) if count}


def _loss_curve(test_set: str) -> Curve:
    return lambda trial: trial.mean_losses(test_set)


def _score_curve(metric: str, test_set: str) -> Curve:
    return lambda trial: mean_scores(trial, metric, test_set)


def _answer_curve(test_set: str) -> Curve:
    """Mean over instances of the loss of the whole answer, at the last step."""

    def curve(trial: Trial) -> tuple[Steps, Floats]:
        table = trial.tables.get("losses")
        if table is None or "tokens" not in table.column_names:
            return np.array([], np.int64), np.array([])
        part = table.filter(pc.and_(pc.equal(table["set"], test_set), pc.is_valid(table["loss"])))
        if not len(part):
            return np.array([], np.int64), np.array([])
        last = part.filter(pc.equal(part["step"], pc.max(part["step"])))
        whole = last["loss"].to_numpy() * last["tokens"].to_numpy()
        return last["step"].to_numpy()[:1].astype(np.int64), np.array([whole.mean()])

    return curve


def _last(trials: Iterable[Trial], curve: Curve) -> float | None:
    """The mean over trials of the last value of each; None without any."""
    values = [y[~np.isnan(y)] for _, y in map(curve, trials)]
    ends = [float(y[-1]) for y in values if len(y)]
    return float(np.mean(ends)) if ends else None
