"""A trial feeds its plan, measures what it says, and refuses what it cannot prove."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from orchestrator.core.plan import order_digest
from orchestrator.data import dataset
from orchestrator.training import tokens as token_table
from orchestrator.training.outcome import read_outcome
from tests.training.launch import launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:20]
TWICE = np.concatenate([ROWS[:10], ROWS[5:0:-1], ROWS[:1], ROWS[9:5:-1]])  # ten rows, two passes


def series(folder):
    return pq.read_table(folder / "train_log.parquet")["loss"].to_numpy()


def plain_losses(shared, batches):
    """The same training by plain torch: whole batches, padded right, one mean over tokens."""
    model = AutoModelForCausalLM.from_pretrained(shared.model)
    table = token_table.load(shared.tokens)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
    )
    losses = []
    for rows in batches:
        total, count = 0.0, 0
        for row in rows:
            part = slice(table.starts[row], table.starts[row + 1])
            ids = torch.as_tensor(np.array(table.ids[part]), dtype=torch.int64)[None]
            marks = torch.as_tensor(np.array(table.answer[part]))[1:]
            logits = model(input_ids=ids).logits[0, :-1]
            each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            total, count = total + each[marks].sum(), count + int(marks.sum())
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.fixture(scope="module")
def plain_series(shared):
    return plain_losses(shared, [ROWS[start : start + 6] for start in range(0, len(ROWS), 6)])


@pytest.mark.parametrize(
    ("ranks", "zero_stage", "budget"),
    [(1, 0, 10**6), (2, 0, 500), (2, 2, 300), (2, 3, 10**6)],
)
def test_losses_equal_plain_training_and_the_realised_order_equals_the_plan(
    make_spec, plain_series, ranks, zero_stage, budget
):
    spec = make_spec(
        ROWS,
        training={
            "global_batch": 6,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "zero_stage": zero_stage,
            "micro_batch_tokens": budget,
        },
        model={"precision": "float32"},
    )
    launch(spec, ranks=ranks)
    np.testing.assert_allclose(series(spec.folder), plain_series, rtol=1e-4, atol=1e-4)
    realised = pq.read_table(spec.folder / "realised.parquet").to_pydict()
    steps, rows = np.array(realised["step"]), np.array(realised["row"])
    for step in range(1, 5):
        assert sorted(rows[steps == step]) == sorted(ROWS[(step - 1) * 6 : step * 6])
    assert set(realised["rank"]) == set(range(ranks))


@pytest.mark.parametrize(("ranks", "zero_stage"), [(1, 0), (2, 2)])
def test_a_second_pass_begins_with_a_batch_of_its_own_and_is_proved_too(
    shared, make_spec, ranks, zero_stage
):
    spec = make_spec(
        TWICE,
        training={
            "global_batch": 4,
            "epochs": 2,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "zero_stage": zero_stage,
        },
        model={"precision": "float32"},
    )
    launch(spec, ranks=ranks)
    batches = [TWICE[at : at + size] for at, size in ((0, 4), (4, 4), (8, 2), (10, 4), (14, 4),
                                                      (18, 2))]  # fmt: skip
    plain = plain_losses(shared, batches)
    np.testing.assert_allclose(series(spec.folder), plain, rtol=1e-4, atol=1e-4)
    realised = pq.read_table(spec.folder / "realised.parquet").to_pydict()
    steps, rows = np.array(realised["step"]), np.array(realised["row"])
    for step, batch in enumerate(batches, start=1):
        assert sorted(rows[steps == step]) == sorted(batch)
    result = read_outcome(spec.folder, spec.key).result
    ids = pq.read_table(shared.dataset / "instances.parquet")["id"].to_numpy(zero_copy_only=False)
    assert result["steps"] == 6
    assert result["order_sha256"] == order_digest([ids[batch] for batch in batches])


def test_the_learning_rate_falls_over_all_passes(make_spec):
    spec = make_spec(
        TWICE, training={"global_batch": 4, "epochs": 2, "schedule": "linear", "min_lr_ratio": 0.0}
    )
    launch(spec)
    rates = pq.read_table(spec.folder / "train_log.parquet")["lr"].to_numpy()
    np.testing.assert_allclose(rates, 1e-5 * np.linspace(1, 0, 6), atol=1e-20)


def test_test_losses_are_measured_at_step_0_every_n_steps_and_at_the_end(make_spec):
    spec = make_spec(ROWS, training={"global_batch": 4, "learning_rate": 1e-3})
    launch(spec)
    losses = pq.read_table(spec.folder / "losses.parquet").to_pandas()
    assert sorted(losses["step"].unique()) == [0, 2, 4, 5]
    assert set(losses["set"]) == {"query", "held_out"}
    assert losses["id"].nunique() * 4 == len(losses)
    means = losses.groupby("step")["loss"].mean()
    assert means[5] < means[0]
    journal = [json.loads(line) for line in (spec.folder / "journal.jsonl").open()]
    assert [e["step"] for e in journal if e["event"] == "step"] == [1, 2, 3, 4, 5]
    assert read_outcome(spec.folder, spec.key).result["steps"] == 5
    assert not read_outcome(spec.folder, "another key").result


def test_answers_are_generated_at_their_own_steps_beside_the_losses(make_spec):
    generate = {"every": [1], "max_new_tokens": 4}
    spec = make_spec(ROWS[:12], evaluation={"every": 2, "generate": generate})
    launch(spec)
    answers = pq.read_table(spec.folder / "generations.parquet").to_pandas()
    losses = pq.read_table(spec.folder / "losses.parquet").to_pandas()
    assert sorted(answers["step"].unique()) == [0, 1, 2]
    assert sorted(losses["step"].unique()) == [0, 2]
    last = [table[table["step"] == 2] for table in (answers, losses)]
    assert last[0][["set", "id", "task"]].values.tolist() == (
        last[1][["set", "id", "task"]].values.tolist()
    )
    assert answers["rougeL"].between(0, 1).all()
    assert answers["reward"].isna().all()
    assert "generations.parquet" in read_outcome(spec.folder, spec.key).result["files"]


def test_the_journal_tells_where_the_time_of_a_start_goes(make_spec):
    spec = make_spec(ROWS[:6])
    launch(spec)
    events = (spec.folder / "journal.jsonl").read_text().splitlines()
    [ready] = [event for event in map(json.loads, events) if event["event"] == "ready"]
    parts = [ready[name] for name in ("inputs", "imports", "tokens", "model", "engine")]
    assert sum(parts) == pytest.approx(ready["seconds"])
    assert ready["model"] > 0


def test_the_untouched_model_is_measured_once_and_shared(make_spec, tmp_path):
    first = make_spec(ROWS[:6], "first", store=tmp_path / "store")
    launch(first)
    baselines = list((tmp_path / "store" / "baseline").glob("*/losses.npy"))
    assert len(baselines) == 2
    written = {path: path.stat().st_mtime_ns for path in baselines}
    second = make_spec(ROWS[6:12], "second", store=tmp_path / "store")
    launch(second)
    assert {path: path.stat().st_mtime_ns for path in baselines} == written
    tables = [pq.read_table(spec.folder / "losses.parquet") for spec in (first, second)]
    untouched = [t.filter(pa.compute.equal(t["step"], 0))["loss"].to_numpy() for t in tables]
    assert np.array_equal(*untouched)


@pytest.mark.parametrize("length", [175, 1024])
def test_test_items_are_measured_at_their_own_length_and_training_is_as_it_was(
    shared, make_spec, tmp_path, length
):
    """Losses are those of a table of that length, be it the shorter or the longer one."""
    tables = {}
    for cut in (175, 1024):
        folder = tables[cut] = tmp_path / str(cut)
        folder.mkdir()
        tokeniser = token_table.Tokeniser(shared.dataset, shared.model, "user_assistant", cut)
        token_table.write(map(tokeniser, dataset.parts(shared.dataset, 1_000)), folder)
    own = {"tokens": tables[175], "tokens_digest": "175"}
    if length == 175:
        own = {"tokens": tables[1024], "tokens_digest": "1024"}
    store = tmp_path / "store"
    specs = {
        name: replace(make_spec(ROWS[:12], name, store=store), **changed)
        for name, changed in {
            "alone": {"tokens": tables[length], "tokens_digest": str(length)},
            "own": own,
            "both": own | {"test_tokens": (tables[length], str(length))},
        }.items()
    }
    launch(*specs.values(), leave=True)
    losses = {name: pq.read_table(spec.folder / "losses.parquet") for name, spec in specs.items()}
    at_first = pa.compute.field("step") == 0
    assert losses["both"].filter(at_first).equals(losses["alone"].filter(at_first))
    assert losses["both"]["tokens"].equals(losses["alone"]["tokens"])
    assert not losses["both"]["tokens"].equals(losses["own"]["tokens"])
    assert np.array_equal(*(series(specs[name].folder) for name in ("both", "own")))
    assert not np.array_equal(*(series(specs[name].folder) for name in ("both", "alone")))
    # One baseline a set and length: "both" took that of "alone".
    assert len(list((store / "baseline").glob("*/losses.npy"))) == 4


def test_bfloat16_arithmetic_moves_weights_at_a_rate_far_below_their_spacing(make_spec):
    """float32 master weights: 1e-6 a step is lost in pure bfloat16 weights."""
    spec = make_spec(
        np.tile(ROWS[:6], 1),
        model={"precision": "bfloat16"},
        training={"global_batch": 1, "learning_rate": 1e-5, "schedule": "constant"},
        evaluation={"every": 6},
    )
    launch(spec)
    losses = pq.read_table(spec.folder / "losses.parquet").to_pandas()
    means = losses.groupby("step")["loss"].mean()
    assert means[6] != means[0]


@pytest.mark.scenario("not-finite")
def test_a_loss_that_is_not_finite_stops_the_trial_before_the_update_and_names_the_step(make_spec):
    spec = make_spec(
        ROWS,
        training={"global_batch": 6, "learning_rate": 1e30, "clip": None, "schedule": "constant"},
    )
    told = r"step \d: the training loss is (nan|inf)\. Nothing was updated\. Rows \[\d"
    with pytest.raises(Exception, match=told):
        launch(spec)
    assert not read_outcome(spec.folder, spec.key).result
