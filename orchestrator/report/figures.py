"""The figures as panels of lines; `drawing` draws them, `measures` makes those of the measures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import pyarrow.compute as pc

from orchestrator.core.arrangements import find_method
from orchestrator.core.statistics.analysis import Floats, Steps, set_curve
from orchestrator.report.arms import Arm
from orchestrator.report.tables import number
from orchestrator.report.trial import Trial

SETS = {"query": "Query set", "held_out": "Held-out set", "off_target": "Off-target set"}
STEP, POSITION = "Optimizer step", "Plan position"
# Points of a line at most. More training steps cannot be told apart at the width of a page, and
# the distances of single rows are too noisy to show what an arm did.
TRAIN_POINTS, PLAN_POINTS = 300, 60


@dataclass(frozen=True)
class Line:
    """One arm's curve, as the mean over its seeds.

    Attributes:
        x, y: of equal length, NaN-free.
        band: lowest and highest of the seeds at each x; None with one seed.
        predicted: whether it was foretold, not measured.
        sampled: those of x at which only a part of the test set was measured.
        trials: x and y of those trials, of several, that can be seen one by one, by their place in
            the arm.
    """

    arm: Arm
    x: Floats | Steps
    y: Floats
    band: tuple[Floats, Floats] | None = None
    predicted: bool = False
    sampled: Collection[int] = ()
    trials: Mapping[int, tuple[Steps, Floats]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A value at the height of which a panel has a straight line, with a name beside it."""

    label: str
    value: float


@dataclass(frozen=True)
class Panel:
    """Lines that share their axes. `key` names it in the page."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    references: Collection[Reference] = ()

    @property
    def words(self) -> str:
        """The panel for those who do not see it: where each line begins and ends."""
        lines = (
            f"{line.arm.label}{', predicted,' if line.predicted else ''} from {number(line.y[0])} "
            f"at {line.x[0]:,.4g} to {number(line.y[-1])} at {line.x[-1]:,.4g}"
            for line in self.lines
        )
        levels = (f"{level.label} {number(level.value)}" for level in self.references)
        return f"{self.title}: {self.y_label} by {self.x_label}. {'; '.join([*lines, *levels])}."

    @property
    def counts_steps(self) -> bool:
        """Whether the x axis counts steps or rows, so that it begins at 0."""
        return self.x_label in (STEP, POSITION)


def loss_panels(arms: list[Arm], models: Iterable[Trial] = ()) -> list[Panel]:
    """A panel for each test set that any arm was measured on.

    Args:
        models: that were measured once and not trained here; each is a straight line.
    """
    panels = []
    for key, title in SETS.items():
        lines = [_loss_line(arm, key) for arm in arms]
        panel = panel_of(f"loss-{key}", title, STEP, "Loss", lines)
        points = {model.name: model.mean_losses(key)[1] for model in models}
        panels.append(replace(panel, references=references_of(points)))
    return [panel for panel in panels if panel.lines]


def _loss_line(arm: Arm, test_set: str) -> Line | None:
    curves = [trial.mean_losses(test_set) for trial in arm.trials]
    line = mean_line(arm, curves, sampled=arm.sampled_steps(test_set))
    if line is None or len(curves) == 1:
        return line
    return replace(line, trials={at: curve for at, curve in enumerate(curves) if len(curve[0])})


def references_of(points: Mapping[str, Floats]) -> list[Reference]:
    """The values of what was measured once, by their names; none of what has none."""
    return [Reference(name, float(y[-1])) for name, y in points.items() if len(y)]


def mean_scores(trial: Trial, metric: str, test_set: str) -> tuple[Steps, Floats]:
    """Steps with scored answers of a test set (S,), and the mean score of its instances (S,)."""
    table = trial.tables.get("generations")
    if table is None:
        return np.array([], np.int64), np.array([])
    table = table.filter(pc.equal(table["set"], test_set))
    step, score = (table[column].to_numpy() for column in ("step", metric))
    return set_curve(step.astype(np.int64), score.astype(np.float64))


def train_panel(arms: list[Arm]) -> Panel:
    """Training loss of every step."""
    lines = [_table_line(arm, "train_log", "step", "loss", TRAIN_POINTS) for arm in arms]
    return panel_of("train", "Training loss", STEP, "Loss of the global batch", lines)


def distance_panels(arms: list[Arm]) -> list[Panel]:
    """Distance along each plan; plans without distances are left out.

    Arms share a panel only where their methods title their distances alike: a negative cosine
    and a transport cost have no axis in common.
    """
    lines: dict[str, list[Line | None]] = {}
    for arm in arms:
        line = _table_line(arm, "plan", "position", "distance", PLAN_POINTS)
        lines.setdefault(distance_title(arm.trials[0]), []).append(line)
    panels = [
        panel_of(f"distance-{index}", title, POSITION, "Distance", part)
        for index, (title, part) in enumerate(lines.items())
    ]
    return [panel for panel in panels if panel.lines]


def distance_title(trial: Trial) -> str:
    """What the trial's method calls the distances of its plans.

    Its name where it gives them no title, or cannot be asked: the package that a study was run
    with need not be installed where its report is made.
    """
    arrangement = trial.arrangement
    method = str(arrangement.get("method"))
    try:
        title = find_method(method).distance.format_map(arrangement)
    except (ValueError, LookupError):
        title = ""
    return title or f"Distance of method {method}"


def panel_of(
    key: str, title: str, x_label: str, y_label: str, lines: Iterable[Line | None]
) -> Panel:
    """The panel of the lines there are."""
    return Panel(key, title, x_label, y_label, [line for line in lines if line is not None])


def mean_line(
    arm: Arm,
    curves: Iterable[tuple[Floats | Steps, Floats]],
    *,
    points: int | None = None,
    sampled: Collection[int] = (),
) -> Line | None:
    """An arm's line: the mean of its trials' curves where all of them have a value.

    Args:
        curves: x, ascending, and y of each trial; empty ones are left out.
        points: of the line at most; longer ones become the means of equal stretches.
        sampled: as of `Line`.
    """
    known = [(x[~np.isnan(y)], y[~np.isnan(y)]) for x, y in curves]
    known = [(x, y) for x, y in known if len(x)]
    if not known:
        return None
    x = reduce(np.intersect1d, [x for x, _ in known])
    if len(x) == 0:
        return None
    values = np.stack([y[np.searchsorted(xs, x)] for xs, y in known])
    rows = [x, values.mean(axis=0), values.min(axis=0), values.max(axis=0)]
    if points is not None and len(x) > points:
        starts = np.linspace(0, len(x), points, endpoint=False).astype(np.int64)
        sizes = np.diff(starts, append=len(x))
        rows = [np.add.reduceat(row, starts) / sizes for row in rows]
    x, mean, low, high = rows
    return Line(arm, x, mean, (low, high) if len(known) > 1 else None, sampled=sampled)


def _table_line(arm: Arm, table: str, x_name: str, y_name: str, points: int) -> Line | None:
    """Two columns of a table of the trials as a line."""
    columns = [
        tuple(trial.tables[table][name].to_numpy().astype(np.float64) for name in (x_name, y_name))
        for trial in arm.trials
        if table in trial.tables
    ]
    return mean_line(arm, [(x, y) for x, y in columns], points=points)
