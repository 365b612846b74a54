"""A hold-out is drawn by its seed, leaves its set for good, and its repetitions are leaks."""

import re
from collections import Counter

import pyarrow.compute as pc
import pytest
import yaml
from pydantic import ValidationError

from orchestrator.config import dump_yaml
from orchestrator.config.faults import explain
from orchestrator.config.schema import Study
from orchestrator.errors import DataError
from orchestrator.stages.dataset import dataset_spec, describe_dataset
from orchestrator.trials import expand
from tests.data.conftest import elsewhere, row

TASKS = {"large": 20, "middle": 12, "small": 6, "tiny": 2}
UNLABELLED = {"fields": {"task": None}}


@pytest.fixture
def pool(write):
    """40 rows of four tasks, one task behind the other."""
    tasks = [task for task, size in TASKS.items() for _ in range(size)]
    rows = [row(number, task) for number, task in enumerate(tasks)]
    return {"reader": "jsonl", "path": write("pool.jsonl", rows)}


def ids(table, split):
    return table.filter(pc.equal(table["split"], split))["id"].to_pylist()


def tasks(table, split):
    return Counter(table.filter(pc.equal(table["split"], split))["task"].to_pylist())


@pytest.mark.parametrize(
    ("amount", "size"), [({"fraction": 0.1}, 4), ({"fraction": 0.11}, 4), ({"rows": 7}, 7)]
)
def test_a_part_of_the_pool_is_held_out_and_the_pool_holds_the_others(make, pool, amount, size):
    _, table, info = make(pool, held_out={"from": "pool", **amount})
    held, left = ids(table, "held_out"), ids(table, "pool")
    assert len(held) == size
    assert sorted(held + left) == sorted(f"i{number}" for number in range(40))
    assert left == sorted(left, key=lambda id: int(id[1:]))  # the order of the file
    assert table["split"].unique().to_pylist() == ["pool", "query", "held_out"]
    assert table["row"].to_pylist() == list(range(41))
    assert info["splits"]["pool"]["dropped"] == {"held out": size}
    assert info["splits"]["held_out"]["instances"] == size
    assert describe_dataset(info) == (
        f"pool {40 - size} ({size} held out), query 1, held-out {size}"
    )


def test_the_same_seed_holds_out_the_same_in_any_order_and_in_many_processes(make, pool, write):
    def held(folder, seed, of=pool, mapped=map, **hold_out):
        hold_out = {"from": "pool", "fraction": 0.25, "seed": seed} | hold_out
        return make(of, folder, mapped, held_out=hold_out)[1]

    first = held("first", 3)
    assert first.equals(held("again", 3, mapped=elsewhere))
    rows = [row(number, "another") for number in reversed(range(40))]
    turned = {"reader": "jsonl", "path": write("turned.jsonl", rows)}
    assert set(ids(held("turned", 3, turned), "held_out")) == set(ids(first, "held_out"))
    draws = [frozenset(ids(held(f"seed{seed}", seed), "held_out")) for seed in range(8)]
    assert len(set(draws)) == 8
    more = held("more", 3, fraction=0.5)
    assert set(ids(first, "held_out")) < set(ids(more, "held_out"))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("amount", "count"), [({"fraction": 0.5}, 2), ({"fraction": 0.25}, 1), ({"rows": 3}, None)]
)
def test_whole_tasks_are_held_out_or_not_at_all(make, pool, seed, amount, count):
    hold_out = {"from": "pool", "by": "task", "seed": seed, **amount}
    _, table, info = make(pool, held_out=hold_out)
    held, left = tasks(table, "held_out"), tasks(table, "pool")
    assert held + left == TASKS
    assert not held.keys() & left.keys()
    if count is None:  # as many tasks as hold 3 rows
        assert held.total() >= 3 or len(held) > 1
        count = len(held)
        assert count == 1 or (count == 2 and "tiny" in held)
    assert len(held) == count
    assert info["leakage"] == {}


def test_instances_without_a_task_are_never_taken_as_one(make, pool, write):
    plain = [{"id": f"u{n}", "prompt": f"plain {n}", "completion": "a"} for n in range(9)]
    sources = [pool, {"reader": "jsonl", "path": write("plain.jsonl", plain)} | UNLABELLED]
    for seed in range(6):
        hold_out = {"from": "pool", "by": "task", "fraction": 0.75, "seed": seed}
        _, table, info = make(sources, f"seed{seed}", held_out=hold_out)
        assert "unlabelled" not in tasks(table, "held_out")
        assert len(tasks(table, "held_out")) == 3
        held = ids(table, "held_out")
        assert all(id.startswith("pool/") for id in held)
        assert info["splits"]["held_out"]["sources"]["pool"]["instances"] == len(held)
        assert set(table.filter(pc.equal(table["split"], "held_out"))["source"].to_pylist()) == {
            "pool"
        }


def test_a_part_of_the_query_set_is_held_out_of_it(make, pool, write):
    query = [row(n, f"q{n % 5}", f"asked {n}") for n in range(50)]
    query = {"reader": "jsonl", "path": write("asked.jsonl", query), "max_per_task": 8}
    hold_out = {"from": "query", "fraction": 0.25}
    _, table, info = make(pool, query=query, held_out=hold_out)
    asked, held = ids(table, "query"), ids(table, "held_out")
    assert (len(asked), len(held)) == (30, 10)
    assert not set(asked) & set(held)
    assert set(asked) | set(held) == {f"i{n}" for n in range(40)}  # what max_per_task keeps
    assert info["splits"]["query"]["dropped"] == {"beyond max_per_task": 10, "held out": 10}
    _, table, _ = make(pool, "tasks", query=query, held_out=hold_out | {"by": "task"})
    assert len(tasks(table, "query")) == 4
    assert tasks(table, "held_out").total() == 8


@pytest.mark.scenario("leakage")
@pytest.mark.parametrize("by", ["instance", "task"])
def test_what_repeats_a_held_out_row_in_the_pool_leaks_and_a_task_shared_by_intent_does_not(
    make, write, by
):
    def made(folder, copied="question 98", nearly="question 99", **data):
        rows = [row(number, f"task {number % 4}") for number in range(40)]
        rows += [row(50, "copies", copied), row(51, "copies", nearly)]
        pool = {"reader": "jsonl", "path": write("pool.jsonl", rows)}
        hold_out = {"from": "pool", "fraction": 0.2, "seed": 5, "by": by}
        return make(pool, folder, held_out=hold_out, **data)

    _, table, info = made("apart")
    assert info["leakage"] == {}
    held = ids(table, "held_out")
    assert not {"i50", "i51"} & set(held)  # the draw looks at ids and tasks, and at no text
    texts = f"question {held[0][1:]}", f"QUESTION  {held[1][1:]}!"
    with pytest.raises(DataError, match="1 exact duplicate of held_out, 1 normalised duplicate of"):
        made("refused", *texts)
    _, table, info = made("dropped", *texts, leakage="drop")
    assert ids(table, "held_out") == held
    assert not {"i50", "i51"} & set(ids(table, "pool"))
    assert info["leakage"] == {
        "exact duplicate of held_out": 1,
        "normalised duplicate of held_out": 1,
    }


@pytest.mark.parametrize(
    ("hold_out", "message"),
    [
        ({"fraction": 0.01}, "fraction is 0.01, and data.pool has 40 instances, of which that is "
         "none: set it to something from 0.025 to 0.975"),
        ({"fraction": 0.99}, "of which that is all"),
        ({"rows": 40}, "rows is 40, and data.pool has 40 instances, of which none would be left: "
         "set it to 39 or fewer"),
        ({"fraction": 0.1, "by": "task"}, "data.pool has 4 tasks, of which that is none: set it to "
         "something from 0.25 to 0.75"),
        ({"rows": 40, "by": "task"}, "no task of data.pool would be left: set it to (38|34|28|20)"),
    ],
)  # fmt: skip
def test_a_hold_out_of_nothing_or_of_everything_is_refused(make, pool, hold_out, message):
    with pytest.raises(DataError, match=message):
        make(pool, held_out={"from": "pool", **hold_out})


def test_whole_tasks_need_tasks(make, write):
    plain = [{"id": f"u{n}", "prompt": f"plain {n}", "completion": "a"} for n in range(9)]
    pool = {"reader": "jsonl", "path": write("plain.jsonl", plain)} | UNLABELLED
    hold_out = {"from": "pool", "by": "task", "fraction": 0.5}
    with pytest.raises(DataError, match=r"data.pool has none: set data.held_out.by: inst"):
        make(pool, held_out=hold_out)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"fraction": 0.1}, "held_out.from is missing: give pool or query"),
        ({"from": "pol", "fraction": 0.1}, 'from is "pol": give pool or query'),
        ({"from": "pool"}, "held_out: give fraction or rows, one of them"),
        ({"from": "pool", "fraction": 0.1, "rows": 3}, "held_out: give fraction or rows, one"),
        ({"from": "pool", "fraction": 1}, "fraction is 1: give a number above 0 and below 1"),
        ({"from": "pool", "fractoin": 0.1}, "fractoin is not a key: did you mean fraction?"),
        ({"from": "pool", "reader": "jsonl", "path": "a"}, "held_out.from is not a key"),
        ({"raeder": "jsonl", "path": "a"}, "held_out.reader is missing: give builtin"),
    ],
)
def test_a_hold_out_that_cannot_be_read_says_what_to_type(pool, held_out, message):
    data = {"pool": pool, "query": pool, "held_out": held_out}
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({"study": "held", "data": data})
    sentences = [sentence for _, sentence in explain(caught.value, Study)]
    assert any(re.search(message, sentence) for sentence in sentences), sentences


def test_a_sweep_of_its_seed_makes_a_data_set_a_seed_and_one_arm(pool):
    hold_out = {"from": "pool", "fraction": 0.1}
    query = {"reader": "builtin", "split": "query"}
    study = Study.model_validate(
        {
            "study": "held",
            "data": {"pool": [pool], "query": query, "held_out": hold_out},
            "sweep": {"parameters": {"data.held_out.seed": {"grid": [0, 1, 2]}}},
        }
    )
    assert Study.model_validate(yaml.safe_load(dump_yaml(study))) == study
    trials = expand(study)
    assert [trial.config.data.hold_out.seed for trial in trials] == [0, 1, 2]
    assert len({trial.arm for trial in trials}) == 1
    assert len({dataset_spec(trial.config.data).digest for trial in trials}) == 3


def test_of_a_single_instance_no_part_can_be_taken(make, pool):
    for amount in ({"rows": 1}, {"fraction": 0.5}):
        with pytest.raises(DataError, match=r"data.query has 1 instances: name a source with more"):
            make(pool, str(amount), held_out={"from": "query", **amount})
