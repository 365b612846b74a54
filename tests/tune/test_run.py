"""What Ray Tune is told of trials that an earlier run ended, and the signals that it takes."""

import os
import signal
from unittest.mock import patch

import pytest
from ray.tune.schedulers import TrialScheduler

from orchestrator.config.sweep import Scheduler
from orchestrator.host.stop_signal import signals_kept
from orchestrator.screen import Screen
from orchestrator.storage.files import STOPPED_FILE
from orchestrator.study.cluster import cluster
from orchestrator.training.journal import Journal
from orchestrator.training.outcome import ended, forget_stops, mark_stopped
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from orchestrator.tune.run import KnownTrials, run_trials
from orchestrator.tune.schedulers import EndedTrial, make_scheduler
from tests.trials.studies import demo, grid

STEPS = (0, 4, 8)


@pytest.fixture
def specs(tmp_path):
    """Trials of an earlier run that a scheduler ended, with losses 1, 2, 3 and 4 throughout."""
    found = []
    for trial in expand(demo(grid(seed=[1, 2, 3, 4]))):
        folder = tmp_path / trial.name
        folder.mkdir()
        spec = TrialSpec(
            trial.name, trial.key, trial.config, tmp_path, "", tmp_path, tmp_path, "", folder,
            tmp_path,
        )  # fmt: skip
        journal = Journal(folder, None)
        for step in STEPS:
            journal.write("measure", step, query_loss=float(trial.config.seed))
        mark_stopped(folder, trial.key, {"type": "asha"})
        found.append(spec)
    return found


@pytest.mark.parametrize(
    "chosen", [{"type": "asha", "reduction_factor": 2}, {"type": "median"}], ids=["asha", "median"]
)
def test_a_new_trial_is_judged_by_those_of_an_earlier_run(specs, chosen):
    for loss, before, decision in (
        (9.0, specs, TrialScheduler.STOP),
        (0.5, specs, TrialScheduler.CONTINUE),
        (9.0, [], TrialScheduler.CONTINUE),
    ):
        chosen_now = Scheduler(grace_steps=4, **chosen)
        scheduler, new = make_scheduler(chosen_now, before), EndedTrial("new")

        class Alone:
            def get_live_trials(self):
                return []

        scheduler.on_trial_add(Alone(), new)
        told = {"step": 4, "query_loss": loss, "training_iteration": 1}
        assert scheduler.on_trial_result(Alone(), new, told) == decision


def test_trials_that_another_scheduler_ended_go_on(specs, tmp_path):
    forget_stops(tmp_path, {"type": "asha"})
    assert all(ended(spec.folder, spec.key) for spec in specs)
    forget_stops(tmp_path, {"type": "fifo"})
    assert not any(ended(spec.folder, spec.key) for spec in specs)
    assert not list(tmp_path.glob(f"*/{STOPPED_FILE}"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("stop-signal")
def test_once_the_trials_are_over_a_stop_signal_does_what_it_did_before_them(tmp_path):
    none_left = KnownTrials([], missing=1)  # Ray Tune asks for one and gets none
    usual = signal.default_int_handler  # what started the tests may have it ignored
    with signals_kept(signal.SIGINT), patch.dict(os.environ), cluster(1):
        signal.signal(signal.SIGINT, usual)
        before = signal.getsignal(signal.SIGUSR1)
        with Screen() as screen:
            assert "search" in run_trials(demo(), none_left, screen, tmp_path)
        for number in (signal.SIGTERM, signal.SIGINT):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(signal.SIGINT) is usual
        assert signal.getsignal(signal.SIGUSR1) == before
