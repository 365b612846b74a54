"""A model that was trained comes back from its files as the same model."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator import models
from orchestrator.config.training import Model, Training
from orchestrator.errors import TrainingError
from orchestrator.storage.artifacts import sound
from orchestrator.training.device import init_distributed, pick_device
from orchestrator.training.engine import build_engine, deepspeed_config, update
from orchestrator.training.export import save_trained
from orchestrator.training.model import load_model
from tests.training.launch import launch

LORA = {"type": "lora", "r": 4}
NAMED = Model(name="owner/model", revision="step3000")
IDS = torch.arange(3, 43).reshape(2, 20)


def train_and_save(model_path, folder, adapter, zero_stage, rank):
    """One rank: two steps, then the files and, on rank 0, the logits of what was trained."""
    init_distributed(gpu=False)
    device = pick_device("float32", gpu=False)
    model = Model.model_validate({"adapter": adapter, "gradient_checkpointing": True})
    training = Training(zero_stage=zero_stage, learning_rate=1e-2)
    torch.manual_seed(0)
    module = load_model(model_path, model, device, deepspeed_config(training, device))
    engine = build_engine(module, training, device, seed=0)
    # The second step moves LoRA's A, whose gradient is 0 while B is.
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(
            engine(input_ids=IDS, use_cache=False).logits.transpose(1, 2), IDS
        )
        engine.backward(loss)
        update(engine, training, device, 1e-2)
    save_trained(engine, folder, model_path, NAMED)
    engine.eval()
    with torch.no_grad():
        logits = engine(input_ids=IDS, use_cache=False).logits
    if rank == 0:
        torch.save(logits, folder.parent / "logits.pt")


def reloaded(model_path, folder, adapter):
    if adapter == "none":
        return AutoModelForCausalLM.from_pretrained(folder)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_path), folder)


@pytest.mark.parametrize(
    ("adapter", "zero_stage", "ranks"),
    [
        ("none", 0, 1),
        (LORA, 0, 1),
        pytest.param("none", 3, 2, marks=pytest.mark.slow),
        pytest.param(LORA, 3, 2, marks=pytest.mark.slow),
    ],
)
def test_what_was_trained_comes_back_with_equal_logits(
    shared, tmp_path, adapter, zero_stage, ranks
):
    folder = tmp_path / "trial" / "model"
    train = partial(train_and_save, shared.model, folder, adapter, zero_stage)
    launch(ranks=ranks, prepare=train)
    with torch.no_grad():
        found = reloaded(shared.model, folder, adapter)(input_ids=IDS).logits
        untouched = AutoModelForCausalLM.from_pretrained(shared.model)(input_ids=IDS).logits
    torch.testing.assert_close(found, torch.load(tmp_path / "trial" / "logits.pt"))
    assert (found - untouched).abs().max() > 0.1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(shared.model).get_vocab()
    assert sound(folder)
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt")]
    if adapter == "none":  # a model for another study
        models.validate_name(str(folder))
    else:
        weights = load_file(folder / "adapter_model.safetensors")
        assert all("lora_" in name and weight.any() for name, weight in weights.items())


def saved(module, folder, model_path):
    init_distributed(gpu=False)
    save_trained(SimpleNamespace(module=module), folder, model_path, NAMED)


@pytest.mark.parametrize("adapter", ["none", LORA])
def test_no_file_names_the_folder_that_the_model_was_loaded_from(shared, tmp_path, adapter):
    device = pick_device("float32", gpu=False)
    module = load_model(shared.model, Model.model_validate({"adapter": adapter}), device)
    saved(module, tmp_path / "model", shared.model)
    if adapter != "none":
        config = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (
            "owner/model",
            "step3000",
        )
    for path in (tmp_path / "model").iterdir():
        assert str(shared.model).encode() not in path.read_bytes(), path.name


def test_tied_weights_are_written_once(shared, tmp_path):
    config = AutoModelForCausalLM.from_pretrained(shared.model).config
    config.tie_word_embeddings = True
    module = AutoModelForCausalLM.from_config(config)
    saved(module, tmp_path / "model", shared.model)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")
    assert torch.equal(again.lm_head.weight, module.lm_head.weight)


def test_an_older_model_of_the_trial_is_replaced(shared, tmp_path):
    module = AutoModelForCausalLM.from_pretrained(shared.model)
    saved(module, tmp_path / "model", shared.model)
    torch.nn.init.ones_(module.lm_head.weight)
    saved(module, tmp_path / "model", shared.model)
    assert load_file(tmp_path / "model" / "model.safetensors")["lm_head.weight"].eq(1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_empty_weight_is_an_error_and_leaves_no_folder(shared, tmp_path):
    device = pick_device("float32", gpu=False)
    module = load_model(shared.model, Model.model_validate({"adapter": LORA}), device)
    name, weight = next((n, p) for n, p in module.named_parameters() if p.requires_grad)
    weight.data = torch.empty(0)
    with pytest.raises(TrainingError, match=name):
        saved(module, tmp_path / "model", shared.model)
    assert list(tmp_path.iterdir()) == []
