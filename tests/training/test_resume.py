"""A killed trial continues as if it had not been killed: equal to the last bit on a CPU.

The trial makes five steps of two micro-batches, measures after steps 0, 2, 4 and 5, and saves
after steps 2 and 4.
"""

import io
import os
import shutil
import stat
from dataclasses import replace
from functools import partial
from pkgutil import resolve_name
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from torch.multiprocessing.spawn import ProcessExitedException

from orchestrator.errors import TrainingError
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import file_digest
from orchestrator.storage.files import CHECKPOINTS_FOLDER
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import (
    find_checkpoint,
    keep_checkpoints_of,
)
from orchestrator.training.journal import read_journal
from orchestrator.training.outcome import read_outcome
from orchestrator.tune.watch import TrialLine
from tests.training.launch import die, launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:20]
# Dropout draws random numbers in each pass: a random state that is not restored is seen.
LORA = {"type": "lora", "r": 4, "dropout": 0.2}


def make(make_spec, name, adapter="none", keep=2, precision="float32", **training):
    return make_spec(
        ROWS,
        name,
        model={"precision": precision, "adapter": adapter},
        training={
            "global_batch": 4,
            "learning_rate": 1e-3,
            "micro_batch_tokens": 500,
            "checkpoint": {"every": 2, "keep": keep},
            "save_model": True,
        }
        | training,
    )


def killing(name, call, where, rank):
    """Replace a function by one that kills the process at its n-th call, before or after it."""
    if rank:
        return
    real, calls = resolve_name(f"orchestrator.training.{name}"), []

    def function(*args, **kwargs):
        calls.append(name)
        if len(calls) == call and where == "before":
            die()
        result = real(*args, **kwargs)
        if len(calls) == call and where == "after":
            die()
        return result

    mock.patch(f"orchestrator.training.{name}", function).start()


# What is killed, and the step after which the next attempt continues.
KILL_POINTS = {
    "before step 1": (partial(killing, "step.Feeder.feed", 1, "before"), 0),
    "in the middle of accumulation": (partial(killing, "step.Feeder._backward", 6, "before"), 2),
    "between backward and update": (partial(killing, "loop.update", 3, "before"), 2),
    "right after an update": (partial(killing, "loop.update", 4, "after"), 2),
    "during a measurement": (partial(killing, "evaluation.losses.loss_table", 4, "before"), 0),
    "while a checkpoint is half written": (
        partial(killing, "checkpoint.write_history", 2, "before"),
        2,
    ),
    "before a checkpoint is committed": (partial(killing, "checkpoint.commit", 2, "before"), 2),
    "before the old checkpoint is removed": (partial(killing, "checkpoint.commit", 2, "after"), 4),
    "before the result is written": (partial(killing, "loop.mark_finished", 1, "before"), 4),
}


def assert_same(spec, whole):
    """Every figure and file of a trial equals the uninterrupted one's."""
    for name in ("losses.parquet", "train_log.parquet", "realised.parquet"):
        tables = [pq.read_table(each.folder / name) for each in (spec, whole)]
        if "seconds" in tables[0].column_names:
            tables = [table.drop_columns("seconds") for table in tables]
        assert tables[0].equals(tables[1]), name
    results = [read_outcome(each.folder, each.key).result for each in (spec, whole)]
    assert results[0]["order_sha256"] == results[1]["order_sha256"]
    weights = [next((each.folder / "model").glob("*.safetensors")) for each in (spec, whole)]
    assert file_digest(weights[0]) == file_digest(weights[1])
    for kind in ("step", "measure"):
        told = [[event["step"] for event in read_journal(each.folder) if event["event"] == kind]
                for each in (spec, whole)]  # fmt: skip
        assert told[0] == told[1], kind
    assert not (spec.folder / CHECKPOINTS_FOLDER).exists()


def resumed_at(spec):
    return [e["step"] for e in read_journal(spec.folder) if e["event"] in ("start", "resume")][-1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def wholes():
    return {}


@pytest.fixture
def uninterrupted(make_spec, folders, wholes):
    """The same trial, never killed; made once for each setting."""

    def run(ranks=1, **settings):
        name = f"{ranks}-{settings}"
        if name not in wholes:
            spec = make(make_spec, "whole", **settings)
            launch(spec, ranks=ranks)
            kept = folders / str(len(wholes))
            shutil.move(spec.folder, kept)
            wholes[name] = replace(spec, folder=kept)
        return wholes[name]

    return run


@pytest.mark.scenario("kill-rank")
@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_trial_killed_at_any_point_ends_like_one_that_was_not(make_spec, uninterrupted, point):
    prepare, continues_after = KILL_POINTS[point]
    spec = make(make_spec, "killed", keep=1)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launch(spec, prepare=prepare)
    assert not read_outcome(spec.folder, spec.key).result
    launch(spec)
    assert resumed_at(spec) == continues_after
    assert_same(spec, uninterrupted(keep=1))


@pytest.mark.scenario("kill-rank")
@pytest.mark.parametrize(
    ("ranks", "zero_stage", "adapter", "precision"),
    [(1, 1, "none", "float32"), (1, 0, LORA, "float32"), (2, 0, "none", "float32"),
     (2, 2, "none", "float32"), (2, 3, LORA, "float32"), (1, 0, "none", "bfloat16"),
     (1, 3, LORA, "bfloat16"), (2, 2, "none", "bfloat16")],
)  # fmt: skip
def test_it_ends_alike_with_several_ranks_sharded_states_adapters_and_16_bits(
    make_spec, uninterrupted, ranks, zero_stage, adapter, precision
):
    settings = {"zero_stage": zero_stage, "adapter": adapter, "precision": precision}
    spec = make(make_spec, "killed", **settings)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launch(spec, ranks=ranks, prepare=partial(killing, "loop.update", 4, "after"))
    launch(spec, ranks=ranks)
    assert resumed_at(spec) == 2
    assert_same(spec, uninterrupted(ranks, **settings))


@pytest.mark.scenario("kill-rank")
@pytest.mark.parametrize(("ranks", "killed_in"), [(1, 4), (2, 5), (1, 6)])
def test_a_trial_killed_in_its_second_pass_ends_like_one_that_was_not(
    make_spec, uninterrupted, ranks, killed_in
):
    """Six steps in two passes of ten rows, 4, 4, 2 and again; checkpoints after 2 and 4."""
    settings = {"epochs": 2}
    spec = make(make_spec, "killed", **settings)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launch(spec, ranks=ranks, prepare=partial(killing, "loop.update", killed_in, "after"))
    launch(spec, ranks=ranks)
    assert resumed_at(spec) == 2 * ((killed_in - 1) // 2)
    assert_same(spec, uninterrupted(ranks, **settings))
    fed = pq.read_table(spec.folder / "realised.parquet")["step"].value_counts().to_pylist()
    assert [each["counts"] for each in sorted(fed, key=lambda each: each["values"])] == [
        4, 4, 2, 4, 4, 2
    ]  # fmt: skip


@pytest.mark.scenario("kill-rank")
@pytest.mark.parametrize(("ranks", "zero_stage"), [(1, 0), (2, 3)])
def test_models_of_steps_before_the_checkpoint_are_not_saved_again_and_change_nothing(
    make_spec, uninterrupted, ranks, zero_stage
):
    settings = {"zero_stage": zero_stage, "save_model": {"at": [1, 2, 3, 9]}}
    whole = uninterrupted(ranks, **settings)
    spec = make(make_spec, "killed", **settings)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launch(spec, ranks=ranks, prepare=partial(killing, "loop.update", 4, "after"))
    saved = {step: spec.folder / "models" / f"step-{step}" for step in (1, 2, 3)}
    written = {step: (path / "manifest.json").stat().st_mtime_ns for step, path in saved.items()}
    launch(spec, ranks=ranks)
    again = {step: (path / "manifest.json").stat().st_mtime_ns for step, path in saved.items()}
    assert [step for step in saved if again[step] != written[step]] == [3]
    assert_same(spec, whole)
    assert_same(spec, uninterrupted(ranks, zero_stage=zero_stage))
    for step in saved:
        files = [each.folder / "models" / f"step-{step}" / "model.safetensors"
                 for each in (spec, whole)]  # fmt: skip
        assert file_digest(files[0]) == file_digest(files[1])
    assert len(list((spec.folder / "models").iterdir())) == 3
    told = [event["step"] for event in read_journal(spec.folder) if event["event"] == "model"]
    assert told == [1, 2, 3]


@pytest.fixture(scope="module")
def stopped_folder(folders):
    return folders / "stopped"


@pytest.fixture
def stopped(make_spec, stopped_folder, tmp_path):
    """A copy of a trial that was killed in step 5, with checkpoints of steps 2 and 4."""
    spec = make(make_spec, "stopped")
    if not stopped_folder.exists():
        with pytest.raises(ProcessExitedException, match="SIGKILL"):
            launch(spec, prepare=partial(killing, "loop.update", 5, "before"))
        shutil.copytree(spec.folder, stopped_folder)
    shutil.rmtree(spec.folder)
    shutil.copytree(stopped_folder, spec.folder)
    return spec


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.scenario("damaged-checkpoint", "weights")
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("engine/mp_rank_00_model_states.pt", flip_a_byte),
        ("random-0.pt", os.unlink),
        ("fed-0.npy", cut),
        ("manifest.json", cut),
    ],
)
def test_a_damaged_checkpoint_is_found_before_it_is_read(stopped, file, damage):
    damage(stopped.folder / CHECKPOINTS_FOLDER / "step-4" / file)
    step, removed = find_checkpoint(stopped.folder, stopped.key, 1, "float32")
    assert step == 2
    assert list(removed) == [4]
    assert "damaged" in removed[4]
    assert [path.name for path in (stopped.folder / CHECKPOINTS_FOLDER).iterdir()] == ["step-2"]


@pytest.mark.scenario("damaged-checkpoint")
def test_a_trial_with_a_damaged_checkpoint_uses_the_one_before_and_says_so(stopped, uninterrupted):
    flip_a_byte(
        stopped.folder / CHECKPOINTS_FOLDER / "step-4" / "engine" / "mp_rank_00_model_states.pt"
    )
    launch(stopped)
    assert resumed_at(stopped) == 2
    told = [event for event in read_journal(stopped.folder) if event["event"] == "damaged"]
    assert [event["checkpoint"] for event in told] == [4]
    assert "a file differs from its SHA-256" in told[0]["fault"]
    written = io.StringIO()
    TrialLine(stopped, Screen(Console(file=written))).end("")
    assert "the checkpoint of step 4 is not used" in written.getvalue()
    assert_same(stopped, uninterrupted())


@pytest.mark.scenario("weights")
def test_a_checkpoint_is_this_users_alone_and_one_that_is_not_is_neither_used_nor_removed(stopped):
    kept = sorted((stopped.folder / "checkpoints").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o700}
    kept[-1].chmod(0o707)
    with pytest.raises(TrainingError, match=r"can be written by anybody.* run chmod -R o-w "):
        find_checkpoint(stopped.folder, stopped.key, 1, "float32")
    kept[-1].chmod(0o755)  # as older versions left them
    assert find_checkpoint(stopped.folder, stopped.key, 1, "float32") == (4, {})
    if os.geteuid() == 0:
        os.chown(kept[-1], 12345, -1)
        with pytest.raises(TrainingError, match=r"belongs to another user \(number 12345\)"):
            find_checkpoint(stopped.folder, stopped.key, 1, "float32")
    assert sorted((stopped.folder / "checkpoints").iterdir()) == kept


def test_a_checkpoint_of_other_workers_or_of_another_spec_is_not_used(stopped):
    assert find_checkpoint(stopped.folder, stopped.key, 1, "float32") == (4, {})
    step, removed = find_checkpoint(stopped.folder, "another key", 1, "float32")
    assert step is None
    assert set(removed.values()) == {"it is of another configuration"}


@pytest.mark.scenario("other-ranks")
def test_a_checkpoint_of_two_workers_is_not_used_by_one(stopped):
    step, removed = find_checkpoint(stopped.folder, stopped.key, 2, "float32")
    assert step is None
    assert set(removed.values()) == {"it was saved by 1 workers, there are 2 now"}


def test_a_study_keeps_the_checkpoints_of_the_same_spec_and_removes_another_ones(stopped):
    assert keep_checkpoints_of(stopped.folder, stopped.key)
    assert len(list((stopped.folder / CHECKPOINTS_FOLDER).iterdir())) == 2
    assert not keep_checkpoints_of(stopped.folder, "another key")
    assert not list((stopped.folder / CHECKPOINTS_FOLDER).iterdir())


@pytest.mark.scenario("weights")
def test_a_shard_that_holds_more_than_tensors_is_refused(tmp_path):
    """The loader that DeepSpeed uses would run what a pickle says."""
    torch.save({"run": die}, tmp_path / "shard.pt")
    with checkpoint._weights_only(), pytest.raises(Exception, match="Unsupported global"):
        torch.load(tmp_path / "shard.pt", weights_only=False)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_checkpoint_in_another_precision_is_not_used(stopped):
    step, removed = find_checkpoint(stopped.folder, stopped.key, 1, "bfloat16")
    assert step is None
    assert set(removed.values()) == {"it was saved in float32, this machine computes in bfloat16"}
