"""What a folder says that an adapter belongs to."""

import json

import pytest

from orchestrator.errors import ModelError
from orchestrator.models.adapter import adapter_base


def adapter(folder, base, weights="adapter_model.safetensors", **told):
    named = {"base_model_name_or_path": base, **told}
    (folder / "adapter_config.json").write_text(json.dumps(named))
    (folder / weights).touch()
    return folder


def test_an_adapter_names_its_model_and_other_folders_none(tmp_path):
    assert adapter_base(tmp_path) is None
    assert adapter_base(adapter(tmp_path, "smollm2-135m")) == "smollm2-135m"
    (tmp_path / "config.json").touch()
    assert adapter_base(tmp_path) is None, "a whole model, which `check_folder` judges"


@pytest.mark.parametrize(
    ("base", "revision", "named"),
    [
        ("owner/model", "step3000", "owner/model@step3000"),
        ("owner/model", None, "owner/model"),
        ("owner/model@step1", None, "owner/model@step1"),
        ("smollm2-135m", "main", "smollm2-135m"),
        ("random:tiny-llama", "main", "random:tiny-llama"),
    ],
)
def test_a_model_of_the_hub_is_named_at_the_revision_that_was_trained(
    tmp_path, base, revision, named
):
    assert adapter_base(adapter(tmp_path, base, revision=revision)) == named


@pytest.mark.scenario("weights")
def test_pickled_weights_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors.* can run code"):
        adapter_base(adapter(tmp_path, "smollm2-135m", "adapter_model.bin"))


@pytest.mark.parametrize("base", [None, "", "/no/such/folder", "random:none"])
def test_an_adapter_of_a_model_that_cannot_be_had_is_told_how_to_name_one(tmp_path, base):
    with pytest.raises(ModelError, match="into base_model_name_or_path"):
        adapter_base(adapter(tmp_path, base))
