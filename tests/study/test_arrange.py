"""Plans of a study without training: the same that a run would train on, in other forms too."""

import json

import pyarrow.parquet as pq
import pytest

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.core.plan import order_digest
from orchestrator.errors import ConfigError, UserError
from orchestrator.screen import Screen
from orchestrator.stages.exports import LINES
from orchestrator.study.arrange import arrange_study
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import expand

STUDY = {
    "study": "small",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "embedding": {"model": "random:tiny-bert"},
    "neighbours": {"shard_rows": 40, "depth": 8},
    "arrangement": {"arm": "min", "rows": 30},
    "training": {"global_batch": 4},
    "sweep": {
        "paired": [
            [
                {"label": "rows"},
                {"label": "clusters", "arrangement.granularity": {"clusters": 5}},
                {"label": "text", "arrangement.method": "measure",
                 "arrangement.measure": "bigram_kl"},
                {"label": "cluster", "arrangement.method": "cluster"},
            ]
        ]
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def arranged(tmp_path_factory):
    """A study and the folder that its plans were written to."""
    folder = tmp_path_factory.mktemp("arranged")
    study = Study.model_validate(STUDY | {"output": str(folder / "out")})
    arrange_study(study, folder / "plans", "hf")
    return study, folder / "plans"


@pytest.mark.ray
@pytest.mark.slow
def test_plans_are_those_of_a_run_which_finds_all_shared_artifacts_made(arranged, tmp_path):
    study, plans = arranged
    trials = expand(study)
    with Screen() as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        with pipeline.fetching_models([trial.config for trial in trials], training=False):
            for trial in trials:
                pipeline.write_plan(trial.config, tmp_path / trial.name)
    assert all(stage["reused"] for stage in pipeline.shared.stages if "reused" in stage)
    tables = [pq.read_table(plans / trial.name / "plan.parquet") for trial in trials]
    for trial, table in zip(trials, tables, strict=True):
        assert table.equals(pq.read_table(tmp_path / trial.name / "plan.parquet"))
        assert table.num_rows == 30
    assert len({tuple(table["row"].to_pylist()) for table in tables}) == len(trials)
    assert not (Layout.of(study).folder / "trials").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_the_lines_of_a_plan_carry_the_messages_of_its_rows_in_order(arranged):
    study, plans = arranged
    (dataset,) = Layout.of(study).store.glob("dataset/*/instances.parquet")
    messages = pq.read_table(dataset)["messages"].to_pylist()
    for trial in expand(study):
        plan = plans / trial.name / "plan.parquet"
        written = LINES["jsonl"](plan, dataset.parent)
        lines = [json.loads(line) for line in written.open(encoding="utf-8")]
        assert [line.pop("messages") for line in lines] == [messages[line["row"]] for line in lines]
        assert lines == pq.read_table(plan).to_pylist()


@pytest.mark.ray
@pytest.mark.slow
def test_a_card_certifies_the_order_and_tells_of_near_duplicates(arranged):
    study, plans = arranged
    (near,) = Layout.of(study).store.glob("near_duplicates/*/pairs.parquet")
    pairs = set(pq.read_table(near)["row"].to_pylist())
    for trial in expand(study):
        folder = plans / trial.name / "hf"
        table = pq.read_table(folder / "train.parquet")
        assert table.drop(["messages"]).equals(pq.read_table(plans / trial.name / "plan.parquet"))
        ids, rows = table["id"].to_pylist(), table["row"].to_pylist()
        card = (folder / "README.md").read_text(encoding="utf-8")
        digest = order_digest(ids[at : at + 4] for at in range(0, 30, 4))
        assert f"| order_sha256 | {digest} |" in card
        assert f"a\ntest item: {len(pairs.intersection(rows))}. In the whole pool" in card


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    out = tmp_path / "plan.parquet"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"plan\.parquet is a file: give a folder"):
        arrange_study(Study.model_validate(STUDY), out, None)
    assert out.read_text() == "mine"


def test_a_remote_store_that_is_not_there_is_refused_before_anything_is_written(s3, tmp_path):
    places = {"output": str(tmp_path / "out"), "remote_store": "s3://none/shared"}
    with pytest.raises(ConfigError, match="remote_store: s3://none/shared cannot be read"):
        arrange_study(Study.model_validate(STUDY | places), tmp_path / "plans", None)
    assert not list(tmp_path.iterdir())
