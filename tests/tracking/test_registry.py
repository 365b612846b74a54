"""Models that are kept are registered once, under the alias of their arm."""

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.storage.files import MODEL_FOLDER
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.registry import alias
from tests.tracking.fabricated import BATCH, Fabricated
from tests.tracking.held import held


def study_with_models(output):
    fabricated = Fabricated(
        output, tracking={"register_model": "arranged"},
        training={"global_batch": BATCH, "save_model": True},
    )  # fmt: skip
    fabricated.train_all()
    for spec in fabricated.specs:
        (spec.folder / MODEL_FOLDER).mkdir()
        (spec.folder / MODEL_FOLDER / "model.safetensors").write_text(spec.trial)
    return fabricated


def test_models_are_registered_once_under_the_alias_of_their_arm(tmp_path):
    fabricated = study_with_models(tmp_path / "out")
    record = fabricated.record()
    for _ in range(2):
        Mirror(fabricated.folder).send(record)
    client = MlflowClient(record.address(fabricated.folder))
    versions = client.search_model_versions("name = 'arranged'")
    assert {version.tags["trial"] for version in versions} == {
        spec.trial for spec in fabricated.specs
    }
    assert len(versions) == len(fabricated.specs)
    for trial in fabricated.trials:
        version = client.get_model_version_by_alias("arranged", alias(trial.arm))
        run = held(record.address(fabricated.folder))
        chosen = next(each for each in fabricated.trials if each.name == version.tags["trial"])
        assert chosen.arm == trial.arm
        assert f"{MODEL_FOLDER}/model.safetensors" in dict(run[trial.key]["files"])


def test_a_sender_that_dies_before_an_alias_leaves_it_to_the_next_one(tmp_path, monkeypatch):
    fabricated = study_with_models(tmp_path / "out")
    record = fabricated.record()
    client = MlflowClient(record.address(fabricated.folder))
    arms = {alias(trial.arm) for trial in fabricated.trials}

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", killed)
        for _ in fabricated.specs:  # each sender dies between one version and its alias
            with pytest.raises(KeyboardInterrupt):
                Mirror(fabricated.folder).send(record)
    assert client.get_registered_model("arranged").aliases == {}
    for _ in range(2):
        Mirror(fabricated.folder).send(record)
        versions = client.search_model_versions("name = 'arranged'")
        newest = {}
        for version in sorted(versions, key=lambda version: int(version.version)):
            trial = next(t for t in fabricated.trials if t.name == version.tags["trial"])
            newest[alias(trial.arm)] = version.version
        assert set(newest) == arms
        assert client.get_registered_model("arranged").aliases == newest


def test_the_registry_takes_every_arm_as_an_alias(empty_database):
    client = MlflowClient(f"sqlite:///{empty_database}")
    client.create_registered_model("one")
    version = client.create_model_version("one", empty_database.parent.as_uri()).version
    for arm in ("latest", "v1", "5", "a b/c", "instance", "x" * 400):
        client.set_registered_model_alias("one", alias(arm), version)
        assert client.get_model_version_by_alias("one", alias(arm)).version == version
