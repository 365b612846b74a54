"""A saved model, measured apart from the trial that made it, is what the trial measured."""

import json
from dataclasses import replace

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrator.training.evaluate import evaluate_model
from orchestrator.training.loop import run_trial
from orchestrator.training.outcome import FINISHED, read_outcome
from tests.training.launch import start

pytestmark = pytest.mark.slow

GENERATE = {"every": [4], "metrics": ["rouge1", "exact_match"], "max_new_tokens": 4}
LORA = {"type": "lora", "r": 4}


def _train(rank, spec):
    run_trial(spec)


def _measure(rank, spec, adapter):
    evaluate_model(spec, adapter, {"model": "the saved one"})


def at_the_end(folder, table):
    """The last step's lines, without the step."""
    lines = pq.read_table(folder / table)
    return lines.filter(pc.equal(lines["step"], pc.max(lines["step"]))).drop_columns("step")


@pytest.mark.parametrize(
    ("adapter", "zero_stage", "ranks"), [("none", 0, 1), ("none", 3, 2), (LORA, 0, 1)]
)
def test_losses_and_answers_are_those_that_the_trial_measured_at_its_last_step(
    make_spec, tmp_path, adapter, zero_stage, ranks
):
    spec = make_spec(
        range(24),
        store=tmp_path / "store",
        model={"adapter": adapter, "precision": "float32"},
        training={
            "global_batch": 6, "learning_rate": 1e-2, "save_model": True,
            "zero_stage": zero_stage, "workers": ranks,
        },
        evaluation={"every": 2, "generate": GENERATE},
    )  # fmt: skip
    start(_train, spec, ranks=ranks)
    saved, folder = spec.folder / "model", tmp_path / "evaluated"
    folder.mkdir()
    model = {"model": saved} if adapter == "none" else {}
    other = replace(spec, **model, model_digest="saved", key="other", folder=folder)
    start(_measure, other, None if adapter == "none" else saved, ranks=ranks)

    for table in ("losses.parquet", "generations.parquet"):
        assert at_the_end(folder, table) == at_the_end(spec.folder, table), table
    untouched = pq.read_table(spec.folder / "losses.parquet").slice(0, 5)["loss"]
    assert at_the_end(folder, "losses.parquet").slice(0, 5)["loss"] != untouched
    outcome = read_outcome(folder, "other")
    assert (outcome.status, outcome.result["model"]) == (FINISHED, "the saved one")
    assert json.loads((folder / "result.json").read_text())["files"].keys() == {
        "losses.parquet", "generations.parquet"
    }  # fmt: skip
