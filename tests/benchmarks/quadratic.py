"""What the quadratic model of training foresees of a study, beside what was measured.

    python tests/benchmarks/quadratic.py outputs/quickstart

The study has run already, and nothing of it is changed; the gradients of its rows are made if its
store has none. For each test set the mean losses at each step, foreseen with both constants at 1,
without the curvature, and with those that `orchestrator forecast --fit` finds.
"""

import argparse
import time
from pathlib import Path

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.forecast.fitting import fit, mean_curve
from orchestrator.forecast.quadratic import Models
from orchestrator.report.read import read_study
from orchestrator.screen import Screen
from orchestrator.stages.influence import course_of
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.fit import trained_trials
from orchestrator.study.token_artifacts import TokenArtifacts
from orchestrator.training.spec import inputs_of
from orchestrator.trials import expand


def shown(values):
    return " ".join(f"{value:.3f}" for value in values)


def show_cost(trial, known):
    rows, course = len(trial.plan), course_of(trial.config)
    began = time.perf_counter()
    for _ in range(20):
        known.model.follow(trial.plan, course)
    took = (time.perf_counter() - began) / 20
    most = course.rates(rows).max() * known.model.curvature.max()
    print(f"  {rows} rows followed in {1000 * took:.2f} ms, rate times curvature {most:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    folder = parser.parse_args().study
    study = load_study(folder / "study.yaml", [], [])
    trials = trained_trials(folder)
    measured = {trial.name: trial for trial in read_study(folder).trials}
    with Screen() as screen, cluster(threads(study, expand(study))):
        artifacts = TokenArtifacts(Layout.of(study), screen)
        models = Models(artifacts)
        fitted = fit(artifacts, list(trials.values()))
        print(fitted)
        for name, trial in trials.items():
            known = models.of(trial.config)
            print(name)
            show_cost(trial, known)
            dataset = artifacts.dataset(trial.config).path
            for test_set, rows in inputs_of(dataset, trial.plan).sets.items():
                curve = mean_curve(known, trial, rows)
                print(f"  {test_set} at steps {trial.steps.tolist()}")
                print(f"    measured      {shown(measured[name].mean_losses(test_set)[1])}")
                print(f"    foreseen      {shown(curve(1.0, 1.0))}")
                print(f"    no curvature  {shown(curve(1.0, 0.0))}")
                print(f"    fitted        {shown(curve(fitted.scale, fitted.curvature))}")


if __name__ == "__main__":
    main()
