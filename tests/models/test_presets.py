import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.models import resolve
from orchestrator.models.presets import byte_tokenizer, preset_config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tokenizer(store):
    return AutoTokenizer.from_pretrained(resolve("random:tiny-llama", store))


@given(st.text())
def test_any_text_comes_back_from_its_tokens(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.parametrize(
    "text",
    ["line\r\n\n  two\t", " leading and trailing ", "👩‍👩‍👧 ünï 漢字 \u202e", "<s>a</s>", "\x00"],
)
def test_hard_texts_come_back_from_their_tokens(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_plain_text_has_one_token_a_byte_and_no_special_ones(tokenizer):
    text = "ab ü\n"
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text.encode())
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert len(set(tokenizer.all_special_ids)) == 3


def test_tiny_llama_loads_and_fits_its_tokenizer(store, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(resolve("random:tiny-llama", store))
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(tokenizer)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    for role in ("pad_token_id", "bos_token_id", "eos_token_id"):
        assert getattr(model.config, role) == getattr(tokenizer, role)
    logits = model(**tokenizer("a text", return_tensors="pt")).logits
    assert logits.shape == (1, 6, len(tokenizer))
    assert logits.std() > 0


def test_making_a_model_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    resolve("random:tiny-llama", tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_making_a_model_prints_nothing(tmp_path, capfd):
    resolve("random:tiny-llama", tmp_path)
    resolve("random:tiny-bert", tmp_path)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_llama_2_7b_has_the_published_shape():
    config = preset_config("llama-2-7b")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_738_415_616
    assert model.model.layers[31].mlp.up_proj.weight.shape == (11_008, 4096)
    assert config.dtype == torch.bfloat16
    assert (config.max_position_embeddings, config.rms_norm_eps) == (4096, 1e-5)
    assert config.vocab_size >= len(byte_tokenizer(4096))


def test_tiny_bert_embeds_texts_as_unit_vectors_that_depend_on_the_text(store):
    model = SentenceTransformer(str(resolve("random:tiny-bert", store)), device="cpu")
    texts = ["", "a", "a longer text 👋", "x" * 2000]
    vectors = model.encode(texts)
    assert vectors.shape == (4, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len({vector.tobytes() for vector in vectors}) == len(texts)
    np.testing.assert_allclose(model.encode(texts[:2]), vectors[:2], atol=1e-5)
