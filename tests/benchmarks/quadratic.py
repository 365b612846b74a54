"""What the quadratic model of training foresaw of a study, beside what was measured.

    python tests/benchmarks/quadratic.py outputs/quickstart

The study has run already; the gradients of its rows are made if its store has none. For each test
set the mean losses at each step, foreseen with both constants at 1, without the curvature, and with
the constants that fit the measured curves of the query set best by least squares, over all trials.
Curves of other sets are not fitted to.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.core.quadratic import Quadratic, fit_constants
from orchestrator.report.read import read_study
from orchestrator.screen import Screen
from orchestrator.stages.dataset import load_answers
from orchestrator.stages.influence import course_of, load_phi, row_mass
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.pipeline import Pipeline
from orchestrator.training.spec import evaluation_steps, read_inputs
from orchestrator.trials import expand


class Foreseen:
    """The model of one trial's pool, its plan and its test sets."""

    def __init__(self, pipeline, spec):
        config, dataset = spec.config, pipeline.dataset(spec.config)
        phi, self.losses = load_phi(pipeline.influence(config))
        pool = dataset.info["splits"]["pool"]["instances"]
        mass = row_mass(load_answers(dataset, pipeline.tokens(config)), config.training.loss)
        began = time.perf_counter()
        self.model = Quadratic(phi[:pool], mass)
        self.tests = self.model.turned(phi)
        self.built = time.perf_counter() - began
        self.inputs, self.course = read_inputs(spec), course_of(config)
        self.steps = np.array(evaluation_steps(config, len(self.inputs.plan)))

    def curve(self, name, scale=1.0, curvature=1.0):
        """Mean losses of a test set at the steps of its evaluation."""
        rows = self.inputs.sets[name]
        rows = rows[~np.isnan(self.losses[rows])]
        one = self.model.curvature
        self.model.curvature = curvature * one
        course = replace(self.course, scale=scale)
        places = self.model.follow(self.inputs.plan, course)[self.steps]
        found = self.model.losses(places, self.tests[rows], self.losses[rows]).mean(axis=1)
        self.model.curvature = one
        return found


def measured(trial, name):
    return trial.mean_losses(name)[1]


def shown(values):
    return " ".join(f"{value:.3f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    folder = parser.parse_args().study
    study, trials = load_study(folder / "study.yaml", [], []), {}
    expanded = expand(study)
    with Screen() as screen, cluster(threads(study, expanded)):
        pipeline = Pipeline(Layout.of(study), screen)
        pipeline.read_data(expanded)
        for spec in pipeline.prepare(expanded):
            trials[spec.trial] = Foreseen(pipeline, spec)
    found = {trial.name: trial for trial in read_study(folder).trials}
    real = np.stack([measured(found[name], "query") for name in trials])

    def predict(scale, curvature):
        return np.stack([trial.curve("query", scale, curvature) for trial in trials.values()])

    fitted = fit_constants(predict, real)
    print(
        "least squares over the query curves of {} trials: scale {:.3f}, curvature {:.4f}".format(
            len(trials), *fitted
        )
    )
    for name, trial in trials.items():
        most = trial.course.rates(len(trial.inputs.plan)).max() * trial.model.curvature.max()
        began = time.perf_counter()
        for _ in range(20):
            trial.model.follow(trial.inputs.plan, trial.course)
        took = (time.perf_counter() - began) / 20
        print(f"{name}: {len(trial.inputs.plan)} rows followed in {1000 * took:.2f} ms, model")
        print(f"  built in {trial.built:.2f} s, rate times largest curvature {most:.2f}")
        for test_set in trial.inputs.sets:
            print(f"  {test_set} at steps {trial.steps.tolist()}")
            print(f"    measured        {shown(measured(found[name], test_set))}")
            print(f"    foreseen        {shown(trial.curve(test_set))}")
            print(f"    no curvature    {shown(trial.curve(test_set, curvature=0.0))}")
            print(f"    fitted          {shown(trial.curve(test_set, *fitted))}")


if __name__ == "__main__":
    main()
