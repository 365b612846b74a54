"""Bytes on disk, against what is really written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from orchestrator.config import TrialConfig
from orchestrator.core.plan import Plan
from orchestrator.estimate import disk
from orchestrator.estimate.amounts import Amount, trial_amounts
from orchestrator.estimate.shapes import llama_sizes
from orchestrator.estimate.stored import StoreLookup
from orchestrator.models.presets import PRESETS
from orchestrator.stages.arrange import plan_table
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.storage.files import LOSSES_SCHEMA, REALISED_SCHEMA
from orchestrator.storage.remote import ArtifactStore
from orchestrator.tracking.points import points
from tests.estimate.base import BASE, config
from tests.stages.making import made


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
        (pa.table(fed, schema=REALISED_SCHEMA), disk.REALISED_ROW),
        (pa.table(losses, schema=LOSSES_SCHEMA), disk.LOSS),
    ]:
        pq.write_table(table, tmp_path / "table.parquet")
        assert (tmp_path / "table.parquet").stat().st_size / rows == pytest.approx(
            expected, rel=0.4
        )


def parts(store: Path, *, registers: bool = False, **sections: dict) -> dict[str, Amount | None]:
    loaded, found = config(**sections), StoreLookup(store)
    return disk.trial_disk(loaded, trial_amounts(loaded, found), found, registers=registers)


def test_checkpoints_and_trained_models_count_only_where_they_are_kept(store):
    size = llama_sizes(PRESETS["tiny-llama"]).parameters
    assert parts(store)["checkpoints"] == parts(store)["trained models"] == Amount(0)
    kept = parts(store, training={"checkpoint": {"every": 5, "keep": 1}, "save_model": True})
    assert kept["trained models"] == Amount(4 * size, "~")
    # Weights and Adam's two moments, of one that is kept and one that is not whole yet.
    assert kept["checkpoints"] == Amount(2 * 12 * size, "~")
    bfloat16 = {"model": {"precision": "bfloat16"}, "training": {"checkpoint": {"every": 5}}}
    assert parts(store, **bfloat16)["checkpoints"] == Amount(3 * 14 * size, "~")
    shared = {"workers": 4, "zero_stage": 3, "checkpoint": {"every": 5, "keep": 1}}
    assert parts(store, training=shared)["checkpoints"].count == 2 * 16 * size
    lora = {"model": {"adapter": {"type": "lora", "r": 1}}, "training": {"save_model": True}}
    assert 0 < parts(store, **lora)["trained models"].count < 4 * size / 10


def test_models_of_steps_count_as_far_as_the_trial_has_the_steps(store):
    once = parts(store, training={"save_model": True})["trained models"]
    at = {"save_model": {"at": [5, 10, 25, 400]}}  # of 25 steps
    kept = parts(store, training=at)
    assert kept["trained models"] == Amount(3 * once.count, "~")
    more = [parts(store, registers=registers, training=at)["MLflow"].count for registers in (0, 1)]
    assert more[1] - more[0] == once.count  # the one at the end is registered


def test_mlflow_takes_a_copy_of_every_file_and_the_points_of_every_step(tmp_path, store):
    trained = {"training": {"global_batch": 1, "max_steps": 20}, "evaluation": {"every": 5}}
    found = parts(store, **trained)
    files = sum(found[part].count for part in ("plans", "losses", "logs"))
    assert found["MLflow"] == Amount(files + 20 * disk.POINTS, "~")
    database, steps = tmp_path / "mlflow.db", 300
    client = MlflowClient(f"sqlite:///{database}")
    run_id = client.create_run(client.create_experiment("one", tmp_path.as_uri())).info.run_id
    before = database.stat().st_size
    step = {"loss": 1.5, "lr": 1e-3, "grad_norm": 1.0, "seconds": 0.5, "tokens": 30}
    for number in range(steps):
        event = step | {"event": "step", "time": 1.7e9, "step": number, "padded_tokens": 40}
        client.log_batch(run_id, metrics=points(event))
    added = database.stat().st_size - before
    assert added / steps == pytest.approx(disk.POINTS, rel=0.4)


def test_a_model_that_is_registered_counts_twice(store):
    kept = {"training": {"save_model": True}}
    once, twice = (parts(store, registers=registers, **kept) for registers in (False, True))
    assert twice["MLflow"].count - once["MLflow"].count == twice["trained models"].count > 0
    assert twice["trained models"] == once["trained models"]


def test_what_is_not_known_yet_is_not_counted_as_nothing(tmp_path, store):
    unread = parts(tmp_path, model={"name": "owner/model"}, training={"save_model": True})
    assert unread == {
        "plans": None,
        "losses": None,
        "logs": None,
        "MLflow": None,
        "checkpoints": Amount(0),
        "trained models": None,
    }
    assert disk.embeddings_disk(config(), StoreLookup(tmp_path)) is None
    assert disk.embeddings_disk(config(), StoreLookup(store)) == Amount(0)
    longer = config(embedding={"max_length": 9})
    assert disk.embeddings_disk(longer, StoreLookup(store)) == Amount(2 * 4 * 110 * 32, "~")


def test_own_vectors_are_found_by_their_content_and_are_as_large_as_their_files(store, tmp_path):
    rng, own = np.random.default_rng(0), {}
    for key, rows in (("vectors", 110), ("query_vectors", 10)):
        own[key] = str(tmp_path / f"{key}.npy")
        np.save(own[key], rng.normal(size=(rows, 6)))
    names = pq.read_table(next(store.glob("dataset/*/instances.parquet")))["id"].to_pylist()
    own["ids"] = str(tmp_path / "ids.txt")
    Path(own["ids"]).write_text("\n".join([*names[:100], *(f"more {n}" for n in range(10))]))
    settings = TrialConfig.model_validate({**BASE, "embedding": own})
    found = StoreLookup(store)
    assert found.embeddings(settings) is None
    assert disk.embeddings_disk(settings, found) == Amount(4 * 110 * 6)
    assert disk.embeddings_disk(settings, StoreLookup(tmp_path)) is None
    made(own_vectors_spec(found.dataset(settings.data), settings.embedding), ArtifactStore(store))
    assert StoreLookup(store).embeddings(settings) is not None
    assert disk.embeddings_disk(settings, StoreLookup(store)) == Amount(0)
