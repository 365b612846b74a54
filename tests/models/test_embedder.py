import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.config.embedding import Embedding
from orchestrator.models import resolve
from orchestrator.models.embedder import Embedder, token_batches

TEXTS = ["the cat sat on the mat", "a", "ünï 漢字", "word " * 40, "the cat sat on the mat", "b c"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def bert(store):
    return resolve("random:tiny-bert", store)


@pytest.fixture(scope="module")
def llama(store):
    return resolve("random:tiny-llama", store)


def copy_with(folder, target, name, change):
    """A copy of a model's folder in which one JSON file was changed."""
    shutil.copytree(folder, target)
    path = target / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return target


def make_embedder(folder, batch_tokens=64, **settings):
    return Embedder(folder, Embedding(**settings), batch_tokens, threads=1, device="cpu")


def one_by_one(folder, texts):
    model = SentenceTransformer(str(folder), device="cpu")
    return np.stack([model.encode(text, normalize_embeddings=True) for text in texts])


def weighted_mean(folder, text):
    """The formula on the hidden states of transformers alone, in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**tokens, output_hidden_states=True).hidden_states[-1][0].double().numpy()
    weights = np.arange(1, len(hidden) + 1)
    mean = (weights[:, None] * hidden).sum(axis=0) / weights.sum()
    return mean / np.linalg.norm(mean)


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000))
def test_batches_hold_every_text_once_within_the_budget(lengths, batch_tokens):
    lengths = np.array(lengths, dtype=np.int64)
    batches = token_batches(lengths, batch_tokens)
    rows = np.concatenate([rows for rows, _ in batches]) if batches else []
    assert sorted(rows) == list(range(len(lengths)))
    for rows, width in batches:
        assert width == lengths[rows].max()
        assert len(rows) * width <= batch_tokens or len(rows) == 1


@given(st.lists(st.integers(1, 300), min_size=1), st.integers(300, 1000))
def test_batches_go_from_long_to_short(lengths, batch_tokens):
    lengths = np.array(lengths, dtype=np.int64)
    rows = np.concatenate([rows for rows, _ in token_batches(lengths, batch_tokens)])
    assert (np.diff(lengths[rows]) <= 0).all()


def test_vectors_are_those_of_encode_one_text_at_a_time(bert):
    found = make_embedder(bert).embed(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(bert, TEXTS), atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=12), st.integers(1, 500))
def test_vectors_depend_neither_on_the_batch_nor_on_the_other_texts(bert, texts, batch_tokens):
    together = make_embedder(bert, batch_tokens).embed(texts)
    alone = make_embedder(bert)
    expected = np.concatenate([alone.embed([text]) for text in texts])
    np.testing.assert_allclose(together, expected, atol=1e-5)


def test_the_prompt_that_a_model_was_made_with_is_used(bert, tmp_path):
    name = "config_sentence_transformers.json"
    prompted = copy_with(
        bert,
        tmp_path / "prompted",
        name,
        lambda config: config | {"prompts": {"task": "sort: "}, "default_prompt_name": "task"},
    )
    found = make_embedder(prompted).embed(TEXTS)
    np.testing.assert_allclose(found, one_by_one(prompted, TEXTS), atol=1e-5)
    assert np.abs(found - make_embedder(bert).embed(TEXTS)).max() > 1e-2


def test_a_causal_model_gives_the_position_weighted_mean_of_its_last_states(llama):
    found = make_embedder(llama).embed(TEXTS)
    expected = np.stack([weighted_mean(llama, text) for text in TEXTS])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_causal_model_that_pads_on_the_left_gives_the_same_vectors(llama, tmp_path):
    left = copy_with(
        llama,
        tmp_path / "left",
        "tokenizer_config.json",
        lambda config: config | {"padding_side": "left"},
    )
    assert AutoTokenizer.from_pretrained(left).padding_side == "left"
    expected = make_embedder(llama).embed(TEXTS)
    np.testing.assert_allclose(make_embedder(left).embed(TEXTS), expected, atol=1e-5)


def test_a_chat_template_is_not_put_around_the_texts(llama, tmp_path):
    chat = tmp_path / "chat"
    shutil.copytree(llama, chat)
    (chat / "chat_template.jinja").write_text(
        "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"
    )
    assert AutoTokenizer.from_pretrained(chat).chat_template
    expected = make_embedder(llama).embed(TEXTS)
    np.testing.assert_array_equal(make_embedder(chat).embed(TEXTS), expected)


def test_a_tokenizer_without_padding_pads_with_its_end_token(llama, tmp_path):
    bare = copy_with(
        llama,
        tmp_path / "bare",
        "tokenizer_config.json",
        lambda config: {key: value for key, value in config.items() if key != "pad_token"},
    )
    assert AutoTokenizer.from_pretrained(bare).pad_token is None
    expected = make_embedder(llama).embed(TEXTS)
    np.testing.assert_allclose(make_embedder(bare).embed(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("model", ["bert", "llama"])
def test_pooling_of_the_study_file_replaces_that_of_the_model(model, request):
    folder = request.getfixturevalue(model)
    own, mean, weighted = (
        make_embedder(folder, pooling=pooling).embed(TEXTS)
        for pooling in ("auto", "mean", "weighted_mean")
    )
    same, other = (mean, weighted) if model == "bert" else (weighted, mean)
    np.testing.assert_array_equal(own, same)
    assert np.abs(own - other).max() > 1e-3


def test_what_is_past_the_maximal_length_is_not_read(bert):
    embedder = make_embedder(bert, max_length=10)
    near, far, short = embedder.embed(["0123456789 a", "0123456789 b", "0123"])
    np.testing.assert_allclose(near, far, atol=1e-6)
    assert np.abs(near - short).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vectors_have_length_one_in_either_dtype(llama, dtype):
    found = make_embedder(llama, dtype=dtype).embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    exact = make_embedder(llama).embed(TEXTS)
    assert ((found * exact).sum(axis=1) > 0.99).all()
    assert np.array_equal(found, exact) == (dtype == "float32")


@pytest.mark.parametrize("keep", ["start", "end"])
def test_a_text_is_read_up_to_the_limit_and_what_was_read_tells_it_apart(bert, keep):
    # A token a byte, and one at each end.
    texts = ["x" * 30 + "one", "x" * 30 + "two", "one" + "x" * 30, "x" * 14, "x" * 15]
    found = make_embedder(bert, max_length=16, keep=keep).read(texts)
    assert found.cut.tolist() == [True, True, True, False, True]
    alike = {"start": [0, 1], "end": [2, 4]}[keep]
    assert len(set(found.digests[alike])) == 1
    np.testing.assert_allclose(found.vectors[alike[0]], found.vectors[alike[1]], atol=1e-6)
    other = {"start": [0, 2], "end": [0, 1]}[keep]
    assert len(set(found.digests[other])) == 2
    assert np.abs(found.vectors[other[0]] - found.vectors[other[1]]).max() > 1e-3
