"""What is measured of a test set at which step, and what the report makes of it."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.schema import TrialConfig
from orchestrator.training.evaluation.sampled import SetParts, completed
from orchestrator.training.journal import measured_losses
from orchestrator.training.spec import Inputs
from tests.training.conftest import DATA
from tests.training.launch import launch

TASKS = np.array(["pool"] * 4 + ["a"] * 8 + ["b"] * 2 + ["c"] * 10, dtype=object)
ROWS = np.random.default_rng(4).permutation(40)[:24]


def parts(cut=(), seed=0, **evaluation):
    config = TrialConfig.model_validate(
        {"data": DATA, "seed": seed, "training": {"global_batch": 1}, "evaluation": evaluation}
    )
    rows = np.arange(len(TASKS))
    sets = {"query": rows[4:14], "held_out": rows[14:]}
    inputs = Inputs(rows[:4], TASKS.copy(), TASKS, sets)
    tokens = SimpleNamespace(answer_counts=lambda rows: np.where(np.isin(rows, cut), 0, 3))
    return SetParts(config, inputs, tokens), sets


def test_all_items_are_measured_at_the_ends_and_at_named_steps_and_a_part_between_them():
    found, sets = parts(sample=4, whole=[2])
    for step in (0, 2, 4):
        assert all(
            np.array_equal(part.rows, sets[name]) for name, part in found.measured(step).items()
        )
    first, second = found.measured(1), found.measured(3)
    for name, part in first.items():
        assert len(part.rows) == 4
        assert np.array_equal(part.rows, second[name].rows)
        assert set(TASKS[part.rows]) == set(TASKS[sets[name]])
        assert part.weights.sum() == pytest.approx(len(sets[name]))
    assert found.answered == sets


def test_without_a_sample_all_items_are_measured_at_every_step():
    found, sets = parts()
    assert all(np.array_equal(part.rows, sets[name]) for name, part in found.measured(1).items())


def test_a_share_is_of_each_set_and_another_seed_draws_others():
    drawn = [parts(sample=0.4, seed=seed)[0].measured(1)["held_out"].rows for seed in (0, 0, 1)]
    assert len(drawn[0]) == 4
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_items_without_a_loss_are_left_out_of_a_part():
    cut = [4, 5, 6, 7, 8, 9, 12]
    found, _ = parts(cut, sample=2)
    assert not set(cut) & set(found.measured(1)["query"].rows)
    assert found.measured(1)["query"].weights.sum() == 3
    assert set(cut) < set(found.measured(0)["query"].rows)


def test_so_many_items_of_each_set_are_answered_at_most():
    found, sets = parts(sample=4, generate={"every": 1, "max_items": 3})
    assert {name: len(rows) for name, rows in found.answered.items()} == {"query": 3, "held_out": 3}
    assert set(TASKS[found.answered["query"]]) == {"a", "b"}
    assert all(set(rows) <= set(sets[name]) for name, rows in found.answered.items())


def table(losses):
    """Lines of a set with the given (step, id) -> loss; an id begins with its task."""
    lines = [
        {"step": step, "set": "query", "id": id, "task": id[0], "loss": loss, "tokens": 1}
        for (step, id), loss in losses.items()
    ]
    return pa.Table.from_pylist(lines)


def test_a_table_of_all_items_is_left_as_it_is():
    whole = table({(step, id): 1.0 for step in (0, 2) for id in ("a1", "a2")})
    assert completed(whole) is whole


def test_lines_that_are_missing_are_added_and_marked():
    ends = {(0, "a1"): 4.0, (0, "a2"): 6.0, (0, "b1"): None,
            (4, "a1"): 2.0, (4, "a2"): 4.0, (4, "b1"): None}  # fmt: skip
    found = completed(table({**ends, (2, "a1"): 2.5})).to_pydict()
    lines = {
        (step, id): (loss, estimated)
        for step, id, loss, estimated in zip(
            *(found[name] for name in ("step", "id", "loss", "estimated")), strict=True
        )
    }
    assert {key: loss for key, (loss, _) in lines.items() if key[0] != 2} == ends
    assert lines[2, "a2"] == (pytest.approx(4.5), True)
    assert lines[2, "a1"] == (2.5, False)
    assert lines[2, "b1"] == (None, False)
    assert found["task"] == [id[0] for id in found["id"]]


@pytest.mark.slow
def test_a_part_has_the_losses_of_the_same_items_in_a_trial_that_measures_all(make_spec):
    sections = {
        "training": {"global_batch": 4, "learning_rate": 1e-3},
        "model": {"precision": "float32"},
    }
    evaluation = {"every": 1}
    full = make_spec(ROWS, "full", evaluation=evaluation, **sections)
    generate = {"every": [6], "max_items": 5, "max_new_tokens": 2}
    part = make_spec(
        ROWS, "part", evaluation=evaluation | {"sample": 5, "generate": generate}, **sections
    )
    launch(full, part, leave=True)
    tables = [pq.read_table(spec.folder / "losses.parquet") for spec in (full, part)]
    known, found = (
        {
            (line["step"], line["set"], line["id"]): line["loss"]
            for line in losses.to_pylist()
        }
        for losses in tables
    )  # fmt: skip
    counts = np.bincount([step for step, _, _ in found])
    assert counts.tolist() == [28, *[10 + 5] * 5, 28]  # ten query tasks, four held out
    assert found == pytest.approx({key: known[key] for key in found}, rel=1e-4)
    whole, estimated = (completed(losses).to_pandas() for losses in tables)
    means = [frame.groupby(["set", "step"])["loss"].mean() for frame in (whole, estimated)]
    assert means[1].to_dict() == pytest.approx(means[0].to_dict(), abs=0.05)
    tasks = [frame.query("step == 3 and set == 'held_out'").groupby("task")["loss"]
             for frame in (tables[0].to_pandas(), tables[1].to_pandas())]  # fmt: skip
    told = {event["step"]: event["held_out_loss"] for event in measured_losses(part.folder)}
    assert told[3] == pytest.approx(np.average(tasks[1].mean(), weights=tasks[0].size()))
    answers = pq.read_table(part.folder / "generations.parquet").to_pandas()
    assert set(answers.groupby(["step", "set"]).size()) <= {5, 10}
