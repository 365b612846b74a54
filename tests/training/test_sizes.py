"""Sizes read from config.json alone are those of the model; what padding misleads is refused."""

import peft
import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError
from orchestrator.models.presets import preset_config
from orchestrator.training.sizes import model_sizes


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


def test_named_targets_are_those_of_peft(shared):
    targets = ["q_proj", "v_proj"]
    model = AutoModelForCausalLM.from_config(preset_config("tiny-llama"))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=targets))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    sizes = model_sizes(shared.model)
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
