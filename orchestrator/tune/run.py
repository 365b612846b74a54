"""The trials of a study through Ray Tune."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.search import Searcher

from orchestrator.config import Study
from orchestrator.host.stop_signal import signals_kept
from orchestrator.screen import Screen
from orchestrator.training.outcome import ended, read_outcome
from orchestrator.training.spec import TrialSpec
from orchestrator.tune.schedulers import make_scheduler
from orchestrator.tune.trainable import Placement, placement_of, tune_trial
from orchestrator.tune.watch import Watch

# Ray Tune hands keys of the driver's to trials, by a runtime environment that Ray logs for all to
# read. Trials need none: what is in buckets was fetched before.
ENV_VARS_TO_PROPAGATE -= {name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}

INTERRUPTED = "the study was interrupted: run the same command again to finish it"


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
        """Specs to run, asked for one at a time when there is room for it."""

    def tell(self, spec: TrialSpec, *, died: bool) -> None:
        """Take note that a trial came to an end, or that its process did."""


@dataclass(frozen=True)
class KnownTrials:
    """Trials that are all known before the first one starts."""

    specs: list[TrialSpec]
    missing: int = 0

    def unfinished(self) -> Iterator[TrialSpec]:
        """Specs to run, in the order of the study file."""
        return (spec for spec in self.specs if not ended(spec.folder, spec.key))

    def tell(self, spec: TrialSpec, *, died: bool) -> None:
        """Do nothing: no trial depends on how another one ended."""


class SpecSearcher(Searcher):
    """Hands the specs of trials to Ray Tune, which takes them for suggestions of a search."""

    def __init__(self, trials: Trials) -> None:
        super().__init__()
        self._trials = trials
        self._waiting = trials.unfinished()
        self._running: dict[str, TrialSpec] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune pickles it for a restoration that is never asked for."""
        return {}

    def suggest(self, trial_id: str) -> Any:  # Ray's own annotation leaves FINISHED out
        """The next spec as the trial's configuration; FINISHED where there is none."""
        spec = next(self._waiting, None)
        if spec is None:
            return Searcher.FINISHED
        self._running[trial_id] = spec
        return {"spec": spec}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the trials that one of them ended."""
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

    Raises:
        DiskError: a trial met a full disk; those that ran beside it are left as they are.
    """
    before = {spec.key: read_outcome(spec.folder, spec.key) for spec in trials.specs}
    earlier = [spec for spec in trials.specs if before[spec.key].ended]
    for spec in earlier:
        step = before[spec.key].last_step
        note = "finished before" if step is None else f"stopped before, after step {step}"
        screen.line(spec.trial).done(note, mark="reused")
    known = {spec.key for spec in earlier}
    left = trials.missing + len(trials.specs) - len(earlier)
    if not left:
        return {}
    sweep = study.sweep
    watch = Watch(left, sweep.max_concurrent, sweep.scheduler.model_dump(), screen)
    # Ray Tune's handlers would stay, and swallow the first Ctrl-C or SIGTERM after the trials.
    with watch, signals_kept(signal.SIGINT, signal.SIGUSR1):
        _tuner(study, trials, earlier, left, watch, storage).fit()
        watch.check()  # the last trial may have met it
    # Ctrl-C ends Ray Tune as if all were well: the results alone tell what finished.
    errors = {
        spec.trial: watch.errors.get(spec.trial, INTERRUPTED)
        for spec in trials.specs
        if spec.key not in known and not ended(spec.folder, spec.key)
    }
    return errors | ({"search": INTERRUPTED} if trials.missing else {})


def _tuner(
    study: Study, trials: Trials, earlier: list[TrialSpec], left: int, watch: Watch, storage: Path
) -> tune.Tuner:
    # A Ray of this machine alone that was not joined is the study's own.
    local = ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    own = local and not os.environ.get("RAY_ADDRESS")
    undivided = own and study.sweep.max_concurrent == 1

    def placement(spec: TrialSpec) -> Placement:
        return replace(placement_of(spec.config, storage), undivided=undivided)

    def trainable(config: dict[str, Any]) -> None:
        tune_trial(config["spec"], placement(config["spec"]))

    configs = [study, *(spec.config for spec in trials.specs)]
    return tune.Tuner(
        tune.with_resources(trainable, lambda config: placement(config["spec"]).resources),
        tune_config=tune.TuneConfig(
            search_alg=SpecSearcher(trials),
            num_samples=left,
            scheduler=make_scheduler(study.sweep.scheduler, earlier),
            max_concurrent_trials=study.sweep.max_concurrent,
            # Spares each trial but the first ten seconds of imports. Not where a process drives a
            # gang: kept for reuse, it would keep alive the gang of a trial that was stopped.
            reuse_actors=all(placement_of(config, storage).alone for config in configs),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=study.sweep.failure_retries),
            callbacks=[watch],
            verbose=0,
            # In a notebook Ray would take its own, which clears what the screen has shown.
            progress_reporter=tune.CLIReporter(),
        ),
    )
