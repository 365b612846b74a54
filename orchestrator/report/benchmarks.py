"""Benchmarks of the arms beside their losses, and where the two rank arms the other way round.

A lower loss on the test sets need not be a higher score on a benchmark. Two arms are set against
each other only where both differences exceed their errors: that of the losses by `contrast`, that
of the scores by the standard errors of the harness and the spread over seeds. These take the arms'
items for different ones, although they are the same: a difference that is called clear is so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from orchestrator.report.arms import Arm
from orchestrator.report.contrast import arm_contrast
from orchestrator.report.evaluated import loss_at
from orchestrator.report.figures import SETS
from orchestrator.report.tables import MISSING, Cell, Table, count_cell, loss_cell, number
from orchestrator.report.trial import Trial, distinct
from orchestrator.training.evaluation.benchmarks import headlines

NORMAL = 1.96  # standard errors on either side of a 95% interval
Measure = tuple[str, str]  # task and metric


@dataclass(frozen=True)
class Score:
    """What an arm scored, as the mean over its trials.

    Attributes:
        error: its standard error; None where the harness tells none.
        higher_is_better: None where the task does not say.
    """

    value: float
    error: float | None
    higher_is_better: bool | None

    def ahead_of(self, other: Score) -> bool | None:
        """Whether this is the better one; None where the difference is within the errors.

        An error of 0 is none: of items that all came out alike the harness cannot tell any.
        """
        if not (self.error and other.error) or self.higher_is_better is None:
            return None
        gap = self.value - other.value
        if not abs(gap) > NORMAL * np.hypot(self.error, other.error):  # nor is NaN
            return None
        return (gap > 0) == self.higher_is_better


def scores_of(trials: list[Trial]) -> dict[int, dict[Measure, Score]]:
    """Scores at each step that all of some trials were benchmarked at."""
    every = [
        {(row["step"], row["task"], row["metric"]): row for row in headlines(table).to_pylist()}
        for trial in distinct(trials)
        if (table := trial.tables.get("benchmarks")) is not None
    ]
    found: dict[int, dict[Measure, Score]] = {}
    for step, *measure in sorted(set.intersection(*map(set, every))) if every else []:
        rows = [by_key[step, *measure] for by_key in every]
        found.setdefault(step, {})[measure[0], measure[1]] = _mean(rows)
    return found


def _mean(rows: list[dict[str, float | None]]) -> Score:
    values = np.array([row["value"] for row in rows], float)
    errors = [row["stderr"] for row in rows if row["stderr"] is not None]
    error = float(np.mean(errors)) if len(errors) == len(rows) else None
    if error is not None and len(rows) > 1:
        # Seeds answer the same items: their errors do not shrink, and seeds have one of their own.
        error = float(np.hypot(error, values.std(ddof=1) / len(rows) ** 0.5))
    better = rows[0]["higher_is_better"]
    return Score(float(values.mean()), error, None if better is None else bool(better))


def benchmark_table(arms: list[Arm], models: list[Trial]) -> Table | None:
    """A row for each benchmarked step of an arm, with its losses there, and for each other model.

    None where nothing was benchmarked.
    """
    rows = [
        (arm.label, arm.trials, step, scores)
        for arm in arms
        for step, scores in scores_of(arm.trials).items()
    ]
    rows += [
        (model.name, [model], step, scores)
        for model in models
        for step, scores in scores_of([model]).items()
    ]
    measures = sorted({measure for *_, scores in rows for measure in scores})
    if not measures:
        return None
    losses = {
        title: [loss_at(trials, key, step) for _, trials, step, _ in rows]
        for key, title in SETS.items()
    }
    losses = {title: each for title, each in losses.items() if any(each)}
    titles = [f"{task} ({metric})" for task, metric in measures]
    table = Table(["arm or model", "step", *(f"{title}, loss" for title in losses), *titles])
    for place, (name, _, step, scores) in enumerate(rows):
        cells = [_score_cell(scores.get(measure)) for measure in measures]
        own = [loss_cell(each[place]) for each in losses.values()]
        table.rows.append([Cell(name, "wrapped"), count_cell(step), *own, *cells])
    return table


def _score_cell(score: Score | None) -> Cell:
    if score is None:
        return Cell(MISSING, "number")
    error = "" if score.error is None else f" ± {number(score.error)}"
    return Cell(number(score.value) + error, "number")


def disagreements(arms: list[Arm]) -> list[str]:
    """Sentences on the benchmarks that rank two arms against their losses, at their last step.

    Held-out losses where all of the arms have them, else query losses.
    """
    last = {
        arm: max(found.items()) for arm in arms if arm.finished and (found := scores_of(arm.trials))
    }
    held_out = all(len(trial.losses("held_out")[0]) for arm in last for trial in arm.trials)
    test_set = "held_out" if held_out else "query"
    clear, against = 0, []
    for a, b in combinations(last, 2):
        (step, a_scores), (b_step, b_scores) = last[a], last[b]
        contrast = arm_contrast(a, b, test_set) if step == b_step else None
        verdict = contrast.by_step[step].verdict if contrast and step in contrast.by_step else None
        if verdict not in ("ahead", "behind"):
            continue
        lower, higher = (a, b) if verdict == "ahead" else (b, a)
        for measure in sorted(a_scores.keys() & b_scores.keys()):
            ahead = last[lower][1][measure].ahead_of(last[higher][1][measure])
            clear += ahead is not None
            if ahead is False:
                against.append(_against(measure, lower, higher, last, test_set))
    if len(last) < 2:
        return []
    loss = f"{SETS[test_set].removesuffix(' set').lower()} loss"
    if not clear:
        return [f"No two arms differ by more than their errors both in {loss} and in a benchmark."]
    cases = f"{clear:,} comparison{'s' if clear > 1 else ''} of two arms in which both {loss} and "
    head = f"Of {cases}benchmark differ by more than their errors, "
    count = f"{len(against):,} rank{'s' if len(against) == 1 else ''} the arms the other way round"
    return [f"{head}{count if against else 'none ranks the arms the other way round'}.", *against]


def _against(
    measure: Measure,
    lower: Arm,
    higher: Arm,
    last: dict[Arm, tuple[int, dict[Measure, Score]]],
    test_set: str,
) -> str:
    step = last[lower][0]
    scores = [number(last[arm][1][measure].value) for arm in (higher, lower)]
    losses = [loss_cell(loss_at(arm.trials, test_set, step)).text for arm in (higher, lower)]
    return (
        f"{measure[0]} ({measure[1]}) ranks {higher.name} above {lower.name} ({scores[0]} against "
        f"{scores[1]}), the loss ranks it below ({losses[0]} against {losses[1]})."
    )
