"""Sizes read from config.json alone are those of the model; what padding misleads is refused."""

import json

import peft
import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError
from orchestrator.estimate.shapes import built_sizes, llama_sizes, model_sizes
from orchestrator.models.presets import PRESETS, preset_config

LLAMAS = [name for name, preset in PRESETS.items() if preset["model_type"] == "llama"]


def sizes_of(config, folder):
    config.save_pretrained(folder)
    return model_sizes(folder)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_and_adapters_are_counted_exactly(tmp_path, model_type, tied):
    narrow = {"n_embd": 32, "n_layer": 2, "n_head": 2} if model_type == "gpt2" else {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 80,
    }  # fmt: skip
    config = AutoConfig.for_model(model_type, **narrow, vocab_size=99, tie_word_embeddings=tied)
    sizes = sizes_of(config, tmp_path)
    model = AutoModelForCausalLM.from_config(config)
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=3, target_modules="all-linear"))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert sizes.adapted(Lora(type="lora", r=3)) == trained


@pytest.mark.parametrize("preset", LLAMAS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 1}, {"head_dim": 24}],
    ids=lambda changes: next(iter(changes), "preset"),
)
def test_the_shape_of_a_llama_is_that_of_the_model_which_transformers_builds(
    tmp_path, preset, changes
):
    config = preset_config(preset)
    config.update(changes)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    built = built_sizes(tmp_path)
    assert llama_sizes(PRESETS[preset] | changes) == llama_sizes(written) == built
    assert model_sizes(tmp_path) == built


@pytest.mark.parametrize("biased", ["attention_bias", "mlp_bias"])
def test_the_biases_of_a_llama_are_counted(tmp_path, biased):
    config = preset_config("tiny-llama")
    plain = sizes_of(config, tmp_path)
    config.update({biased: True})
    sizes = sizes_of(config, tmp_path)
    model = AutoModelForCausalLM.from_config(config)
    assert sizes.parameters == sum(p.numel() for p in model.parameters()) > plain.parameters


def test_a_number_that_a_llama_leaves_to_transformers_is_its_default(tmp_path):
    preset_config("tiny-llama").save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    del written["intermediate_size"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert model_sizes(tmp_path).intermediate == AutoConfig.for_model("llama").intermediate_size


def test_the_7b_preset_has_the_published_number_of_parameters():
    assert llama_sizes(PRESETS["llama-2-7b"]).parameters == 6_738_415_616
    assert llama_sizes(PRESETS["tiny-bert"]) is None


def test_named_targets_are_those_of_peft(tmp_path):
    targets = ["q_proj", "v_proj"]
    model = AutoModelForCausalLM.from_config(preset_config("tiny-llama"))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=targets))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    sizes = sizes_of(preset_config("tiny-llama"), tmp_path)
    assert sizes.adapted(Lora(type="lora", r=8, targets=targets)) == trained


def test_a_model_without_attention_heads_has_no_estimate(tmp_path):
    mamba = AutoConfig.for_model("mamba", hidden_size=32, num_hidden_layers=1, vocab_size=99)
    assert sizes_of(mamba, tmp_path) is None


@pytest.mark.parametrize("model_type", ["rwkv", "xlstm"])
def test_a_model_that_would_read_padding_as_text_is_refused(tmp_path, model_type):
    config = AutoConfig.for_model(
        model_type, hidden_size=32, num_hidden_layers=1, num_heads=2, vocab_size=99
    )
    with pytest.raises(ModelError, match=rf"is a {model_type}, which knows no attention_mask"):
        sizes_of(config, tmp_path)
