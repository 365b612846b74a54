"""Stage 5: Ray Train runs the loop of one trial; its journal tells Ray Tune what was measured.

Ray Tune's own callback for this can hang a finished trial: it reports from a second thread into
a queue that the returning trial may have filled. Here the trial's thread is the only reporter,
and what it reports stands in a file: no actor carries it, and no rank waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray.train
from ray import tune
from ray._raylet import PlacementGroupID
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.placement_group import (
    PlacementGroup,
    placement_group_table,
    remove_placement_group,
)

from orchestrator.config import TrialConfig
from orchestrator.errors import DiskError, SmallerBatchError, UserError, crash
from orchestrator.host.garbage import collect_seldom, give_back
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.disk import writing
from orchestrator.storage.files import ERROR_FILE
from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.heartbeat import forget_heartbeats
from orchestrator.training.journal import JournalTail
from orchestrator.training.spec import TrialSpec

POLL_SECONDS = 0.2
SHOWN_CHARS = 400  # of what ended a trial
# The process that drives a gang waits: beside the study's driver, not on a node that computes.
HEAD = {"node:__internal_head__": 0.001}


@dataclass(frozen=True)
class Placement:
    """The place of a trial's ranks: who runs them, and what is reserved for them.

    Attributes:
        storage: folder for Ray's own files of the trial.
        cpus: cores that Ray reserves for a rank.
        alone: whether the only rank is the trial's own process.
        undivided: whether Ray runs nothing else meanwhile.
    """

    storage: Path
    cpus: float
    alone: bool
    undivided: bool = False

    @property
    def resources(self) -> tune.PlacementGroupFactory:
        """What Ray Tune reserves for the trial's process; a gang reserves its own."""
        return tune.PlacementGroupFactory([{"CPU": self.cpus} if self.alone else HEAD])


def placement_of(config: TrialConfig, storage: Path) -> Placement:
    """The place that a trial's configuration asks for."""
    training = config.training
    return Placement(
        storage,
        training.reserved_cpus,
        alone=training.workers == 1 and not training.gpus_per_worker and not training.node_labels,
    )


def tune_trial(spec: TrialSpec, placement: Placement) -> None:
    """The function trainable of one trial; runs in Tune's actor.

    Ray Tune calls it again after a failure, as often as `sweep.failure_retries` allows; the loop
    then continues from the trial's newest checkpoint, as it does when a study is run again. What
    crashes twice in the same way would crash again, and is no longer tried.

    Raises:
        DiskError: a disk is full or fails.
    """
    collect_seldom()
    if placement.undivided and not placement.alone:
        remove_leftovers()
    before = _take_error(spec.folder)
    while True:
        forget_heartbeats(spec.folder)
        try:
            with writing(spec.folder):
                return _train_here(spec) if placement.alone else _train_gang(spec, placement)
        except DiskError as error:
            with suppress(OSError, DiskError):  # there may be room for a line again
                write_text(spec.folder / ERROR_FILE, str(error))
            raise  # through Ray Tune, for `Watch` to end the study with: every trial would meet it
        except Exception as error:
            # Where memory ran out: on with smaller micro-batches, from a checkpoint.
            if not takes_less(error):
                refusal = refusal_of(error)
                text = _told(spec.folder) or (refusal or crash(error))[:SHOWN_CHARS]
                again = text == before and not text.startswith("ray.")  # a node may come back
                write_text(spec.folder / ERROR_FILE, text)
                if refusal is None and not again:
                    raise
                # It would be so again: Ray Tune is told of no failure, and retries nothing.
                return
        give_back()  # the error is gone, and with it goes the engine that its frames held


def remove_leftovers() -> None:
    """Give back what is reserved for the ranks of a gang that is no more.

    Ray does so when the process that reserved it ends. Where a trial's process is killed while its
    gang starts, what drives the gang may reserve a moment after that, and the next attempt would
    wait for its place for ever.
    """
    (head,) = HEAD
    for number, group in placement_group_table().items():
        driving = any(head in bundle for bundle in group["bundles"].values())
        if not driving and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(number))))


def _take_error(folder: Path) -> str | None:
    """What ended the attempt before, which is forgotten; None where there was none."""
    said = _told(folder)
    (folder / ERROR_FILE).unlink(missing_ok=True)
    return said


def _told(folder: Path) -> str | None:
    """What is told of the end of an attempt; of ranks that were ended while it ran, by `hangs`."""
    path = folder / ERROR_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def takes_less(error: Exception) -> bool:
    """Whether the next attempt takes smaller micro-batches; of a gang Ray has wrapped the error."""
    return isinstance(error, SmallerBatchError) or any(
        line.startswith("orchestrator.errors.SmallerBatchError") for line in str(error).splitlines()
    )


def refusal_of(error: Exception) -> str | None:
    """The sentence with which the loop ended a trial, out of Ray's wrapping; None for a crash."""
    if isinstance(error, UserError):
        return str(error)
    named = [line for line in str(error).splitlines() if line.startswith("orchestrator.errors.")]
    return named[-1].split(": ", 1)[-1] if named else None


def _train_here(spec: TrialSpec) -> None:
    """One rank, in the trial's own process: Ray Train's local mode.

    A gang of one would start five more processes, and each imports for seconds.
    """

    def run_rank() -> None:
        from orchestrator.training.device import left_afterwards
        from orchestrator.training.loop import run_trial

        try:
            with left_afterwards():  # the next trial runs in this process too
                run_trial(spec, report=tune.report)
        finally:
            give_back()

    TorchTrainer(run_rank, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()


def _train_gang(spec: TrialSpec, placement: Placement) -> None:
    """Ray Train's workers, one a rank; what they measured is reported from the journal."""
    failure: list[BaseException] = []

    # Pickled by value, so that a rank imports the loop and nothing of Ray Tune.
    def run_rank() -> None:
        from orchestrator.host.garbage import collect_seldom

        collect_seldom()
        from orchestrator.training.loop import run_trial

        run_trial(spec)

    def fit() -> None:
        try:
            gang_trainer(spec, placement, f"train-{spec.trial}", run_rank).fit()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    journal, reported = JournalTail(spec.folder), -1
    running = True
    while running:
        thread.join(POLL_SECONDS)
        running = thread.is_alive()  # asked before the last look, which then misses nothing
        for event in journal.new_events():
            # A trial that continues writes its newest events again.
            if event["event"] == "measure" and event["step"] > reported:
                reported = event["step"]
                tune.report({key: event[key] for key in event if key not in ("event", "time")})
    if failure:
        raise failure[0]


def gang_trainer(
    spec: TrialSpec, placement: Placement, name: str, run_rank: Callable[[], None]
) -> TorchTrainer:
    """Ray Train's workers for a trial's settings, each of which calls `run_rank`.

    Args:
        name: of Ray's own folder.
    """
    training = spec.config.training
    return TorchTrainer(
        run_rank,
        torch_config=TorchConfig(timeout_s=WAIT_SECONDS),
        scaling_config=ray.train.ScalingConfig(
            num_workers=training.workers,
            use_gpu=training.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": placement.cpus,
                **({"GPU": training.gpus_per_worker} if training.gpus_per_worker else {}),
            },
            # The class that mypy sees is that of Ray Train's first version.
            label_selector=training.node_labels or None,  # type: ignore[call-arg]
        ),
        run_config=ray.train.RunConfig(name=name, storage_path=str(placement.storage)),
    )
