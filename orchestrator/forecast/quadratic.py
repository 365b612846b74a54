"""The forecast by gradients: each plan followed along a quadratic model of the loss.

What a row would teach each test item is read off the gradients of both (`training.influence`), and
the course of batches and learning rates is the trial's own (`core.quadratic` has the model and what
it cannot see). A plan costs milliseconds; the gradients of the pool and of all test sets cost a
forward and a backward pass of the trained model for every row, once for all trials that share data,
model and, where there is one, alpha and layers of the adapter.

`forecast.quadratic` has the two constants of the model, which `forecast.fitting` finds from the
measured curves of an earlier study. While both are 1, nothing is known of them, and no more than
the order of the arms is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config import Study, TrialConfig
from orchestrator.config.forecast import Quadratic as Constants
from orchestrator.core.quadratic import Course, Doubles, Quadratic
from orchestrator.core.statistics.analysis import TaskCurves, task_curves
from orchestrator.data.instance import UNLABELLED
from orchestrator.forecast.forecaster import Abstains, Artifacts, Expectation, Request
from orchestrator.stages.dataset import load_answers
from orchestrator.stages.influence import course_of, load_phi, row_mass
from orchestrator.storage.files import PLAN_FILE
from orchestrator.training.spec import Inputs, TrialSpec, evaluation_steps, inputs_of
from orchestrator.trials import Trial


@dataclass(frozen=True)
class Known:
    """What trials that share their gradients share.

    Attributes:
        model: of the pool.
        tests: (instances, k), turned phi of all instances.
        losses: (instances,) at the start.
    """

    model: Quadratic
    tests: Doubles
    losses: Doubles


class Models:
    """The model of each trial, made once for those that share it.

    Args:
        artifacts: gradients, made when they are asked for.
        curvature: multiplies that of all.
    """

    def __init__(self, artifacts: Artifacts, curvature: float = 1.0) -> None:
        self._artifacts, self._curvature = artifacts, curvature
        self._known: dict[tuple[str, str], Known] = {}

    def of(self, config: TrialConfig) -> Known:
        """What is known of a trial before it begins."""
        influence = self._artifacts.influence(config)
        key = influence.digest, config.training.loss
        if key not in self._known:
            dataset = self._artifacts.dataset(config)
            phi, losses = load_phi(influence)
            pool = dataset.info["splits"]["pool"]["instances"]
            answers = load_answers(dataset, self._artifacts.tokens(config))
            mass = row_mass(answers, config.training.loss)
            model = Quadratic(phi[:pool], mass, self._curvature)
            self._known[key] = Known(model, model.turned(phi), losses)
        return self._known[key]

    @property
    def digests(self) -> list[str]:
        """Of the gradients that they were made of."""
        return sorted({digest for digest, _ in self._known})


def forecast(request: Request) -> Expectation:
    """Expected losses of all test sets, of every trial.

    Raises:
        Abstains: steps of the model would not settle.
    """
    given = request.study.forecast.quadratic if request.study.forecast else Constants()
    models = Models(request.artifacts, given.curvature)
    losses: dict[str, dict[str, TaskCurves]] = {}
    for trial, spec in zip(request.trials, request.specs, strict=True):
        course = replace(course_of(trial.config), scale=given.scale)
        losses[trial.name] = _expected(models.of(trial.config), spec, course)
    origin = {**given.model_dump(), "influence": models.digests}
    return Expectation(losses, origin, sized=given != Constants())


def other_constants(study: Study, trials: list[Trial]) -> str:
    """What is odd about plans that were searched with other constants than the forecast has, in a
    sentence; empty where none was."""
    given = (study.forecast.quadratic if study.forecast else Constants()).model_dump()
    for trial in trials:
        arrangement = trial.config.arrangement
        options = {name: arrangement.options.get(name) for name in given}
        if arrangement.method == "searched" and options != given:
            searched, foretold = (
                " and ".join(f"{name} {value:g}" for name, value in constants.items())
                for constants in (options, given)
            )
            return (
                f"{trial.name} is searched with {searched}, and forecast.quadratic follows it with "
                f"{foretold}: they are constants of one model, so give both the same"
            )
    return ""


def _expected(known: Known, spec: TrialSpec, course: Course) -> dict[str, TaskCurves]:
    """The curves of one trial on each of its test sets."""
    plan = pq.read_table(spec.folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
    if not known.model.settles(course, len(plan)):
        raise Abstains(
            "the learning rate is so high for the curvature of the loss that the steps of its "
            "model swing ever wider"
        )
    inputs, steps = (
        inputs_of(spec.dataset, plan),
        np.array(evaluation_steps(spec.config, len(plan))),
    )
    places = known.model.follow(plan, course)[steps]
    curves = {}
    for name, every in inputs.sets.items():
        rows = every[~np.isnan(known.losses[every])]
        losses = known.model.losses(places, known.tests[rows], known.losses[rows])
        if len(rows):
            curves[name] = _by_task(steps, _tasks(inputs, rows), losses)
    return curves


def _tasks(inputs: Inputs, rows: NDArray[np.int64]) -> NDArray[np.object_]:
    """The task of each row; where none has one, every row is a task."""
    tasks = inputs.tasks[rows]
    return inputs.ids[rows] if (tasks == UNLABELLED).all() else tasks


def _by_task(steps: NDArray[np.int64], tasks: NDArray[np.object_], losses: Doubles) -> TaskCurves:
    """Means over the rows of each task, of losses (S, N)."""
    each = np.repeat(steps, len(tasks)), np.tile(tasks, len(steps)).tolist()
    return task_curves(*each, losses.ravel())
