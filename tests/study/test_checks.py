"""What cannot train is said before anything slow starts: each fault once, and all of them."""

import io
import os
import shutil

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from orchestrator import models
from orchestrator.config.schema import TrialConfig
from orchestrator.errors import ConfigError, ModelError, ResourceError
from orchestrator.models.presets import BYTE_VOCABULARY, byte_tokenizer
from orchestrator.screen import Screen
from orchestrator.study.checks import check_names, check_settings
from orchestrator.study.model_checks import check_all_fetched, check_trainable, named_models
from orchestrator.trials import Trial

DATA = {
    "pool": {"reader": "builtin", "split": "pool"},
    "query": {"reader": "builtin", "split": "query"},
}
HOST = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return models.resolve("random:tiny-llama", tmp_path_factory.mktemp("store"))


def config(**sections):
    return TrialConfig.model_validate({"data": DATA, **sections})


def configured(folder, name="a-model", scorer=None, **training):
    """A trial's configuration, and the folders of the models that it names."""
    model = {"name": name, "precision": "float32"}
    generate = {"every": 5, "metrics": ["reward"], "reward_model": "scorer"} if scorer else {}
    settings = config(
        model=model, training=training, evaluation={"generate": generate},
        embedding={"model": "random:tiny-bert"},
    )  # fmt: skip
    return settings, {name: folder, "scorer": scorer}


def trial(settings):
    return Trial("trial", settings, {}, "key", "arm")


def told(pairs, **options):
    stream = io.StringIO()
    configs = [settings for settings, _ in pairs]
    folders = {name: folder for _, found in pairs for name, folder in found.items()}
    check_trainable(configs, folders.get, Screen(Console(file=stream, width=400)), **options)
    return stream.getvalue().splitlines()


def too_large(folder):
    """A model whose embeddings alone are twice this machine's memory; no weight is written."""
    width = HOST // BYTE_VOCABULARY // 2 * 2  # rotary positions come in pairs
    byte_tokenizer(64).save_pretrained(folder)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=BYTE_VOCABULARY,
        hidden_size=width,
        num_hidden_layers=0,
        num_attention_heads=1,
    )
    config.save_pretrained(folder)
    return folder


def test_the_memory_of_trials_alike_is_told_once(tiny):
    (line,) = told([configured(tiny), configured(tiny, learning_rate=1e-4)])
    assert "memory a-model" in line
    assert "GB a rank (weights" in line
    assert f"the host has {HOST / 1e9:.1f} GB" in line
    assert len(told([configured(tiny), configured(tiny, micro_batch_tokens=10**6)])) == 2


def test_trials_at_once_share_the_host_as_far_as_there_are_that_many(tiny):
    pair = [configured(tiny), configured(tiny)]
    assert "for 2 ranks" in told(pair, max_concurrent=2)[0]
    assert told(pair, max_concurrent=9) == told(pair, max_concurrent=2)
    assert "ranks" not in told(pair)[0].split("the host has")[1]


def test_weights_that_do_not_fit_are_refused_once_a_model(tiny, tmp_path):
    large = [configured(too_large(tmp_path / name), name) for name in ("large", "vast")]
    with pytest.raises(ResourceError) as caught:
        told([configured(tiny), *large, *large])
    faults = str(caught.value).splitlines()
    assert [fault.split(" do not fit")[0] for fault in faults] == [
        "model.name: the weights of large", "model.name: the weights of vast",
    ]  # fmt: skip


def test_a_model_without_an_estimate_is_let_through(tmp_path):
    mamba = AutoConfig.for_model("mamba", hidden_size=32, num_hidden_layers=1, vocab_size=259)
    byte_tokenizer(64).save_pretrained(tmp_path)
    mamba.save_pretrained(tmp_path)
    (line,) = told([configured(tmp_path)])
    assert "memory a-model" in line
    assert "unknown" in line


def test_a_reward_model_is_counted_and_what_is_none_is_refused(tiny, tmp_path):
    score = AutoConfig.from_pretrained(tiny)
    score.update({"architectures": ["LlamaForSequenceClassification"], "num_labels": 1})
    AutoModelForSequenceClassification.from_config(score).save_pretrained(tmp_path)
    byte_tokenizer(64).save_pretrained(tmp_path)
    (line,) = told([configured(tiny, scorer=tmp_path)])
    assert "reward model" in line
    with pytest.raises(ModelError, match="holds LlamaForCausalLM"):
        told([configured(tiny, scorer=tiny)])


def test_an_embedding_model_that_was_fetched_without_weights_is_refused(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "m")
    weights = load_file(tiny / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    settings = config(model={"name": "random:tiny-llama"}, embedding={"model": "owner/fetched"})
    for training in (True, False):
        with pytest.raises(ModelError, match=r"^embedding.model: .*/m lacks the weights norm.wei"):
            check_all_fetched([settings], lambda name: tmp_path / "m", training=training)


def test_every_wrong_model_name_is_said_at_once_and_once(tmp_path):
    names = {"model": {"name": "random:no"}, "embedding": {"model": "random:none"}}
    with pytest.raises(ConfigError) as caught:
        check_names([trial(config(**names))] * 2, tmp_path, None)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "embedding.model", "model.name",
    ]  # fmt: skip


def test_a_remote_store_that_is_not_there_is_said_beside_the_wrong_model_names(s3, tmp_path):
    names = {"model": {"name": "random:tiny-llama"}, "embedding": {"model": "random:tiny-bert"}}
    wrong = trial(config(**{**names, "model": {"name": "random:no"}}))
    check_names([trial(config(**names))], tmp_path, "s3://team/not-written-yet")
    with pytest.raises(ConfigError, match="2 faults") as caught:
        check_names([wrong], tmp_path, "s3://none/x")
    assert caught.value.faults[1].startswith("remote_store: s3://none/x cannot be read")


def test_what_this_machine_lacks_is_said_once(tmp_path):
    names = {"name": "random:tiny-llama", "liger": True}
    needy = config(model=names, embedding={"model": "random:tiny-bert"})
    with pytest.raises(ResourceError) as caught:
        check_settings([trial(needy)] * 2)
    assert str(caught.value).count("model.liger: true") == 1


def test_a_plan_that_follows_the_trained_model_asks_for_it_by_name():
    held_out = {"reader": "builtin", "split": "held_out"}
    searched = config(
        data=DATA | {"held_out": held_out}, arrangement={"method": "searched", "rows": 9},
        model={"name": "a-model"},
    )  # fmt: skip
    assert named_models(searched, training=False)["model.name"] == "a-model"
    assert "model.name" not in named_models(config(), training=False)
