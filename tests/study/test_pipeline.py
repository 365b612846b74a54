"""Plans of a study that hang on more than its file: on a file of ids, on the tokens of answers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import LOSSES_FILE
from orchestrator.study.pipeline import Pipeline
from orchestrator.training.tokens import load
from orchestrator.trials import expand

DATA = {
    "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
    "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
}


@pytest.fixture
def prepare(store, tmp_path):
    """Prepares the only trial of a study whose order is these ids: its spec and its plan."""

    def run(ids, name="order.txt", **arrangement):
        (tmp_path / name).write_text("\n".join(ids))
        options = {"path": str(tmp_path / name)} if ids else {}
        method = {"method": "given", "options": options} if ids else {"method": "random"}
        study = Study.model_validate({
            "study": "given", "data": DATA, "output": str(tmp_path / "out"), "store": store,
            "arrangement": method | arrangement, "model": {"name": "random:tiny-llama"},
            "training": {"global_batch": 4}, "evaluation": {"measures": False},
        })  # fmt: skip
        with Screen() as screen:
            pipeline, trials = Pipeline(Layout.of(study), screen), expand(study)
            pipeline.read_data(trials)
            (spec,) = pipeline.prepare(trials)
        return spec, pq.read_table(spec.folder / "plan.parquet")

    return run


def test_a_file_of_ids_is_the_plan_and_its_content_the_trials_identity(prepare):
    _, pool = prepare([])
    ids = pool["id"].to_pylist()[:9]
    spec, plan = prepare(ids)
    assert plan["id"].to_pylist() == ids
    assert plan["distance"].null_count == 9
    again, _ = prepare(ids)
    turned, plan = prepare(ids[::-1])
    assert plan["id"].to_pylist() == ids[::-1]
    assert (spec.folder, spec.key) == (again.folder, again.key)
    assert turned.folder == spec.folder
    assert turned.key != spec.key


def test_lines_behind_the_budget_do_not_train_a_trial_again(prepare):
    ids = prepare([])[1]["id"].to_pylist()[:9]
    spec, plan = prepare(ids, rows=5)
    longer, same = prepare([*ids, prepare([])[1]["id"][20].as_py()], rows=5)
    assert plan["id"].to_pylist() == same["id"].to_pylist() == ids[:5]
    assert spec.key == longer.key


def test_a_budget_in_answer_tokens_counts_what_the_trained_model_learns(prepare):
    whole, pool = prepare([])
    table, rows = load(whole.tokens), pool["row"].to_numpy()
    held = np.cumsum(table.answer_counts(rows))
    spec, plan = prepare([], answer_tokens=300)
    assert spec.key != whole.key
    assert plan["row"].to_pylist() == rows[held <= 300].tolist()
    note = plan.schema.metadata[b"note"].decode()
    assert note == f"{held[len(plan) - 1]} of 300 answer tokens"
    with pytest.raises(DataError, match=f"all answers together hold {held[-1]:,}: set that or fe"):
        prepare([], answer_tokens=int(held[-1]) + 1)


def test_losses_that_weigh_queries_are_part_of_the_trials_identity(prepare, tmp_path, monkeypatch):
    """They hang on the files of the model, of which the study file names the folder alone."""
    pq.write_table(pa.table({"set": ["query"], "loss": [1.0]}), tmp_path / LOSSES_FILE)
    keys = set()
    for digest in ("a", "b"):
        losses = Artifact(tmp_path, digest, {}, reused=False)
        monkeypatch.setattr(Pipeline, "query_losses", lambda *_, losses=losses: losses)
        keys.add(prepare([])[0].key)
    assert len(keys) == 2


def test_a_wrong_file_is_refused_before_anything_but_the_data_is_made(prepare, tmp_path):
    with pytest.raises(DataError, match="1 not in the pool: line 1 'nobody'"):
        prepare(["nobody"])
    assert not (tmp_path / "out").exists()
