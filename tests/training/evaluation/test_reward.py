"""Rewards of both layouts equal a computation by hand, one text at a time."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
)

from orchestrator.errors import ModelError
from orchestrator.training.device import Device
from orchestrator.training.evaluation.reward import check_reward_model, parameter_count, rewards

CPU = Device(torch.device("cpu"), torch.float32)
PROMPTS = ["What is the capital of France?", "2 + 2 =", "Sort: b, a"]
ANSWERS = ["Paris", "the number four", ""]
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"


@pytest.fixture
def classifier(shared, tmp_path):
    """Writes a tiny classifier with the byte tokenizer; settings are its configuration's."""

    def make(chat_template=None, **settings):
        torch.manual_seed(3)
        config = LlamaConfig.from_pretrained(shared.model, num_labels=1)
        config.update(settings)
        LlamaForSequenceClassification(config).save_pretrained(tmp_path / "reward")
        tokenizer = AutoTokenizer.from_pretrained(shared.model)
        tokenizer.chat_template = chat_template
        tokenizer.save_pretrained(tmp_path / "reward")
        return tmp_path / "reward"

    return make


@pytest.fixture
def ultra(shared, tmp_path):
    """A tiny model in UltraRM's layout: a Llama's weights beside `regression_head.weight`."""
    torch.manual_seed(4)
    backbone = LlamaModel(LlamaConfig.from_pretrained(shared.model))
    folder = tmp_path / "ultra"
    backbone.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    named = {f"model.{name}": value for name, value in weights.items()}
    named["regression_head.weight"] = torch.randn(1, 64)
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(shared.model).save_pretrained(folder)
    return folder


def classify_one_by_one(folder, texts):
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            found.append(float(hidden @ model.score.weight[0]))
    return found


@pytest.mark.parametrize("pad_token_id", [0, None])
@pytest.mark.parametrize("token_budget", [1, 10_000])
def test_a_classifier_scores_prompt_and_answer_with_or_without_padding(
    classifier, pad_token_id, token_budget
):
    folder = classifier(pad_token_id=pad_token_id)
    texts = [f"{p} {a}".strip() for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    found = rewards(folder, PROMPTS, ANSWERS, token_budget, CPU)
    np.testing.assert_allclose(found, classify_one_by_one(folder, texts), rtol=1e-4, atol=1e-6)
    assert len(set(found.round(6))) == len(texts)


def test_a_model_with_a_chat_template_reads_the_conversation_in_it(classifier):
    folder = classifier(chat_template=CHAT, pad_token_id=0)
    pairs = zip(PROMPTS, ANSWERS, strict=True)
    texts = [f"<user>{prompt}</s><assistant>{answer}</s>" for prompt, answer in pairs]
    found = rewards(folder, PROMPTS, ANSWERS, 10_000, CPU)
    np.testing.assert_allclose(found, classify_one_by_one(folder, texts), rtol=1e-4, atol=1e-6)


def test_of_a_text_too_long_for_the_model_the_end_is_read(classifier):
    folder = classifier(max_position_embeddings=8, pad_token_id=0)
    found = rewards(folder, ["a long prompt"], ["answered"], 10_000, CPU)
    assert found == pytest.approx(classify_one_by_one(folder, ["answered"]), rel=1e-4)


@pytest.mark.parametrize("token_budget", [1, 10_000])
def test_ultra_rm_is_a_llama_with_a_linear_layer_on_the_last_token(ultra, token_budget):
    weights = load_file(ultra / "model.safetensors")
    head = weights.pop("regression_head.weight")
    backbone = LlamaModel(LlamaConfig.from_pretrained(ultra))
    backbone.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
    tokenizer = AutoTokenizer.from_pretrained(ultra)
    expected = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        text = f"Human: {prompt}\n\nAssistant: {answer}"
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected.append(float(head[0] @ backbone(input_ids=ids).last_hidden_state[0, -1]))
    found = rewards(ultra, PROMPTS, ANSWERS, token_budget, CPU)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert rewards(ultra, [], [], token_budget, CPU).shape == (0,)


def test_what_is_no_reward_model_is_refused_before_it_is_loaded(shared, classifier, ultra):
    check_reward_model(ultra)
    with pytest.raises(ModelError, match="holds LlamaForCausalLM"):
        check_reward_model(shared.model)
    with pytest.raises(ModelError, match="with 3 labels"):
        check_reward_model(classifier(num_labels=3))


def test_the_weights_of_either_layout_are_counted_from_their_files(classifier, ultra):
    model = LlamaForSequenceClassification.from_pretrained(classifier())
    assert parameter_count(classifier()) == sum(p.numel() for p in model.parameters())
    backbone = LlamaModel.from_pretrained(ultra)
    assert parameter_count(ultra) == sum(p.numel() for p in backbone.parameters()) + 64


def test_a_reward_model_that_lacks_weights_is_not_filled_with_random_ones(classifier):
    folder = classifier(pad_token_id=0)
    check_reward_model(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks the weights score\.weight"):
        rewards(folder, PROMPTS, ANSWERS, 100, CPU)
