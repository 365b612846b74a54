"""The trials of a study through Ray Tune."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune import schedulers
from ray.tune.search import Searcher

from orchestrator.config import Study, TrialConfig
from orchestrator.config.sweep import Scheduler
from orchestrator.screen import Screen
from orchestrator.training.record import ended, read_journal, stopped_after
from orchestrator.training.spec import TrialSpec
from orchestrator.tune.trainable import Placement, reserved_cpus, tune_trial
from orchestrator.tune.watch import Watch

MOST_STEPS = 2**31  # of a trial
INTERRUPTED = "it was interrupted: run the same command again to finish it"


class Trials(Protocol):
    """The trials that `run_trials` runs.

    Attributes:
        specs: of those that are known.
        missing: how many more there may be.
    """

    @property
    def specs(self) -> list[TrialSpec]: ...
    @property
    def missing(self) -> int: ...
    def unfinished(self) -> Iterator[TrialSpec]:
        """Jobs to run, asked for one at a time when there is room for it."""

    def tell(self, spec: TrialSpec, *, died: bool) -> None:
        """A trial came to an end, or its process did."""


@dataclass(frozen=True)
class AllAtOnce:
    """Trials that are all known before the first one starts."""

    specs: list[TrialSpec]
    missing: int = 0

    def unfinished(self) -> Iterator[TrialSpec]:
        return (spec for spec in self.specs if not ended(spec.folder, spec.key))

    def tell(self, spec: TrialSpec, *, died: bool) -> None:
        """Nothing depends on it."""


class Feed(Searcher):
    """Hands the specs of trials to Ray Tune."""

    def __init__(self, trials: Trials) -> None:
        super().__init__()
        self._trials = trials
        self._waiting = trials.unfinished()
        self._running: dict[str, TrialSpec] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune pickles it for a restoration that is never asked for."""
        return {}

    def suggest(self, trial_id: str) -> Any:  # Ray's own annotation leaves FINISHED out
        spec = next(self._waiting, None)
        if spec is None:
            return Searcher.FINISHED
        self._running[trial_id] = spec
        return {"spec": spec}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._trials.tell(self._running[trial_id], died=error)


def run_trials(study: Study, trials: Trials, screen: Screen, storage: Path) -> dict[str, str]:
    """Run the unfinished trials of a study through Ray Tune.

    The results in the trials' folders are the truth: a trial that finished, or that the scheduler
    stopped, is not given to Ray Tune again; any other continues from its newest checkpoint, or
    starts anew. A scheduler is told of the trials that ended before.

    Args:
        storage: folder for Ray's own files.

    Returns:
        The error of each trial that failed.
    """
    left = trials.missing
    for spec in trials.specs:
        if not ended(spec.folder, spec.key):
            left += 1
            continue
        step = stopped_after(spec.folder, spec.key)
        note = "finished before" if step is None else f"stopped before, after step {step}"
        screen.line(spec.trial).done(note, mark="reused")
    if not left:
        return {}
    watch = Watch(left, study.sweep.scheduler.model_dump(), screen)
    with watch:
        _tuner(study, trials, left, watch, storage).fit()
    # Ctrl-C ends Ray Tune as if all were well: the results alone tell what finished.
    errors = {
        spec.trial: watch.errors.get(spec.trial, INTERRUPTED)
        for spec in trials.specs
        if not ended(spec.folder, spec.key)
    }
    return errors | ({"search": INTERRUPTED} if trials.missing else {})


def _tuner(study: Study, trials: Trials, left: int, watch: Watch, storage: Path) -> tune.Tuner:
    def placement(spec: TrialSpec) -> Placement:
        return _placement(spec.config, storage)

    def trainable(config: dict[str, Any]) -> None:
        tune_trial(config["spec"], placement(config["spec"]))

    configs = [study, *(spec.config for spec in trials.specs)]
    return tune.Tuner(
        tune.with_resources(trainable, lambda config: placement(config["spec"]).resources),
        tune_config=tune.TuneConfig(
            search_alg=Feed(trials),
            num_samples=left,
            scheduler=_scheduler(study.sweep.scheduler, trials.specs),
            max_concurrent_trials=study.sweep.max_concurrent,
            # Spares each trial but the first ten seconds of imports. Not where a process drives a
            # gang: kept for reuse, it would keep alive the gang of a trial that was stopped.
            reuse_actors=all(_placement(config, storage).alone for config in configs),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=study.sweep.failure_retries),
            callbacks=[watch],
            verbose=0,
        ),
    )


@dataclass(frozen=True)
class Past:
    """A trial that an earlier run of the study ended, as far as a scheduler looks at it."""

    trial_id: str


class Remembers(schedulers.TrialScheduler):
    """A scheduler that is told of the trials that ended before, when the first new one comes."""

    past: dict[Past, list[dict[str, Any]]]  # what each of them measured

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        told, self.past = self.past, {}
        for past, (*measured, last) in told.items():
            super().on_trial_add(tune_controller, past)  # type: ignore[arg-type]
            for event in measured:
                self.on_trial_result(tune_controller, past, event)  # type: ignore[arg-type]
            self.on_trial_complete(tune_controller, past, last)  # type: ignore[arg-type]
        super().on_trial_add(tune_controller, trial)


class Asha(Remembers, schedulers.ASHAScheduler):
    """Ray Tune's."""


class Median(Remembers, schedulers.MedianStoppingRule):
    """Ray Tune's."""


def _scheduler(chosen: Scheduler, specs: list[TrialSpec]) -> schedulers.TrialScheduler:
    """By our steps: Ray Tune's count of reports starts again with every attempt."""
    if chosen.type == "fifo":
        return schedulers.FIFOScheduler()
    settings: dict[str, Any] = {
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
    scheduler.past = {
        Past(spec.trial): [e for e in read_journal(spec.folder) if e["event"] == "measure"]
        for spec in specs
        if ended(spec.folder, spec.key)
    }
    return scheduler


def _placement(config: TrialConfig, storage: Path) -> Placement:
    training = config.training
    return Placement(
        storage,
        reserved_cpus(training.cpus_per_worker),
        alone=training.workers == 1 and not training.gpus_per_worker and not training.node_labels,
    )
