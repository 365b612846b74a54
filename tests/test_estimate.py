"""What a study will cost, against what is really built and written."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from orchestrator import models
from orchestrator.artifacts import build
from orchestrator.config import Study, TrialConfig
from orchestrator.config.arrangement import Arrangement
from orchestrator.core.plan import Plan
from orchestrator.estimate import disk, print_plan
from orchestrator.estimate.amounts import Amount, planned_rows, trial_amounts
from orchestrator.estimate.memory import llama_sizes, rank_memory
from orchestrator.estimate.stored import Store
from orchestrator.models.presets import PRESETS, preset_config
from orchestrator.stages.arrange import plan_table
from orchestrator.stages.dataset import build_dataset, build_tokens
from orchestrator.stages.embed import EMBED_VERSION
from orchestrator.stages.encoder import Encoder
from orchestrator.training.record import LOSSES, REALISED
from orchestrator.training.sizes import model_sizes

BASE = {
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "embedding": {"model": "random:tiny-bert"},
    "model": {"name": "random:tiny-llama", "precision": "float32"},
    "training": {"global_batch": 4},
}
POOL, QUERIES = 100, 10


def config(**sections: dict) -> TrialConfig:
    merged = {key: {**BASE.get(key, {}), **value} for key, value in sections.items()}
    return TrialConfig.model_validate({**BASE, **merged})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with the data, the two models, the tokens and the vectors of the base."""
    root, base = tmp_path_factory.mktemp("store"), config()
    dataset = build_dataset(base.data, root)
    folder = models.resolve(base.model.name, root)
    build_tokens(dataset, base.model, folder, models.fingerprint(folder), root)
    embedder = models.resolve(base.embedding.model, root)
    key = Encoder(embedder, models.fingerprint(embedder), base.embedding, root).key
    key = {"version": EMBED_VERSION, "dataset": dataset.digest, "vectors": key}
    build(root, "embeddings", key, lambda _: {"texts": POOL + QUERIES})
    return root


NEAREST = {"selection": "nearest"}


@pytest.mark.parametrize(
    ("arrangement", "known", "unread"),
    [
        ({}, Amount(100), None),
        ({**NEAREST, "rows": 40}, Amount(40), Amount(40)),
        ({**NEAREST, "rows": 40, "cut": False}, Amount(40, "~"), Amount(40, "~")),
        ({**NEAREST, "rows": 40, "turns": 3}, Amount(40, "<="), Amount(40, "<=")),
        ({**NEAREST, "turns": 3}, Amount(100, "<="), None),
        ({**NEAREST, "turn_window": [0, 2]}, Amount(100, "<="), None),
        ({"method": "random"}, Amount(100), None),
    ],
)
def test_rows_are_known_as_far_as_the_budget_and_the_pool_tell(arrangement, known, unread):
    loaded = Arrangement.model_validate(arrangement)
    assert (planned_rows(loaded, 100), planned_rows(loaded, None)) == (known, unread)


def test_tokens_are_exact_for_the_whole_pool_about_for_a_part_and_at_most_before_it_is_read(store):
    found, empty = Store(store), Store(store / "none")
    lengths = np.diff(np.load(next((store / "tokens").glob("*/starts.npy"))))[:POOL]
    whole = trial_amounts(config(), found)
    assert whole.tokens == Amount(int(lengths.sum()))
    assert whole.test_items == QUERIES
    part = config(arrangement={"selection": "nearest", "rows": 50})
    assert trial_amounts(part, found).tokens == Amount(round(50 * lengths.mean()), "~")
    assert trial_amounts(part, empty).tokens == Amount(50 * 1024, "<=")
    assert trial_amounts(config(), empty).tokens is None


def test_steps_evaluations_and_trained_rows_stop_at_max_steps(store):
    limited = config(training={"max_steps": 7}, evaluation={"every": 3})
    found = trial_amounts(limited, Store(store))
    assert (found.rows, found.steps, found.trained) == (Amount(100), Amount(7), Amount(28))
    assert found.evaluations == Amount(4)  # 0, 3, 6 and 7
    unread = trial_amounts(limited, Store(store / "none"))
    assert (unread.rows, unread.steps, unread.trained) == (None, Amount(7, "<="), Amount(28, "<="))


def test_what_was_built_is_found_and_nothing_that_differs_in_what_determines_it(store):
    found = Store(store)
    base = config()
    assert found.dataset(base.data).info["splits"]["pool"]["instances"] == POOL
    assert found.tokens(base) is not None
    assert found.embeddings(base) is not None
    assert found.model("random:tiny-llama") == found.model("random:tiny-llama:0")
    assert found.model("random:tiny-llama:1") is None
    assert found.model(str(found.model("random:tiny-llama"))) == found.model("random:tiny-llama")
    other_pool = config(data={"pool": {"reader": "builtin", "split": "pool", "max_per_task": 1}})
    assert found.dataset(other_pool.data) is None
    assert found.dataset(config(data={"leakage": "drop"}).data) is None
    for model in ({"max_length": 9}, {"template": "chat"}, {"name": "random:tiny-llama:1"}):
        assert found.tokens(config(model=model)) is None
    for embedding in ({"max_length": 9}, {"dtype": "bfloat16"}, {"model": "random:tiny-llama"}):
        assert found.embeddings(config(embedding=embedding)) is None


def test_a_source_that_is_not_here_is_not_in_the_store(store):
    missing = config(data={"query": {"reader": "jsonl", "path": "no/such/file.jsonl"}})
    assert Store(store).dataset(missing.data) is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"head_dim": 24, "num_key_value_heads": 4},
    ],
)
def test_the_shape_of_a_llama_is_that_of_the_model_which_transformers_builds(tmp_path, changes):
    settings = PRESETS["tiny-llama"] | changes
    preset = preset_config("tiny-llama")
    preset.update(changes)
    preset.save_pretrained(tmp_path)
    assert llama_sizes(settings) == model_sizes(tmp_path)
    assert llama_sizes(json.loads((tmp_path / "config.json").read_text())) == model_sizes(tmp_path)


def test_the_7b_preset_has_the_published_number_of_parameters():
    sizes = llama_sizes(PRESETS["llama-2-7b"])
    assert sizes.parameters == 6_738_415_616
    assert llama_sizes(PRESETS["tiny-bert"]) is None


def test_memory_is_unknown_until_the_model_is_here_unless_it_is_a_preset(tmp_path):
    store = Store(tmp_path)
    assert rank_memory(config(model={"name": "owner/model"}), store) is None
    seven = config(model={"name": "random:llama-2-7b", "precision": "bfloat16"})
    assert rank_memory(seven, store).weights == 2 * 6_738_415_616


def test_the_bytes_a_row_are_those_of_the_files_of_a_long_trial(tmp_path):
    rng, rows = np.random.default_rng(0), 20_000
    ids = pa.chunked_array([[f"super_glue_{i % 999}-{i:06d}" for i in range(rows)]])
    tasks = pa.chunked_array([[f"super_glue_{i % 999}" for i in range(rows)]])
    order = rng.permutation(rows)
    plan = plan_table(Plan(order, np.sort(order % 40), order, rng.random(rows)), ids, tasks)
    zeros = np.zeros(rows, np.int32)
    fed = {"step": np.arange(rows, dtype=np.int32) // 16, "rank": zeros, "row": order, "id": ids}
    items = pa.chunked_array([ids.slice(0, 500).combine_chunks()] * (rows // 500))
    losses = {
        "step": np.arange(rows, dtype=np.int32) // 500,
        "set": ["query"] * rows,
        "id": items,
        "task": items,
        "loss": rng.random(rows),
        "tokens": rng.integers(1, 99, rows).astype(np.int32),
    }
    for table, expected in [
        (plan, disk.PLAN_ROW),
        (pa.table(fed, schema=REALISED), disk.REALISED_ROW),
        (pa.table(losses, schema=LOSSES), disk.LOSS),
    ]:
        pq.write_table(table, tmp_path / "table.parquet")
        assert (tmp_path / "table.parquet").stat().st_size / rows == pytest.approx(
            expected, rel=0.4
        )


def parts(store: Path, **sections: dict) -> dict[str, Amount | None]:
    loaded, found = config(**sections), Store(store)
    return disk.trial_disk(loaded, trial_amounts(loaded, found), found)


def test_checkpoints_and_trained_models_count_only_where_they_are_kept(store):
    size = llama_sizes(PRESETS["tiny-llama"]).parameters
    assert parts(store)["checkpoints"] == parts(store)["trained models"] == Amount(0)
    kept = parts(store, training={"checkpoint": {"every": 5, "keep": 1}, "save_model": True})
    assert kept["trained models"] == Amount(4 * size, "~")
    assert kept["checkpoints"] == Amount(12 * size, "~")  # weights and Adam's two moments
    bfloat16 = {"model": {"precision": "bfloat16"}, "training": {"checkpoint": {"every": 5}}}
    assert parts(store, **bfloat16)["checkpoints"] == Amount(2 * 14 * size, "~")
    shared = {"workers": 4, "zero_stage": 3, "checkpoint": {"every": 5, "keep": 1}}
    assert parts(store, training=shared)["checkpoints"].count == 16 * size
    lora = {"model": {"adapter": {"type": "lora", "r": 1}}, "training": {"save_model": True}}
    assert 0 < parts(store, **lora)["trained models"].count < 4 * size / 10


def test_what_is_not_known_yet_is_not_counted_as_nothing(tmp_path, store):
    unread = parts(tmp_path, model={"name": "owner/model"}, training={"save_model": True})
    assert unread == {
        "plans": None,
        "losses": None,
        "logs": None,
        "checkpoints": Amount(0),
        "trained models": None,
    }
    assert disk.embeddings_disk(config(), Store(tmp_path)) is None
    assert disk.embeddings_disk(config(), Store(store)) == Amount(0)
    longer = config(embedding={"max_length": 9})
    assert disk.embeddings_disk(longer, Store(store)) == Amount(2 * 4 * 110 * 32, "~")


def shown(store: Path, sweep: dict | None = None, **sections: dict) -> str:
    base = config(**sections).model_dump(exclude_unset=True)
    output = {"output": str(store / "out"), "store": str(store)}
    study = Study.model_validate({"study": "demo", **base, **output, "sweep": sweep or {}})
    text = io.StringIO()
    print_plan(study, Console(file=text, width=300))
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
    assert "steps 100" in lines
    assert "memory a/b: unknown until the model is fetched" in lines
    assert not (store / "out").exists()


def test_two_hundred_trials_are_planned_in_seconds_and_without_torch_where_no_model_is_here(
    tmp_path,
):
    axes = {
        "seed": {"grid": list(range(20))},
        "training.learning_rate": {"grid": [rate / 1000 for rate in range(1, 11)]},
    }
    study = {**BASE, "study": "large", "sweep": {"parameters": axes}}
    study["model"] = {"name": "smollm2-135m"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    code = "import sys, orchestrator.cli as c; sys.argv[0] = 'orchestrator'\ntry: c.main()\n"
    code += "finally: print('torch' in sys.modules)"
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code, "plan", "study.yaml"],
        check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    seconds = time.monotonic() - started
    assert ended.returncode == 0, ended.stderr
    assert "200 trials" in ended.stdout
    assert ended.stdout.split()[-1] == "False"
    assert seconds < 15, "5 s are meant; a loaded machine takes longer"
