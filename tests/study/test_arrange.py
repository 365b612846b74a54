"""Plans of a study without training: the same that a run would train on, in other forms too."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console
from safetensors.torch import load_file

from orchestrator.config import Study
from orchestrator.config.embedding import Embedding
from orchestrator.config.layout import Layout
from orchestrator.core.plan import order_digest
from orchestrator.errors import ConfigError, DataError, UserError
from orchestrator.models import resolve
from orchestrator.screen import Screen
from orchestrator.stages.exports import LINES
from orchestrator.study.arrange import arrange_study
from orchestrator.study.arrays import ArraySettings, arrange_arrays
from orchestrator.study.pipeline import Pipeline
from orchestrator.training import tokens as token_table
from orchestrator.training.device import pick_device
from orchestrator.training.target_path import PathModel, scores
from orchestrator.trials import expand

GRADIENT = {
    "model": "random:tiny-llama", "pooling": "gradient",
    "gradient": {"dimensions": 64, "warm_up_steps": 2},
}  # fmt: skip
MANIFESTS = "tokens/*/manifest.json"
STUDY = {
    "study": "small",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
        "held_out": {"reader": "builtin", "split": "held_out", "max_per_task": 1},
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
                {"label": "own", "embedding": {"vectors": "pool.npy", "query_vectors": "q.npy"}},
                {"label": "path", "embedding": {"model": "random:tiny-llama",
                 "pooling": "path", "path": {"clusters": 2, "steps": 2}}},
                {"label": "residual", "arrangement.options.redundancy": 1.0,
                 "model.name": "random:tiny-llama"},
                {"label": "gradient", "embedding": GRADIENT},
                {"label": "searched", "arrangement.method": "searched",
                 "arrangement.options": {"evaluations": 40}, "embedding": GRADIENT,
                 "model": {"name": "random:tiny-llama", "max_length": 256}},
                {"label": "passes", "arrangement.selection": "both_ends",
                 "arrangement.order": "random", "training.epochs": 2, "training.reorder": "each"},
            ]
        ]
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def arranged(tmp_path_factory):
    """A study and the folder that its plans were written to."""
    folder = tmp_path_factory.mktemp("arranged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_vectors()
        study = Study.model_validate(STUDY | {"output": str(folder / "out")})
        arrange_study(study, folder / "plans", "hf")
        yield study, folder / "plans"


def write_vectors():
    """Vectors of the pool's 100 rows and of the ten queries, in the working folder."""
    rng = np.random.default_rng(0)
    for name, rows in (("pool", 100), ("q", 10)):
        np.save(f"{name}.npy", rng.normal(size=(rows, 12)))


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
        passes = table["row"].to_numpy().reshape(trial.config.training.epochs, -1)
        assert [len(set(rows)) for rows in passes.tolist()] == [30] * len(passes)
        assert table["position"].to_pylist() == list(range(30 * len(passes)))
    assert len({tuple(table["row"].to_pylist()) for table in tables}) == len(trials)
    assert not (Layout.of(study).folder / "trials").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_the_losses_that_weigh_queries_are_those_that_trials_find_at_step_0(arranged):
    study, plans = arranged
    store = Layout.of(study).store
    (measured,) = store.glob("query_losses/*/losses.parquet")
    losses = pq.read_table(measured, filters=[("set", "=", "query")])["loss"].to_numpy()
    assert len(losses) == 10
    baselines = map(np.load, store.glob("baseline/*/losses.npy"))  # one a test set
    assert [losses.tolist()] == [each.tolist() for each in baselines if len(each) == 10]
    weights = losses / losses.mean()
    (trial,) = (trial for trial in expand(study) if "residual" in trial.name)
    plan = pq.read_table(plans / trial.name / "plan.parquet")
    took = f"a query takes {weights.min():.2f} to {weights.max():.2f} units in a turn, by its loss"
    assert plan.schema.metadata[b"note"].decode() == took


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
    with Screen(Console(file=io.StringIO())) as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        near = {trial.name: pipeline.near_duplicates(trial.config) for trial in expand(study)}
    for trial in expand(study):
        folder = plans / trial.name / "hf"
        table = pq.read_table(folder / "train.parquet")
        assert table.drop(["messages"]).equals(pq.read_table(plans / trial.name / "plan.parquet"))
        ids, rows = table["id"].to_pylist(), table["row"].to_pylist()
        card = (folder / "README.md").read_text(encoding="utf-8")
        # Each pass of 30 rows ends with a short batch.
        starts = (first + at for first in range(0, len(ids), 30) for at in range(0, 30, 4))
        digest = order_digest(ids[at : min(at + 4, at // 30 * 30 + 30)] for at in starts)
        assert f"| order_sha256 | {digest} |" in card
        if near[trial.name] is None:  # of tokens, in which equal texts do not lie together
            assert "were not looked for: no text was embedded." in card
            continue
        pairs = set(pq.read_table(near[trial.name].path / "pairs.parquet")["row"].to_pylist())
        assert f"a\ntest item: {len(pairs.intersection(rows))}. In the whole pool" in card


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_on_own_vectors_has_the_plan_of_the_bare_arrays(arranged, tmp_path):
    study, plans = arranged
    settings = ArraySettings(arrangement=study.arrangement, seed=study.seed)
    bare = tmp_path / "plan.parquet"
    arrange_arrays(Path("pool.npy"), Path("q.npy"), None, settings, bare, None)
    (own,) = (trial for trial in expand(study) if trial.arm == "own")
    columns = ["position", "row", "turn", "unit", "distance"]
    planned = pq.read_table(plans / own.name / "plan.parquet", columns=columns)
    assert planned.equals(pq.read_table(bare, columns=columns))


@pytest.mark.ray
@pytest.mark.slow
def test_the_distances_of_a_target_path_are_the_scores_behind_the_adapters_of_the_store(arranged):
    study, plans = arranged
    (trial,) = (trial for trial in expand(study) if trial.arm == "path")
    store = Layout.of(study).store
    with Screen(Console(file=io.StringIO())) as screen:
        embeddings = Pipeline(Layout.of(study), screen).embeddings(trial.config)
    assert embeddings.info["splits"] == {"pool": 100, "query": 10}
    model = PathModel(
        resolve("random:tiny-llama", store), trial.config.embedding.path,
        pick_device("float32", gpu=False),
    )  # fmt: skip
    (paths,) = store.glob("target_path/*/state.safetensors")
    keys = {path.parent: json.loads(path.read_bytes())["key"] for path in store.glob(MANIFESTS)}
    (fed,) = (path for path, key in keys.items() if key["max_length"] == 256)
    tokens = token_table.load(fed)  # those of the gradients, too
    model.load_state(load_file(paths))
    plan = pq.read_table(plans / trial.name / "plan.parquet")
    rows = plan["row"].to_numpy()[:8]
    groups = np.load(paths.with_name("groups.npy"))
    found = scores(np.array([model.losses(tokens, rows[at : at + 1])[0] for at in range(8)]))
    nearest = found[:, np.unique(groups)].max(axis=1) / np.sqrt(found.shape[1])
    assert np.abs(plan["distance"].to_numpy()[:8] + nearest).max() <= 1e-5


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("order", ["nearest_first", "random"])
def test_the_vectors_of_a_model_given_as_own_ones_make_the_plan_that_the_model_makes(
    arranged, tmp_path, order
):
    study, _ = arranged
    arrangement = {"method": "wsd", "selection": "polar", "per_task": 1, "order": order}
    base = study.model_dump(exclude_unset=True) | {"arrangement": arrangement, "sweep": {}}
    with Screen(Console(file=io.StringIO())) as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        (made,) = expand(Study.model_validate(base))
        vectors = np.load(pipeline.embeddings(made.config).path / "vectors.npy")
        own = {"vectors": str(tmp_path / "p.npy"), "query_vectors": str(tmp_path / "q.npy")}
        for path, part in zip(own.values(), (vectors[:100], vectors[100:110]), strict=True):
            np.save(path, part)
        (given,) = expand(Study.model_validate(base | {"embedding": own}))
        plans = [pipeline.write_plan(each.config, tmp_path / each.name) for each in (made, given)]
    assert plans[0].rows.tolist() == plans[1].rows.tolist()
    assert np.array_equal(plans[0].distance, plans[1].distance)
    assert len(plans[0]) == 50  # of as many tasks


def test_own_vectors_need_no_engine_and_no_model_where_their_method_needs_no_search(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_vectors()
    own = {"vectors": "pool.npy", "query_vectors": "q.npy", "model": "owner/none"}
    arrangement = {"method": "wsd", "arm": "min", "rows": 30}
    changes = {"embedding": own, "arrangement": arrangement, "sweep": {}, "output": "out"}
    study = Study.model_validate(STUDY | changes)
    trials = expand(study)
    with Screen(Console(file=io.StringIO())) as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        pipeline.read_data(trials)
        plan = pipeline.write_plan(trials[0].config, tmp_path / "trial")
    assert len(plan) == 30
    assert pipeline.shared.models == {}
    assert not ray.is_initialized()


def test_vectors_that_are_not_those_of_the_data_end_a_study_before_anything_starts(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_vectors()
    np.save("pool.npy", np.load("pool.npy")[:99])
    own = {"vectors": "pool.npy", "query_vectors": "q.npy"}
    study = Study.model_validate(STUDY | {"embedding": own, "sweep": {}, "output": "out"})
    with pytest.raises(DataError, match=r"pool\.npy has 99 rows, data\.pool holds 100 instances"):
        arrange_study(study, tmp_path / "plans", None)
    missing = study.model_copy(update={"embedding": Embedding(vectors="a.npy", query_vectors="b")})
    with pytest.raises(ConfigError, match=r"(?s)embedding\.vectors: a\.npy .*query_vectors: b "):
        arrange_study(missing, tmp_path / "plans", None)
    assert not ray.is_initialized()


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    out = tmp_path / "plan.parquet"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"plan\.parquet is a file: give a folder"):
        arrange_study(Study.model_validate(STUDY), out, None)
    assert out.read_text() == "mine"


def test_a_remote_store_that_is_not_there_is_refused_before_anything_is_written(s3, tmp_path):
    places = {"output": str(tmp_path / "out"), "remote_store": "s3://none/shared", "sweep": {}}
    with pytest.raises(ConfigError, match="remote_store: s3://none/shared cannot be read"):
        arrange_study(Study.model_validate(STUDY | places), tmp_path / "plans", None)
    assert not list(tmp_path.iterdir())
