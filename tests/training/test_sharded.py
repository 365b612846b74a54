"""On two ranks in bfloat16: weights that are really shared out, and states that are offloaded.

DeepSpeed keeps small tensors whole on every rank: without a threshold of 0, ZeRO 3 would share out
nothing of a tiny model.
"""

from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from orchestrator.storage.artifacts import sound
from orchestrator.training import start
from orchestrator.training.outcome import read_outcome
from tests.training.launch import launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:18]
SHARED_OUT = {
    "zero_stage": 3,
    "deepspeed": {"zero_optimization": {"stage3_param_persistence_threshold": 0}},
}
LORA = {"type": "lora", "r": 4}
SAVED = {"at": [1, 2, 3]}  # of three steps
# Name -> adapter, gradient checkpointing, and what is set of the training.
TRIALS = {
    "full": ("none", False, {"zero_stage": 1}),
    "adapter": (LORA, False, {"zero_stage": 1}),
    "full, optimizer offloaded": ("none", False, {"zero_stage": 2, "offload": "optimizer"}),
    "full, shared out": ("none", True, SHARED_OUT),
    "adapter, shared out": (LORA, True, SHARED_OUT),
    "full, parameters offloaded": ("none", False, SHARED_OUT | {"offload": "parameters"}),
}


def see_partitions(_rank):
    """A trial under ZeRO 3 ends if a rank holds any weight whole."""

    def build_engine(model, training, *args):
        engine = real(model, training, *args)
        if training.zero_stage == 3:
            weights = dict(engine.module.named_parameters())
            whole = [
                name for name, weight in weights.items() if weight.ds_persist or weight.numel()
            ]
            assert weights
            assert not whole
        return engine

    real = start.build_engine
    mock.patch.object(start, "build_engine", build_engine).start()


@pytest.fixture(scope="module")
def trained(make_module_spec):
    """All trials, one after the other in one launch of two ranks."""
    specs = {
        name: make_module_spec(
            ROWS,
            name,
            model={
                "precision": "bfloat16",
                "adapter": adapter,
                "gradient_checkpointing": checkpointing,
            },
            training={"global_batch": 6, "learning_rate": 1e-3, "save_model": SAVED} | training,
            evaluation={"every": 3, "generate": {"every": 3, "max_new_tokens": 4}},
        )
        for name, (adapter, checkpointing, training) in TRIALS.items()
    }
    launch(*specs.values(), ranks=2, prepare=see_partitions)
    return specs


def table(spec, name):
    return pq.read_table(spec.folder / f"{name}.parquet")


def exported(spec, place):
    (file,) = (spec.folder / place).glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("name", list(TRIALS)[2:])
def test_what_is_shared_out_or_offloaded_is_trained_alike(trained, name):
    spec, whole = trained[name], trained[name.split(",")[0]]
    losses = [table(each, "train_log")["loss"].to_numpy() for each in (spec, whole)]
    np.testing.assert_allclose(*losses, rtol=0, atol=5e-3)
    tests = [table(each, "losses")["loss"].to_numpy() for each in (spec, whole)]
    np.testing.assert_allclose(*tests, rtol=0, atol=2e-2)
    results = [read_outcome(each.folder, each.key).result for each in (spec, whole)]
    assert results[0]["order_sha256"] == results[1]["order_sha256"]


@pytest.mark.parametrize("name", list(TRIALS)[2:])
def test_its_ranks_answer_every_prompt_together(trained, name):
    spec, whole = trained[name], trained[name.split(",")[0]]
    answers, others = (table(each, "generations") for each in (spec, whole))
    assert answers["id"].equals(others["id"])
    assert answers["prediction"].is_valid().equals(others["prediction"].is_valid())
    assert answers["prediction"].null_count < len(answers)
    # Untouched weights answer alike, but where rounding decides between two tokens.
    first = [texts["prediction"].to_pylist()[: len(texts) // 2] for texts in (answers, others)]
    assert np.mean([ours == theirs for ours, theirs in zip(*first, strict=True)]) > 0.9


@pytest.mark.parametrize("name", TRIALS)
def test_models_of_its_steps_differ_and_the_last_is_the_one_at_the_end(trained, name):
    folder = trained[name].folder
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["step-1", "step-2"]
    places = ["models/step-1", "models/step-2", "model"]
    assert all(sound(folder / place) for place in places)
    first, second, last = (exported(trained[name], place) for place in places)
    assert first.keys() == second.keys() == last.keys()
    assert any(not torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(second[key], last[key]) for key in first)


@pytest.mark.parametrize("place", ["models/step-2", "model"])
@pytest.mark.parametrize("name", list(TRIALS)[2:])
def test_its_export_is_whole_and_what_was_trained(trained, shared, name, place):
    spec, whole = trained[name], trained[name.split(",")[0]]
    weights, others = exported(spec, place), exported(whole, place)
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in others.items()}
    for key, weight in weights.items():
        torch.testing.assert_close(weight, others[key], rtol=0.02, atol=0.01)
    base = AutoModelForCausalLM.from_pretrained(shared.model, dtype=torch.bfloat16)
    before = {key: weight.clone() for key, weight in base.state_dict().items()}
    if name.startswith("adapter"):
        loaded = PeftModel.from_pretrained(base, spec.folder / place).merge_and_unload()
    else:
        loaded = AutoModelForCausalLM.from_pretrained(spec.folder / place, dtype=torch.bfloat16)
    moved = [
        key for key, value in loaded.state_dict().items() if not torch.equal(value, before[key])
    ]
    assert len(moved) > len(before) // 2
