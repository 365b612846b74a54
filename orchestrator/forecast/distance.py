"""The forecast by distance: what earlier studies tell of how nearness lowers the loss.

Earlier studies of the same output folder that trained the same model in the same way, for as many
steps, and measured the same query tasks give two things: the mean loss of each task at each step
over their arms, and a monotone fit f of how much further a task's loss dropped in an arm than in
the others, by how much nearer its nearest row was than theirs (`core.statistics.prediction`). A
trial is expected to have

    loss[s, t] = mean loss[s, t] - f(distance[s, t] - mean distance[s, t]),

the means over all arms of the earlier studies, straight between the steps at which they were
evaluated. The distances of a trial are those of its plan. Its own losses are never looked at, and
no earlier trial of any study that was fed the same rows in the same order: it would be the answer.

Not for arms that train on the same rows in another order: at the end they have come equally near,
and the pair is left open. Nor for test sets other than the query set, whose distances alone are
measured, nor for queries without task labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import ValidationError

from orchestrator.config import TrialConfig
from orchestrator.core.statistics.analysis import Floats, Steps, TaskCurves
from orchestrator.core.statistics.prediction import MonotoneFit, fit_monotone, from_others
from orchestrator.errors import DataError
from orchestrator.forecast.forecaster import Abstains, Expectation, Request
from orchestrator.report.arms import group_arms, query_curves, stack
from orchestrator.report.measures import drop_curves, measure_curves
from orchestrator.report.prediction import MEASURE
from orchestrator.report.read import read_study
from orchestrator.report.trained import deciding
from orchestrator.report.trial import Trial
from orchestrator.storage.artifacts import key_digest
from orchestrator.storage.files import MEASURES_FILE, PLAN_FILE, SUMMARY_FILE
from orchestrator.training.outcome import FINISHED
from orchestrator.training.spec import evaluation_steps, planned_steps
from orchestrator.trials.expand import trial_key


@dataclass(frozen=True)
class Earlier:
    """What the comparable arms of one earlier study tell.

    Attributes:
        study: its name.
        arms: how many of its arms compare.
        losses, distances: means over its arms, of each query task.
        nearer, fell: (N,), by how much a distance differed from that of the other arms, and the
            drop of the loss likewise: an entry for each arm, step and task.
    """

    study: str
    arms: int
    losses: TaskCurves
    distances: TaskCurves
    nearer: Floats
    fell: Floats

    @property
    def origin(self) -> dict[str, Any]:
        """How many arms it tells of, and a digest of all that it tells."""
        told = (self.losses.losses, self.distances.losses, self.nearer, self.fell)
        return {"arms": self.arms, "sha256": key_digest([part.tolist() for part in told])}


def forecast(request: Request) -> Expectation:
    """Expected query losses of the trials that earlier studies compare with.

    Raises:
        Abstains: there are none, or the plans have no measures.
    """
    studies = _finished_trials(request)
    losses: dict[str, dict[str, TaskCurves]] = {}
    used: dict[str, Any] = {}
    learn = lru_cache(maxsize=None)(lambda kind: _learn(studies, kind))
    for trial, spec in zip(request.trials, request.specs, strict=True):
        rows = pq.read_metadata(spec.folder / PLAN_FILE).num_rows
        earlier = learn(kind_of(trial.config, planned_steps(trial.config, rows)))
        near = _plan_distances(spec.folder)
        if not earlier or near is None:
            continue
        steps = np.array(evaluation_steps(trial.config, rows))
        if (expected := _expected(earlier, near, steps)) is not None:
            losses[trial.name] = {"query": expected}
            used |= {one.study: one.origin for one in earlier}
    if not losses:
        raise Abstains(
            "no finished study of the same output folder has two arms or more, other than those of "
            "this one, with the same model, training, steps, embedding and query tasks, and "
            "measures of their plans"
        )
    return Expectation(losses, {"measure": MEASURE, "studies": used})


def kind_of(config: TrialConfig, steps: int) -> str:
    """What trials have to share for the losses of one to tell of another's.

    Args:
        steps: planned in all; the learning rates of all of them depend on it.
    """
    sections = deciding(config.model_dump(mode="json"), "model", "training", "embedding")
    query = config.data.query.model_dump(mode="json", exclude={"seed"})
    return json.dumps([sections, steps, query, config.evaluation.max_length], sort_keys=True)


def _finished_trials(request: Request) -> dict[str, list[tuple[str, Trial]]]:
    """The finished trials of every other study of the output folder, each with its kind.

    Without those that are a trial of this study, or were fed what one of its plans says.
    """
    keys = {trial.key for trial in request.trials}
    orders = {certificate["order_sha256"] for certificate in request.certificates.values()}
    studies: dict[str, list[tuple[str, Trial]]] = {}
    for summary in sorted(request.output.glob(f"*/{SUMMARY_FILE}")):
        name = summary.parent.name
        if name == request.study.study:
            continue
        try:
            trials = [trial for trial in read_study(summary.parent).trials if trial.finished]
            configs = [TrialConfig.model_validate(trial.config) for trial in trials]
        except (DataError, ValidationError):
            continue  # of another version of the settings: nothing to compare with
        studies[name] = [
            (kind_of(config, int(trial.summary["steps"])), trial)
            for trial, config in zip(trials, configs, strict=True)
            if trial_key(config) not in keys and trial.summary["order_sha256"] not in orders
        ]
    return studies


def _learn(studies: dict[str, list[tuple[str, Trial]]], kind: str) -> list[Earlier]:
    """What each study tells of trials of a kind; those with fewer than two such arms tell none."""
    told = []
    for name, trials in studies.items():
        arms = group_arms([trial for other, trial in trials if other == kind])
        curves = [
            curve
            for arm in arms
            for curve in (measure_curves(arm, MEASURE), drop_curves(arm), query_curves(arm))
            if curve is not None
        ]
        stacked = stack(curves) if len(curves) == 3 * len(arms) else None
        if stacked is None or len(arms) < 2:
            continue
        steps, tasks, cells = stacked
        near, fell, losses = cells[::3], cells[1::3], cells[2::3]
        untouched = (losses + fell).mean(axis=0)[:1]  # the loss at step 0, which is the same in all
        mean = np.concatenate([untouched, losses.mean(axis=0)])
        told.append(
            Earlier(
                name,
                len(arms),
                TaskCurves(np.concatenate([[0], steps]), tasks, mean),
                TaskCurves(steps, tasks, near.mean(axis=0)),
                from_others(near, 0).ravel(),
                from_others(fell, 0).ravel(),
            )
        )
    return told


def _plan_distances(folder: Path) -> TaskCurves | None:
    """The distance of the rows seen so far to each query task; None where it was not measured."""
    path = folder / MEASURES_FILE
    if not path.is_file():
        return None
    summary = {"trial": folder.name, "status": FINISHED}
    return Trial(summary, {}, {"measures": pq.read_table(path)}, []).task_measure(MEASURE)


def _expected(earlier: list[Earlier], near: TaskCurves, steps: Steps) -> TaskCurves | None:
    """Expected losses of a trial at some steps, step 0 among them; None without a common task."""
    tasks = sorted(set(near.tasks).intersection(*(one.losses.tasks for one in earlier)))
    if not tasks:
        return None
    fit = _fit(earlier)
    mean = np.mean([_at(one.losses, steps, tasks) for one in earlier], axis=0)
    others = np.mean([_at(one.distances, steps, tasks) for one in earlier], axis=0)
    dropped = fit.predict(_at(near, steps, tasks) - others)
    dropped[steps == 0] = 0.0
    return TaskCurves(steps, tasks, mean - dropped)


def _fit(earlier: Iterable[Earlier]) -> MonotoneFit:
    """How much further a loss drops by how much nearer, over all earlier studies."""
    nearer, fell = zip(*((one.nearer, one.fell) for one in earlier), strict=True)
    return fit_monotone(np.concatenate(nearer), np.concatenate(fell))


def _at(curves: TaskCurves, steps: Steps, tasks: list[str]) -> Floats:
    """Curves of some tasks at some steps: straight between their own."""
    columns = [curves.losses[:, curves.tasks.index(task)] for task in tasks]
    return np.stack([np.interp(steps, curves.steps, column) for column in columns], axis=1)
