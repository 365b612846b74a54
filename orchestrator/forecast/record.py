"""A forecast as it is written down: curves of arms, probabilities of pairs, and their origin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.forecasting import half_width, pair_probabilities, standard_error
from orchestrator.core.statistics.scores import Standing, standing
from orchestrator.forecast.forecaster import Expectation, Request
from orchestrator.report.arms import mean_curves, stack
from orchestrator.report.figures import SETS
from orchestrator.storage.artifacts import key_digest
from orchestrator.storage.ledger import Line, scores_of
from orchestrator.training.spec import TrialSpec

# What decides which rows come when: the certificate tells.
ARRANGING = {"arrangement", "embedding", "neighbours"}


def make_record(
    forecaster: str, expectation: Expectation, request: Request, ledger: list[Line]
) -> dict[str, Any]:
    """What is written of a forecast, as JSON.

    Args:
        forecaster: its name.
        ledger: of the output folder; earlier scores say how sure the forecaster may be.
    """
    sets = {
        name: _set_record(expectation, request, name, standing(scores_of(ledger, forecaster, name)))
        for name in SETS
        if any(name in curves for curves in expectation.losses.values())
    }
    return {
        "forecaster": forecaster,
        "study": request.study.study,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "sized": expectation.sized,
        "origin": expectation.origin,
        "trials": {
            trial.name: {"arm": trial.arm, **request.certificates[spec.key]}
            for trial, spec in zip(request.trials, request.specs, strict=True)
        },
        "sets": sets,
    }


def _set_record(
    expectation: Expectation, request: Request, test_set: str, record: Standing
) -> dict[str, Any]:
    """Arms and pairs of one test set, under the forecaster's record on it."""
    arms = _arm_curves(expectation, request, test_set)
    curves = {name: _curve(curve, record, expectation.sized) for name, curve in arms.items()}
    return {
        "record": {
            "studies": record.studies, "pairs": record.pairs, "right": record.right,
            "share": record.share, "relative_error": record.relative_error,
        },
        "curves": curves,
        "pairs": _pairs(arms, _identities(request), record.share),
    }  # fmt: skip


def _arm_curves(expectation: Expectation, request: Request, test_set: str) -> dict[str, TaskCurves]:
    """The expected curve of each arm, as the mean over its trials."""
    by_arm: dict[str, list[TaskCurves | None]] = {}
    for trial in request.trials:
        curves = expectation.losses.get(trial.name, {}).get(test_set)
        by_arm.setdefault(trial.arm, []).append(curves)
    # An arm of which a trial is not known would stand on other seeds than the rest.
    whole = {arm: mean_curves(each) for arm, each in by_arm.items() if None not in each}
    return {arm: curves for arm, curves in whole.items() if curves is not None}


def _curve(curves: TaskCurves, record: Standing, sized: bool) -> dict[str, Any]:
    """The mean over tasks, with its interval where the size is meant."""
    mean = curves.losses.mean(axis=1)
    written: dict[str, Any] = {
        "steps": curves.steps.tolist(), "tasks": curves.tasks, "losses": mean.tolist(),
    }  # fmt: skip
    if sized:
        half = half_width(mean, record.relative_error)
        written |= {"low": (mean - half).tolist(), "high": (mean + half).tolist()}
    return written


def _pairs(
    arms: Mapping[str, TaskCurves], identities: Mapping[str, str], share: float
) -> list[dict[str, Any]]:
    """Each pair of arms, with the probability that the first ends ahead of the second."""
    pairs: list[dict[str, Any]] = []
    for (a, of_a), (b, of_b) in combinations(arms.items(), 2):
        if (stacked := stack([of_a, of_b])) is None:
            continue
        by_task = stacked[2][0, -1] - stacked[2][1, -1]
        gap = 0.0 if identities[a] == identities[b] else float(by_task.mean())
        pairs.append({"a": a, "b": b, "gap": gap, "spread": standard_error(by_task)})
    gaps, spreads = (np.array([pair[key] for pair in pairs]) for key in ("gap", "spread"))
    for pair, probability in zip(pairs, pair_probabilities(gaps, spreads, share), strict=True):
        pair["probability"] = float(probability)
    return pairs


def _identities(request: Request) -> dict[str, str]:
    """A digest of what each arm trains on and how: arms with equal ones end alike."""
    by_arm: dict[str, list[str]] = {}
    for trial, spec in zip(request.trials, request.specs, strict=True):
        by_arm.setdefault(trial.arm, []).append(_identity(spec, request.certificates[spec.key]))
    return {arm: key_digest(sorted(each)) for arm, each in by_arm.items()}


def _identity(spec: TrialSpec, certificate: dict[str, str]) -> str:
    return key_digest([certificate, spec.config.model_dump(mode="json", exclude=ARRANGING)])
