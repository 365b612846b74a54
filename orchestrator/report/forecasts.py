"""How right the forecasts of a study were, and what the ledger says of those who made them.

A forecast is scored once every trial that it is of has finished: on each test set, each pair of
arms counts once, whatever its seeds, by the means at the last step that both were evaluated at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.core.statistics.analysis import Floats, TaskCurves
from orchestrator.core.statistics.comparison import Comparison
from orchestrator.core.statistics.forecasting import brier, curve_errors
from orchestrator.core.statistics.scores import Ranked, Score, right_of
from orchestrator.errors import DataError
from orchestrator.report.arms import Arm, group_arms, mean_curves, stack
from orchestrator.report.contrast import arm_contrast
from orchestrator.report.figures import SETS
from orchestrator.report.trained import trained_digest
from orchestrator.report.trial import Trial
from orchestrator.storage.files import FORECASTS_FOLDER
from orchestrator.storage.ledger import Line, append_once, check_scored, read_ledger, trials_digest
from orchestrator.storage.sealed import SEAL, read_sealed


@dataclass(frozen=True)
class PairOutcome:
    """A pair of arms as it was forecast and as it ended.

    Attributes:
        probability: that a ends ahead of b.
        measured: loss of a minus that of b at the end; None of a forecast that is not scored yet,
            and where the arms were not both measured.
    """

    a: str
    b: str
    probability: float
    measured: Comparison | None = None

    @property
    def clear(self) -> bool:
        """Whether the measured gap is clear."""
        return self.measured is not None and self.measured.verdict != "no clear difference"

    @property
    def ranked(self) -> bool:
        """Whether the forecast ranks the pair, and it ended apart."""
        return self.apart and self.probability != 0.5

    @property
    def apart(self) -> bool:
        """Whether the arms ended with different losses."""
        return self.measured is not None and self.measured.difference != 0

    @property
    def order(self) -> tuple[str, str]:
        """The arm that is more probably ahead, and the other one."""
        return (self.a, self.b) if self.probability > 0.5 else (self.b, self.a)

    @property
    def right(self) -> bool:
        """Whether the arm that was expected ahead came out ahead."""
        assert self.measured is not None, "a pair that was not measured is neither right nor wrong"
        return (self.probability > 0.5) == (self.measured.difference < 0)


@dataclass(frozen=True)
class Foretold:
    """A forecast as its file has it, and what became of it.

    Attributes:
        record: the content of the file.
        waiting: why it is not scored, in a sentence; empty where it is.
        pairs: by test set.
        measured: by test set, the mean curve of each arm over the tasks that were forecast; empty
            where it is not scored.
        trained: of each arm what its trials were trained on and how, as `trained_digest`; empty
            where it is not scored.
    """

    record: dict[str, Any]
    waiting: str
    pairs: dict[str, list[PairOutcome]]
    measured: dict[str, dict[str, TaskCurves]]
    trained: dict[str, list[str]]

    @property
    def name(self) -> str:
        """Of the forecaster."""
        return str(self.record["forecaster"])

    @property
    def scores(self) -> dict[str, Score]:
        """By test set; empty where it is not scored."""
        if self.waiting:
            return {}
        return {
            name: _score(
                self.trained, pairs, self.record["sets"][name]["curves"], self.measured[name]
            )
            for name, pairs in self.pairs.items()
        }

    @property
    def ledger_line(self) -> Line:
        """What the ledger keeps of it."""
        return Line(
            forecast=self.record[SEAL],
            forecaster=self.name,
            study=self.record["study"],
            trials=trials_digest(self.record),
            made=self.record["made"],
            scored=datetime.now(UTC).isoformat(timespec="seconds"),
            sets=self.scores,
        )


def read_forecasts(study_dir: Path, trials: list[Trial]) -> tuple[list[Foretold], list[str]]:
    """The forecasts in a study folder, set against its trials, and a sentence on each refused one.

    One whose file was changed, that is not the one that was scored, or that is of other plans than
    were trained, is no forecast.
    """
    foretold, faults = [], []
    try:
        lines = read_ledger(study_dir.parent)
    except DataError:
        lines = []  # which is told where the ledger is shown
    for path in sorted((study_dir / FORECASTS_FOLDER).glob("*.json")):
        try:
            record = read_sealed(path)
            check_scored(lines, record)
            foretold.append(_set_against(record, trials))
        except DataError as error:
            faults.append(f"The forecast {error}.")
    return foretold, faults


def settle_forecasts(study_dir: Path, foretold: list[Foretold]) -> None:
    """Enter the scores of a study that ended into the ledger beside it, each once.

    Raises:
        DataError: the ledger cannot be read.
    """
    if scored := [one.ledger_line for one in foretold if not one.waiting]:
        append_once(study_dir.parent, scored)


def forecast_metrics(foretold: list[Foretold]) -> dict[str, float]:
    """The scores by the names that they have in MLflow."""
    return {
        f"forecast/{one.name}/{test_set}/{key}": float(value)
        for one in foretold
        for test_set, score in one.scores.items()
        for key, value in {
            "pairs": len(score.ranked), "right": right_of(score.ranked), "brier": score.brier,
        }.items()
        if value is not None
    }  # fmt: skip


def _set_against(record: dict[str, Any], trials: list[Trial]) -> Foretold:
    """A forecast and what its trials came to.

    Raises:
        DataError: a trial was trained in another order than the forecast is of.
    """
    expected = record["trials"]
    chosen = [trial for trial in trials if trial.name in expected and trial.finished]
    for trial in chosen:
        if trial.summary["order_sha256"] != expected[trial.name]["order_sha256"]:
            raise DataError(
                f"{record['forecaster']}.json is of another order than {trial.name} was trained "
                "in: it is not scored"
            )
    missing = len(expected) - len(chosen)
    waiting = f"{missing} of its {len(expected)} trials have not finished" if missing else ""
    arms = {} if waiting else {arm.name: arm for arm in group_arms(chosen)}
    sets = {name: record["sets"][name] for name in SETS if name in record["sets"]}
    return Foretold(
        record,
        waiting,
        {name: [_outcome(pair, arms, name) for pair in sets[name]["pairs"]] for name in sets},
        {name: _measured(sets[name]["curves"], arms, name) for name in sets},
        {
            name: sorted({trained_digest(trial) for trial in arm.trials})
            for name, arm in arms.items()
        },
    )


def _outcome(pair: Mapping[str, Any], arms: Mapping[str, Arm], test_set: str) -> PairOutcome:
    a, b = pair["a"], pair["b"]
    contrast = arm_contrast(arms[a], arms[b], test_set) if {a, b} <= arms.keys() else None
    measured = contrast.by_step[contrast.end] if contrast else None
    return PairOutcome(a, b, pair["probability"], measured)


def _measured(
    curves: Mapping[str, Any], arms: Mapping[str, Arm], test_set: str
) -> dict[str, TaskCurves]:
    """The mean over seeds of each arm's curves, of the tasks that were forecast."""
    measured = {}
    for name in curves.keys() & arms.keys():
        mean = mean_curves([trial.task_losses(test_set) for trial in arms[name].trials])
        tasks = set(mean.tasks).intersection(curves[name]["tasks"]) if mean else set()
        if mean is not None and tasks:
            kept = [mean.tasks.index(task) for task in sorted(tasks)]
            measured[name] = TaskCurves(mean.steps, sorted(tasks), mean.losses[:, kept])
    return measured


def _score(
    trained: dict[str, list[str]], pairs: list[PairOutcome], curves: Mapping[str, Any],
    measured: Mapping[str, TaskCurves],
) -> Score:  # fmt: skip
    ranked = [pair for pair in pairs if pair.ranked]
    apart = [pair for pair in pairs if pair.apart]
    probabilities = np.array([pair.probability for pair in apart])
    ahead = [pair.measured is not None and pair.measured.difference < 0 for pair in apart]
    score = Score(
        arms=trained,
        ranked=[Ranked(*pair.order, pair.right, pair.clear) for pair in ranked],
        undecided=len(apart) - len(ranked),
        brier=brier(probabilities, np.array(ahead, float)),
    )
    sized = {name: curves[name] for name in measured if "low" in curves[name]}
    together = _together(sized, measured)
    if together is None:
        return score
    expected, low, high, came = together
    covered = (low <= came) & (came <= high)
    errors = curve_errors(expected, came)._asdict()
    return replace(score, cells=covered[:, 1:].size, covered=int(covered[:, 1:].sum()), **errors)


def _together(
    curves: Mapping[str, Any], measured: Mapping[str, TaskCurves]
) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Expected losses, their limits and the measured losses, each (A, S), on common steps.

    None where there are fewer than two such steps, or no arm.
    """
    names = sorted(curves)
    sides = [
        TaskCurves(np.array(curves[name]["steps"]), [""], np.array(curves[name][key])[:, None])
        for name in names
        for key in ("losses", "low", "high")
    ]
    sides += [
        TaskCurves(measured[name].steps, [""], measured[name].losses.mean(axis=1)[:, None])
        for name in names
    ]
    stacked = stack(sides)
    if stacked is None or len(stacked[0]) < 2:
        return None
    cells = stacked[2][..., 0]
    written = cells[: 3 * len(names)]
    return written[::3], written[1::3], written[2::3], cells[3 * len(names) :]
