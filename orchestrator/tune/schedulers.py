"""Ray Tune's schedulers, told of the trials that earlier runs of the study ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray.tune import schedulers

from orchestrator.config.sweep import Scheduler
from orchestrator.training.journal import measured_losses
from orchestrator.training.spec import TrialSpec

MOST_STEPS = 2**31  # of a trial


@dataclass(frozen=True)
class EndedTrial:
    """A trial that an earlier run of the study ended, as far as a scheduler looks at it."""

    trial_id: str


class SchedulerWithMemory(schedulers.TrialScheduler):
    """A scheduler that is told of the trials that ended before, when the first new one comes.

    Attributes:
        earlier: what each of those trials measured, as events of its journal.
    """

    earlier: dict[EndedTrial, list[dict[str, Any]]]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a new trial, and before the first one repeat the lives of the earlier ones."""
        earlier, self.earlier = self.earlier, {}
        for ended, (*measured, last) in earlier.items():
            super().on_trial_add(tune_controller, ended)  # type: ignore[arg-type]
            for event in measured:
                self.on_trial_result(tune_controller, ended, event)  # type: ignore[arg-type]
            self.on_trial_complete(tune_controller, ended, last)  # type: ignore[arg-type]
        super().on_trial_add(tune_controller, trial)


class Asha(SchedulerWithMemory, schedulers.ASHAScheduler):
    """Asynchronous successive halving that also counts the trials of earlier runs."""


class Median(SchedulerWithMemory, schedulers.MedianStoppingRule):
    """The median stopping rule over the trials of this run and of earlier ones."""


def make_scheduler(chosen: Scheduler, ended: Iterable[TrialSpec]) -> schedulers.TrialScheduler:
    """The scheduler that a study asks for.

    Args:
        chosen: section `sweep.scheduler`.
        ended: the trials that earlier runs of the study ended.
    """
    if chosen.type == "fifo":
        return schedulers.FIFOScheduler()
    settings: dict[str, Any] = {
        # Our steps: Ray Tune's count of reports starts again with every attempt.
        "time_attr": "step",
        "metric": chosen.metric,
        "mode": "min",
        "grace_period": chosen.grace_steps,
    }
    scheduler: Asha | Median
    if chosen.type == "median":
        scheduler = Median(**settings)
    else:
        # A trial that reached max_t would be stopped before it proves its order.
        scheduler = Asha(max_t=MOST_STEPS, reduction_factor=chosen.reduction_factor, **settings)
    scheduler.earlier = {EndedTrial(spec.trial): measured_losses(spec.folder) for spec in ended}
    return scheduler
