"""What ends a study while its trials run, by what Ray Tune noted of them."""

import io
import traceback
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from rich.console import Console

from orchestrator.errors import DiskError
from orchestrator.screen import Screen
from orchestrator.storage.disk import writing
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from orchestrator.tune.watch import Watch
from tests.trials.studies import demo, grid


def wrapped(error):
    """An error as Ray hands it to the process that waits."""
    try:
        raise error
    except type(error):
        return RayTaskError("train", traceback.format_exc(), error)


@pytest.fixture
def met(tmp_path):
    """Tells a watch that a trial met an error, which is to be tried again or not."""
    trial = expand(demo(grid(seed=[1])))[0]
    folder = tmp_path / trial.name
    folder.mkdir()
    pq.write_table(pa.table({"row": range(8)}), folder / "plan.parquet")
    spec = TrialSpec(
        trial.name, trial.key, trial.config, tmp_path, "", tmp_path, tmp_path, "", folder, tmp_path
    )
    watch = Watch(2, 1, {"type": "fifo"}, Screen(Console(file=io.StringIO())))

    def tell(error, *, again):
        noted = tmp_path / "error.txt"
        noted.write_text(f"Failure # 1\n{error}\n")
        trial = SimpleNamespace(config={"spec": spec}, error_file=str(noted))
        (watch.on_trial_recover if again else watch.on_trial_error)(1, [], trial)
        return watch

    return tell


@pytest.mark.scenario("full-disk")
@pytest.mark.parametrize("again", [True, False])
def test_a_trial_that_met_a_full_disk_is_not_tried_again_and_no_other_one_is_begun(met, again):
    full = DiskError("/out/a.json cannot be written: no space is left on its disk. Make room there")
    watch = met(wrapped(full), again=again)
    assert list(watch.errors.values()) == [str(full)]
    with pytest.raises(DiskError, match=r"^/out/a\.json cannot be written: .* Make room there$"):
        watch.on_step_begin(2, [])


def test_another_crash_ends_no_study(met):
    watch = met(wrapped(ValueError("a mistake")), again=True)
    watch.on_step_begin(2, [])
    assert not watch.errors


def test_a_trial_whose_process_died_for_the_last_time_is_told_what_to_set(met):
    watch = met(f"ray.exceptions.ActorDiedError: {ActorDiedError()}", again=False)
    (said,) = watch.errors.values()
    assert said.startswith("its process died, most likely killed because memory ran out: ")
    assert "set training.micro_batch_tokens below 4,096" in said


def test_a_trial_that_ends_without_a_word_of_its_own_is_told_by_its_crash(met):
    watch = met(wrapped(ValueError("no place for it")), again=False)
    (said,) = watch.errors.values()
    assert said.startswith("ValueError: no place for it (test_watch.py, ")


@pytest.mark.scenario("full-disk")
def test_what_a_rank_met_on_another_node_is_told_in_its_own_words(tmp_path):
    full = DiskError(f"{tmp_path}/checkpoints/step-4 cannot be written: no space is left")
    with pytest.raises(DiskError) as told, writing(tmp_path / "trial"):
        raise RuntimeError(f"[Rank 1]:\n{wrapped(full)}\n")
    assert str(told.value) == str(full)
