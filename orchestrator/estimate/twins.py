"""Trials that will not be trained, because their seed decides nothing: as far as it is known before
there are plans. Of plans that turn out equal under other settings only a run can tell."""

from __future__ import annotations

import os

from orchestrator.config import TrialConfig
from orchestrator.estimate.stored import StoreLookup
from orchestrator.stages.arrange import draws_plan
from orchestrator.training.drawn import drawn_by_seed, pairs_in_words, varied_by
from orchestrator.trials import Trial
from orchestrator.trials.expand import trial_key


def foreseen_twins(trials: list[Trial], store: StoreLookup) -> dict[str, str]:
    """The trials that are twins (`training.twins`), by name, each with the one that is trained.

    Of a model that is not here yet nobody knows whether it has dropout: its trials count as ones
    that are all trained, so that hours are not told too short.
    """
    alike: dict[str, list[Trial]] = {}
    for trial in trials:
        if not draws_plan(trial.config.arrangement, trial.config.seed):
            unseeded = trial.config.model_copy(update={"seed": 0})
            alike.setdefault(trial_key(unseeded), []).append(trial)
    return {
        twin.name: first.name
        for first, *others in alike.values()
        if others and not _draws(first.config, store)
        for twin in others
    }


def twin_lines(trials: list[Trial], twins: dict[str, str]) -> list[str]:
    """What is said of them under the estimate."""
    if not twins:
        return []
    config = next(trial.config for trial in trials if trial.name in twins)
    varied = varied_by(config.model_dump(mode="json"))
    return [
        f"once    {pairs_in_words(twins)}: nothing tells them apart, and one of them is trained. "
        f"Their seed decides nothing: to repeat such an arm sweep {varied}"
    ]


def _draws(config: TrialConfig, store: StoreLookup) -> bool:
    model = store.model(config.model.reference)
    if model is None:
        return True
    precision: str = config.model.precision
    if precision == "auto" and not os.environ.get("RAY_ADDRESS"):
        from orchestrator.training.device import precision_here  # torch takes seconds to import

        precision = precision_here(config.model, config.training)
    return bool(drawn_by_seed(config, model, precision))
