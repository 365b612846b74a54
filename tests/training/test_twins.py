"""Trials that cannot differ, and what their seed decides where they can."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config import dump_yaml
from orchestrator.training.drawn import drawn_by_seed, varied_by
from orchestrator.training.journal import Journal
from orchestrator.training.outcome import mark_stopped, read_outcome
from orchestrator.training.twins import find_twins, take_result
from orchestrator.verify import verify_trial
from tests.training.launch import launch

ROWS = np.random.default_rng(4).permutation(40)[:12]
FLOAT32 = {"precision": "float32"}
# What two seeds are to be told apart by -> the section `model`.
KINDS = {
    "nothing": FLOAT32,
    "model.precision": {"precision": "bfloat16"},
    "model.adapter": FLOAT32 | {"adapter": {"type": "lora"}},
    "model.name: its attention_dropout 0.1": FLOAT32,
}


def losses(spec):
    return pq.read_table(spec.folder / "losses.parquet")["loss"].to_pylist()


@pytest.fixture(scope="module")
def make(make_module_spec, shared):
    """Makes a spec whose plan has ids."""
    columns = pq.read_table(shared.dataset / "instances.parquet", columns=["row", "id"])
    ids = dict(zip(columns["row"].to_pylist(), columns["id"].to_pylist(), strict=True))

    def run(name, rows=ROWS, **sections):
        sections = {
            "model": FLOAT32,
            "training": {"global_batch": 6, "save_model": True},
        } | sections
        spec = make_module_spec(rows, name, **sections)
        plan = pa.table({"row": rows, "id": [ids[row] for row in rows.tolist()]})
        pq.write_table(plan, spec.folder / "plan.parquet")
        (spec.folder / "config.yaml").write_text(dump_yaml(spec.config))
        return spec

    return run


@pytest.fixture(scope="module")
def pairs(make, shared, tmp_path_factory):
    """Two trained seeds of each kind, and which of them were twins before."""
    dropping = tmp_path_factory.mktemp("model") / "dropping"
    shutil.copytree(shared.model, dropping)
    settings = json.loads((dropping / "config.json").read_text()) | {"attention_dropout": 0.1}
    (dropping / "config.json").write_text(json.dumps(settings))
    found = {
        kind: [make(f"{place}-{seed}", model=model, seed=seed) for seed in (0, 1)]
        for place, (kind, model) in enumerate(KINDS.items())
    }
    last = "model.name: its attention_dropout 0.1"
    found[last] = [replace(spec, model=dropping, model_digest="drops") for spec in found[last]]
    every = [spec for pair in found.values() for spec in pair]
    twins = {twin: first.trial for twin, first in find_twins(every, one_machine=True).items()}
    launch(*every, leave=True)
    return found, twins


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_seeds_end_the_same_to_the_last_bit_where_nothing_is_said_to_be_drawn(pairs, kind):
    one, other = pairs[0][kind]
    drawn = drawn_by_seed(one.config, one.model, one.config.model.precision)
    assert [text.startswith(kind) for text in drawn] == [True] * (kind != "nothing")
    assert (losses(one) == losses(other)) == (not drawn)


@pytest.mark.slow
def test_a_twin_takes_the_result_of_a_trained_trial_and_is_proved_like_one(pairs, make):
    found, twins = pairs
    one, other = found["nothing"]
    assert twins == {other.trial: one.trial}
    new = make("new", seed=2)
    assert {twin: first.trial for twin, first in find_twins([new, other, one], one_machine=True)
            .items()} == {"new": other.trial}  # none of those that were trained  # fmt: skip
    take_result(new, other)
    assert losses(new) == losses(one)
    assert read_outcome(new.folder, new.key).twin_of == verify_trial(new.folder).twin_of == "0-1"
    assert (new.folder / "model" / "model.safetensors").is_file()
    assert find_twins([new, other], one_machine=True)["new"] == other
    take_result(new, one)  # it has ended
    assert read_outcome(new.folder, new.key).twin_of == other.trial


def test_only_what_decides_nothing_may_differ(make):
    """Also where the seed is one: arms that plan the same are twins whatever the seed decides."""
    first, same = (make(name, seed=1) for name in ("first", "same"))
    longer, turned = make("longer", np.append(ROWS, 39)), make("turned", ROWS[::-1].copy())
    slower = make("slower", training={"global_batch": 6, "learning_rate": 1e-6, "save_model": True})
    sampled = make("sampled", evaluation={"sample": 0.5}, seed=1)
    again, other = (make(f"drawn-{seed}", evaluation={"sample": 0.5}, seed=seed) for seed in (1, 2))
    elsewhere = replace(make("elsewhere"), tokens_digest="others")
    specs = [first, same, longer, turned, slower, sampled, again, other, elsewhere]
    twins = {twin: one.trial for twin, one in find_twins(specs, one_machine=True).items()}
    assert twins == {"same": "first", "drawn-1": "sampled"}


def test_rows_behind_the_last_step_make_no_difference(make):
    short = {"training": {"global_batch": 6, "max_steps": 1}}
    specs = make("one", **short), make("longer-one", np.append(ROWS[:6], 39), **short)
    assert list(find_twins(specs, one_machine=True)) == ["longer-one"]


def test_seeds_of_an_arithmetic_that_only_the_machines_of_a_cluster_tell_are_no_twins(make):
    specs = [make(f"auto-{seed}", model={}, seed=seed) for seed in (0, 1)]
    assert not find_twins(specs, one_machine=False)


def test_a_twin_of_a_stopped_trial_is_stopped_and_one_of_an_unfinished_trial_is_left(make):
    first, twin = (make(f"stopped-{seed}", seed=seed) for seed in (0, 1))
    assert not take_result(twin, first).ended
    Journal(first.folder, None).write("measure", 4, query_loss=1.0)
    mark_stopped(first.folder, first.key, {"type": "asha"})
    assert take_result(twin, first).ended
    outcome = read_outcome(twin.folder, twin.key)
    assert (outcome.status, outcome.last_step, outcome.twin_of) == ("stopped", 4, first.trial)


def test_what_varies_an_arm_is_what_its_data_or_its_clusters_are_drawn_by():
    config = {"data": {"pool": {}}, "arrangement": {"granularity": {"clusters": 4}}}
    both = "data.pool.seed, beside data.pool.max_per_task, or arrangement.granularity.seed"
    assert varied_by(config) == both
    assert varied_by({"data": {"pool": {"max_per_task": 3}}, "arrangement": {}}) == "data.pool.seed"
