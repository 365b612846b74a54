"""The estimate on the screen: what is shared, what is there, what it costs, and how soon."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from orchestrator.config import Study
from orchestrator.estimate import Known, print_estimate
from orchestrator.estimate.stored import StoreLookup
from tests.estimate.base import BASE, config
from tests.waiting import PATIENCE


def shown(store: Path, sweep: dict | None = None, **sections: dict) -> str:
    return shown_study(store, config(**sections).model_dump(exclude_unset=True), sweep)


def shown_study(store: Path, base: dict, sweep: dict | None = None, width: int = 300) -> str:
    output = {"output": str(store / "out"), "store": str(store)}
    study = Study.model_validate({"study": "demo", **base, **output, "sweep": sweep or {}})
    text = io.StringIO()
    print_estimate(study, Console(file=text, width=width), Known(StoreLookup(store)))
    return text.getvalue()


def test_a_plan_tells_what_is_shared_what_is_there_and_what_was_left_out(store):
    axes = {"seed": {"grid": [0, 0, 1, 2]}, "model.name": {"grid": ["random:tiny-llama", "a/b"]}}
    text = shown(store, {"parameters": axes, "constraints": [{"seed": 2}]})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert sum(line.startswith("seed-") for line in lines) == 4
    assert "instances the dataset in the store: pool 100, query 10" in lines
    assert "model a/b will be fetched" in lines
    assert lines.count("model random:tiny-llama in the store") == 1
    assert "tokens the dataset for random:tiny-llama in the store" in lines
    assert "tokens the dataset for a/b will be made" in lines
    assert "4 trials; 2 identical ones merged, 2 dropped by {seed: 2}" in lines
    assert "arms random-tiny-llama, a-b" in lines
    # The two seeds plan, and train, the same; of a model that is not here nobody knows.
    assert "steps 75" in lines
    (once,) = (line for line in lines if line.startswith("once seed-1_name-random-tiny-llama"))
    assert "a-b" not in once
    assert once.endswith("to repeat such an arm sweep data.pool.seed")
    twin = next(line for line in lines if line.startswith("seed-1_name-random-tiny-llama"))
    assert twin.endswith(" twin")
    assert "memory a/b: unknown until the model is fetched" in lines
    assert "not in it" not in text
    assert not (store / "out").exists()


def test_names_fit_into_eighty_columns_as_what_trials_share_is_said_once(store):
    axes = {"arrangement.turns": {"grid": [1, 2, 4]}, "data.pool.seed": {"grid": [0, 1]}}
    arms = [
        {"label": "whole tasks", "arrangement.granularity": "task", "seed": 1},
        {"label": "half", "training.max_steps": 12, "seed": 2},
    ]
    arrangement = {"method": "tma", "selection": "nearest"}
    for paired in [], [arms]:
        sweep = {"parameters": axes, "paired": paired}
        text = shown_study(store, {**BASE, "arrangement": arrangement}, sweep, width=80)
        table, _, rest = text.partition("\n\n")
        lines = [line.strip() for line in rest.splitlines()]
        header, *rows, common = table.splitlines()
        assert sum(row.startswith("turns-") for row in rows) == 6 * (1 + bool(paired))
        assert max(map(len, [header, *rows])) <= 80
        columns = {"steps", "rows", "evaluations", "evaluating", "tokens", "time", "workers"}
        apart = set(header.split()) - {"trial"}
        once = {part.split()[0] for part in common.removeprefix("each").split("; ")}
        assert apart | once == columns
        assert not apart & once
        assert ("steps" in apart) == bool(paired)
        assert common.endswith("workers 1")
        assert "swept   arrangement.turns, data.pool.seed" in lines
        label = "labels  whole tasks: arrangement.granularity=task, seed=1"
        assert (label in lines) == bool(paired)
        assert ("half: training.max_steps=12, seed=2" in lines) == bool(paired)


HELD_OUT = {"reader": "builtin", "split": "held_out", "max_per_task": 1}


@pytest.mark.parametrize(
    ("arrangement", "forecast"),
    [
        ({"method": "searched", "rows": 30}, {}),
        ({}, {"forecast": {"forecasters": ["distance", "quadratic"]}}),
        ({}, {"forecast": {"forecasters": ["distance"]}}),
    ],
)
def test_the_gradients_by_which_plans_are_followed_are_named_with_what_they_cost(
    store, arrangement, forecast
):
    study = {**BASE, "data": {**BASE["data"], "held_out": HELD_OUT}, "arrangement": arrangement}
    lines = [" ".join(line.split()) for line in shown_study(store, study | forecast).splitlines()]
    named = (
        "influence the dataset by random:tiny-llama will be made: a forward and a backward pass a "
        "row"
    )
    followed = bool(arrangement) or "quadratic" in forecast["forecast"]["forecasters"]
    assert (named in lines) == followed


def test_what_an_arm_asks_of_the_trained_model_before_its_plan_is_named(store):
    arm = {"arm": "min", "rows": 20, "options": {"redundancy": 1.0}}
    vectors = {"model": "random:tiny-llama", "pooling": "gradient"}
    text = shown_study(store, {**BASE, "arrangement": arm, "embedding": vectors})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "query losses the dataset by random:tiny-llama will be made" in lines
    assert (
        "gradient vectors the dataset by random:tiny-llama will be made: a forward and a backward "
        "pass a row"
    ) in lines


def test_own_vectors_are_named_in_the_place_of_a_model(store, tmp_path):
    own = {"vectors": str(tmp_path / "p.npy"), "query_vectors": str(tmp_path / "q.npy")}
    for path in own.values():
        np.save(path, np.ones((3, 2)))
    study = {**BASE, "embedding": own}
    text = shown_study(store, study)
    assert f"the dataset by {own['vectors']} and {own['query_vectors']}" in text
    assert "all-MiniLM" not in text


def test_a_reward_model_that_has_to_be_fetched_is_named_as_more_memory(store):
    generate = {"every": 5, "metrics": ["reward"], "reward_model": "owner/reward"}
    lines = shown(store, evaluation={"generate": generate}).splitlines()
    [line] = [line for line in lines if line.startswith("memory")]
    assert line.startswith("memory  random:tiny-llama: 0.")
    assert line.endswith(", and more for owner/reward, unknown until it is fetched")


def test_the_share_of_evaluation_is_shown_and_a_sample_named_where_it_is_large(store):
    lines = shown(store, evaluation={"every": 1}).splitlines()
    header, row = (line.split() for line in lines[:2])
    share = int(row[header.index("evaluating")].strip("~%"))
    assert share > 25
    [note] = [line for line in lines if line.startswith("note")]
    assert f"up to {share}% of a trial's time: evaluation.sample" in note
    assert "evaluation.sample" not in shown(store, evaluation={"every": 25})
    assert "?" in shown(store / "none").splitlines()[1].split()


def test_what_the_hours_leave_out_is_named(store):
    benchmarks = {"evaluation": {"benchmarks": {"tasks": ["arc_easy"]}}}
    forecast = {"forecast": {"forecasters": ["proxy"]}}
    training = {"training": BASE["training"] | {"save_model": True}}
    lines = shown_study(store, {**BASE, **benchmarks, **forecast, **training}).splitlines()
    [hours] = [number for number, line in enumerate(lines) if line.startswith("hours ")]
    said = "not in it: the benchmarks (evaluation.benchmarks) and the cheaper study"
    assert lines[hours + 1].strip().startswith(said)


def test_two_hundred_trials_are_estimated_in_seconds_and_without_engines(store, tmp_path):
    axes = {
        "seed": {"grid": list(range(20))},
        "training.learning_rate": {"grid": [rate / 1000 for rate in range(1, 11)]},
    }
    study = {**BASE, "study": "large", "store": str(store), "sweep": {"parameters": axes}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    code = "import os, sys, orchestrator.cli as c; sys.argv[0] = 'orchestrator'\ntry: c.main()\n"
    # The time of it and its children: that of all of ours has those that end meanwhile in it.
    code += "finally: print(sum(os.times()[:4]), *sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, "estimate", "study.yaml"],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "200 trials" in ended.stdout
    seconds, *imported = ended.stdout.splitlines()[-1].split()
    assert not {"transformers", "deepspeed", "ray", "mlflow", "pandas"} & set(imported)
    assert float(seconds) < 10, "5 s of a processor are meant; a loaded machine takes longer"
