"""Answers generated in batches and over ranks are those of one row at a time."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification

from orchestrator.core.text_metrics import TEXT_METRICS
from orchestrator.data import dataset, references
from orchestrator.training import tokens as token_table
from orchestrator.training.device import init_distributed, pick_device
from orchestrator.training.engine import build_engine
from orchestrator.training.evaluation.generate import SCORED, generated_scores, generation_steps
from orchestrator.training.evaluation.reward import rewards
from orchestrator.training.spec import evaluation_steps
from tests.training.launch import start

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(5).permutation(60)[:13]
NEW_TOKENS = 24
LONGEST = 175  # so that some answers are cut away
METRICS = [*TEXT_METRICS, "reward"]


def _generate(rank, spec):
    init_distributed(gpu=False)
    device = pick_device("float32", gpu=False)
    model = AutoModelForCausalLM.from_pretrained(spec.model)
    engine = build_engine(model, spec.config.training, device, spec.config.seed)
    tokens = token_table.load(spec.tokens)
    table = generated_scores(
        engine, tokens, ROWS, spec, device, spec.config.training.micro_batch_tokens
    )
    assert engine.module.training
    pq.write_table(table, spec.folder / f"{rank}.parquet")


def generate(spec, ranks, reward_model=None):
    """The table of each rank."""
    start(_generate, replace(spec, reward_model=reward_model), ranks=ranks)
    return [pq.read_table(spec.folder / f"{rank}.parquet").to_pydict() for rank in range(ranks)]


@pytest.fixture(scope="module")
def reward_model(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(1)
    LlamaForSequenceClassification.from_pretrained(shared.model, num_labels=1).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(shared.model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def short_tokens(shared, tmp_path_factory):
    """The token table with instances cut at LONGEST."""
    folder = tmp_path_factory.mktemp("tokens")
    tokeniser = token_table.Tokeniser(shared.dataset, shared.model, "user_assistant", LONGEST)
    token_table.write(map(tokeniser, dataset.parts(shared.dataset, 1_000)), folder)
    return folder


@pytest.fixture(scope="module")
def one_by_one(shared, short_tokens):
    """Prediction of each row by argmax over full forward passes; None where it is cut away."""
    model = AutoModelForCausalLM.from_pretrained(shared.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(shared.model)
    table = token_table.load(short_tokens)
    found = []
    for row in ROWS:
        part = slice(table.starts[row], table.starts[row + 1])
        marks = np.flatnonzero(table.answer[part])
        if not len(marks):
            found.append(None)
            continue
        ids = table.ids[part][: marks[0]].tolist()
        start = len(ids)
        while len(ids) < start + NEW_TOKENS:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            if (token := int(logits.argmax())) in tokenizer.all_special_ids:
                break
            ids.append(token)
        found.append(tokenizer.decode(ids[start:]).strip())
    return found


@pytest.mark.parametrize(
    ("ranks", "zero_stage", "budget"), [(1, 0, 10**6), (2, 0, 1000), (2, 3, 700)]
)
def test_batched_greedy_answers_and_their_scores_equal_a_plain_loop_on_any_number_of_ranks(
    make_spec, shared, short_tokens, one_by_one, reward_model, ranks, zero_stage, budget
):
    spec = make_spec(
        ROWS,
        training={"micro_batch_tokens": budget, "zero_stage": zero_stage},
        evaluation={
            "generate": {
                "every": 1,
                "max_new_tokens": NEW_TOKENS,
                "metrics": METRICS,
                "reward_model": "given",
            }
        },
    )
    tables = generate(replace(spec, tokens=short_tokens), ranks, reward_model)
    assert all(table == tables[0] for table in tables)
    found = tables[0]
    assert list(found) == SCORED.names
    assert found["row"] == ROWS.tolist()
    assert None in one_by_one
    assert len({text for text in one_by_one if text}) > 5
    assert found["prediction"] == one_by_one
    texts = [turns[:2] for turns in dataset.load_messages_of(shared.dataset, ROWS)]
    assert found["reference"] == [answer["content"].strip() for _, answer in texts]
    kept = [i for i, text in enumerate(one_by_one) if text is not None]
    for name, metric in TEXT_METRICS.items():
        for i, (score, text) in enumerate(zip(found[name], one_by_one, strict=True)):
            assert score == (None if text is None else metric.score(text, found["reference"][i]))
    alone = rewards(
        reward_model,
        [texts[i][0]["content"].strip() for i in kept],
        [one_by_one[i] for i in kept],
        1,
        pick_device("float32", gpu=False),
    )
    np.testing.assert_allclose([found["reward"][i] for i in kept], alone, rtol=1e-3, atol=1e-5)
    assert len(kept) + found["reward"].count(None) == len(ROWS)


def test_metrics_not_asked_for_and_prompts_without_room_for_an_answer_are_null(
    make_spec, shared, short_tokens, one_by_one, tmp_path
):
    narrow = shutil.copytree(shared.model, tmp_path / "narrow")
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 160}))
    generation = {"every": 1, "max_new_tokens": NEW_TOKENS, "metrics": ["exact_match"]}
    spec = make_spec(ROWS, evaluation={"generate": generation})
    (found,) = generate(replace(spec, tokens=short_tokens, model=narrow), 1)
    table = token_table.load(short_tokens)
    prompts = table.lengths[ROWS] - table.answer_counts(ROWS)
    fits = prompts <= 160 - NEW_TOKENS
    assert 0 < fits.sum() < len(ROWS)
    assert found["prediction"] == [
        text if fit else None for text, fit in zip(one_by_one, fits, strict=True)
    ]
    for name in ("rouge1", "rougeL", "reward"):
        assert set(found[name]) == {None}


def test_an_answer_has_its_best_score_over_all_references_of_its_row(
    make_spec, short_tokens, one_by_one, tmp_path
):
    given = [place for place, answer in enumerate(one_by_one) if answer]
    # What the model says is right, beside what the data says; of the first row alone.
    right = {"row": ROWS[given[:1]], "references": [["none of it", one_by_one[given[0]]]]}
    pq.write_table(pa.table(right, schema=references.SCHEMA), tmp_path / "references.parquet")
    generation = {"every": 1, "max_new_tokens": NEW_TOKENS, "metrics": ["exact_match"]}
    spec = make_spec(ROWS, evaluation={"generate": generation})
    (alone,) = generate(replace(spec, tokens=short_tokens), 1)
    (found,) = generate(replace(spec, tokens=short_tokens, references=tmp_path), 1)
    assert alone["exact_match"][given[0]] == 0.0
    assert found["exact_match"][given[0]] == 1.0
    assert [found["exact_match"][place] for place in given[1:]] == [
        alone["exact_match"][place] for place in given[1:]
    ]
    assert found["reference"] == alone["reference"]


def test_answers_are_generated_at_the_steps_of_their_own_schedule(make_spec):
    generation = {"every": [2, 90], "metrics": ["exact_match"]}
    config = make_spec(ROWS, evaluation={"every": 3, "generate": generation}).config
    assert generation_steps(config, 24) == [0, 2, 4]
    assert evaluation_steps(config, 24) == [0, 3, 4]
    silent = make_spec(ROWS, "silent", evaluation={"every": 3}).config
    assert generation_steps(silent, 24) == []
