"""What is loaded can be trained, and is the same model whichever way it is loaded."""

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from orchestrator.config.training import Model
from orchestrator.errors import ModelError
from orchestrator.models.presets import PRESETS
from orchestrator.training.device import pick_device
from orchestrator.training.model import load_model

LORA = {"type": "lora", "r": 4}
IDS = torch.arange(3, 43).reshape(2, 20)


def load(path, precision="float32", **settings):
    torch.manual_seed(0)
    device = pick_device(precision, gpu=False)
    return load_model(path, Model.model_validate(settings), device)


def logits(module):
    return module(input_ids=IDS).logits.detach()


def trained(module):
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def gradients(module):
    loss = torch.nn.functional.cross_entropy(module(input_ids=IDS).logits.transpose(1, 2), IDS)
    loss.backward()
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


def test_without_an_adapter_every_weight_is_trained(shared):
    module = load(shared.model)
    assert module.training
    assert (
        trained(module).keys() == dict(module.named_parameters()).keys() == gradients(module).keys()
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_adapter_alone_is_trained_and_starts_as_the_untouched_model(shared, precision):
    base, adapted = (load(shared.model, precision, adapter=a) for a in ("none", LORA))
    assert torch.equal(logits(adapted), logits(base))
    names = gradients(adapted).keys()
    assert names == trained(adapted).keys()
    # The output layer is not among a Llama's adapted layers: 7 projections, two matrices each.
    layers = PRESETS["tiny-llama"]["num_hidden_layers"]
    assert len(names) == 2 * 7 * layers
    assert all("lora_" in name for name in names)
    dtypes = {"lora_" in name: p.dtype for name, p in adapted.named_parameters()}
    assert dtypes == {False: getattr(torch, precision), True: torch.float32}


def test_an_adapter_is_drawn_alike_in_every_arithmetic(shared):
    whole, rounded = (trained(load(shared.model, p, adapter=LORA)) for p in ("float32", "bfloat16"))
    assert all(torch.equal(whole[name], rounded[name]) for name in whole)
    matrix = next(weight for name, weight in rounded.items() if "lora_A" in name)
    assert not torch.equal(matrix.bfloat16().float(), matrix), "it was not rounded on the way"


def test_an_adapter_is_drawn_from_the_seed_alone_whatever_came_before(shared):
    def drawn(seed, numbers):
        torch.manual_seed(seed)
        torch.rand(numbers)
        device = pick_device("float32", gpu=False)
        return trained(load_model(shared.model, Model.model_validate({"adapter": LORA}), device))

    first, again, other = drawn(1, 0), drawn(1, 9), drawn(2, 0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("adapter", ["none", LORA])
@pytest.mark.parametrize("change", [{"gradient_checkpointing": True}, {"attention": "eager"}])
def test_memory_and_kernels_change_no_gradient(shared, adapter, change):
    plain = gradients(load(shared.model, adapter=adapter))
    changed = gradients(load(shared.model, adapter=adapter, **change))
    assert plain.keys() == changed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(changed[name], gradient, rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=8)
@given(st.sets(st.sampled_from(["q_proj", "v_proj", "up_proj", "lm_head"]), min_size=1))
def test_exactly_the_named_layers_are_adapted(shared, targets):
    module = load(shared.model, adapter={**LORA, "targets": sorted(targets)})
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in trained(module)}
    assert adapted == targets


def test_a_layer_that_the_model_lacks_is_refused_even_beside_one_that_it_has(shared):
    with pytest.raises(ModelError, match=r"no linear layer query.*q_proj"):
        load(shared.model, adapter={**LORA, "targets": ["v_proj", "query"]})


def test_the_linear_layers_of_gpt2_are_layers(shared, tmp_path):
    config = AutoConfig.for_model("gpt2", n_embd=32, n_layer=2, n_head=2, vocab_size=260)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(shared.model).save_pretrained(tmp_path)
    module = load(tmp_path, adapter={**LORA, "targets": ["c_attn"]})
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in trained(module)} == {"c_attn"}
    with pytest.raises(ModelError, match=r"no linear layer q_proj.*c_attn"):
        load(tmp_path, adapter={**LORA, "targets": ["q_proj"]})


@pytest.mark.parametrize("tied", [False, True])
def test_only_tied_weights_may_be_missing(shared, tmp_path, tied):
    folder = tmp_path / "model"
    shutil.copytree(shared.model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if tied:
        module = load(folder)
        assert module.lm_head.weight is module.model.embed_tokens.weight
    else:
        with pytest.raises(ModelError, match=r"lacks the weights lm_head\.weight: random"):
            load(folder)


def test_compiling_keeps_the_names_of_the_weights(shared):
    compiled, plain = load(shared.model, compile=True), load(shared.model)
    assert compiled._compiled_call_impl is not None
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_folder_that_asks_for_its_own_code_is_refused(shared, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(shared.model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Mine"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="auto_map"):
        load(folder)
