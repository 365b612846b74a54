"""The plan's memory is that of the check before training, as far as the models are here."""

import io
import shutil

import pytest
from rich.console import Console
from transformers import AutoConfig

from orchestrator.estimate.memory import rank_memory, reward_parameters, trained_sizes
from orchestrator.estimate.stored import StoreLookup
from orchestrator.screen import Screen
from orchestrator.study.model_checks import check_trainable
from tests.estimate.base import config


def scored(reward_model, **sections):
    generate = {"every": 5, "metrics": ["reward"], "reward_model": str(reward_model)}
    return config(evaluation={"generate": generate}, **sections)


@pytest.fixture
def reward_model(store, tmp_path):
    """A folder with the weights of the tiny Llama that calls itself a reward model."""
    tiny = StoreLookup(store).model("random:tiny-llama")
    classifier = AutoConfig.from_pretrained(tiny)
    classifier.update({"architectures": ["LlamaForSequenceClassification"], "num_labels": 1})
    classifier.save_pretrained(tmp_path / "reward")
    shutil.copy(tiny / "model.safetensors", tmp_path / "reward")
    return tmp_path / "reward"


def test_memory_is_unknown_until_the_model_is_here_unless_it_is_a_preset(tmp_path):
    store = StoreLookup(tmp_path)
    assert rank_memory(config(model={"name": "owner/model"}), store) is None
    seven = config(model={"name": "random:llama-2-7b", "precision": "bfloat16"})
    assert rank_memory(seven, store).weights == 2 * 6_738_415_616


@pytest.mark.parametrize(("precision", "number"), [("float32", 4), ("bfloat16", 2)])
def test_a_reward_model_is_reckoned_as_by_the_check_before_training(
    store, reward_model, precision, number
):
    loaded, found = scored(reward_model, model={"precision": precision}), StoreLookup(store)
    plan = rank_memory(loaded, found)
    assert plan.reward_model == number * trained_sizes(loaded, found).parameters
    text = io.StringIO()
    check_trainable([loaded], found.model, Screen(Console(file=text, width=400)))
    assert f" {plan}; the host has" in text.getvalue()


def test_a_reward_model_that_is_not_here_yet_is_unknown_and_one_that_is_not_named_is_nothing(store):
    unread, plain = scored("owner/reward"), config()
    assert reward_parameters(unread, StoreLookup(store)) is None
    assert reward_parameters(plain, StoreLookup(store)) == 0
    assert rank_memory(unread, StoreLookup(store)) == rank_memory(plain, StoreLookup(store))
