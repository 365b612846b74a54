"""How Ray Train is asked for the ranks of a trial, and what is tried again."""

import weakref

from orchestrator.errors import SmallerBatchError
from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from orchestrator.tune import trainable
from orchestrator.tune.trainable import Placement, gang_trainer, tune_trial
from tests.trials.studies import demo


def make_spec(folder):
    (trial,) = expand(demo({}))
    return TrialSpec(
        trial.name, trial.key, trial.config, folder, "", folder, folder, "", folder, folder
    )


def test_ranks_under_ray_wait_for_one_another_as_long_as_under_any_launcher(tmp_path):
    """Ray's own half an hour is less than the hashes of a large checkpoint take."""
    place = Placement(tmp_path, cpus=1.0, alone=False)
    trainer = gang_trainer(make_spec(tmp_path), place, "train", list)
    assert trainer.backend_config.timeout_s == WAIT_SECONDS


class Engine:
    """What fills a GPU."""


def test_an_attempt_after_one_without_memory_begins_when_its_engine_is_gone(tmp_path, monkeypatch):
    engines = []

    def attempt(spec):
        assert all(engine() is None for engine in engines)
        engine = Engine()
        engines.append(weakref.ref(engine))
        if len(engines) < 3:
            raise SmallerBatchError("out of memory; the next attempt takes half")

    monkeypatch.setattr(trainable, "_train_here", attempt)
    tune_trial(make_spec(tmp_path), Placement(tmp_path, cpus=1.0, alone=True))
    assert len(engines) == 3
