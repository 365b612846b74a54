"""How Ray Train is asked for the ranks of a trial, and what is tried again."""

import weakref

import pytest

from orchestrator.errors import SmallerBatchError, crash
from orchestrator.storage.files import ERROR_FILE
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


@pytest.mark.scenario("out-of-memory")
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


@pytest.mark.scenario("repeated-crash")
def test_what_crashes_twice_in_the_same_way_is_not_tried_again(tmp_path, monkeypatch):
    spec, place = make_spec(tmp_path), Placement(tmp_path, cpus=1.0, alone=True)
    words = iter(["first", "other", "other"])

    def attempt(spec):
        raise KeyError(next(words))

    monkeypatch.setattr(trainable, "_train_here", attempt)
    for _ in range(2):
        with pytest.raises(KeyError):  # Ray Tune tries it once more
            tune_trial(spec, place)
    tune_trial(spec, place)
    assert (tmp_path / ERROR_FILE).read_text().startswith("KeyError: 'other' (test_trainable.py, ")


WRAPPED = """Training failed due to worker errors:
[Rank 1]
Traceback (most recent call last):
  File "/site-packages/ray/train/worker.py", line 12, in run
    fn()
  File "/home/me/methods/mine.py", line 7, in arrange
    raise ValidationError
pydantic_core.ValidationError: 1 validation error for Options
folds
  Input should be a number
    For further information visit https://errors.example
"""


@pytest.mark.scenario("repeated-crash")
def test_a_crash_is_told_by_its_first_line_and_its_place():
    assert crash(RuntimeError(WRAPPED)) == (
        "pydantic_core.ValidationError: 1 validation error for Options (mine.py, line 7)"
    )
    with pytest.raises(ValueError, match="behind it") as raised:
        raise ValueError("the first line\nand pages behind it")
    place = f"test_trainable.py, line {raised.traceback[-1].lineno + 1}"
    assert crash(raised.value) == f"ValueError: the first line ({place})"
    assert crash(MemoryError()) == "MemoryError"
