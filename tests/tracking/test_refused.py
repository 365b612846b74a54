"""Settings under which MLflow cannot get the record, or its models, are refused at once."""

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.errors import ConfigError, DataError
from orchestrator.storage.files import TRACKING_FILE
from orchestrator.study.run import run_study
from orchestrator.tracking import sync
from orchestrator.tracking.record import read_record
from tests.tracking.fabricated import Fabricated, study_in
from tests.tracking.held import held


@pytest.mark.scenario("mlflow", "secrets")
@pytest.mark.parametrize(
    ("tracking", "sentence"),
    [
        ({"uri": "htp://127.0.0.1"}, "type the address of an MLflow server"),
        ({"uri": "file:///tmp/mlruns"}, "type the address of an MLflow server"),
        ({"uri": "mlruns"}, "type the address of an MLflow server"),
        ({"uri": "http://me:hunter2@127.0.0.1:5000"}, "MLFLOW_TRACKING_USERNAME"),
        ({"uri": "http://hunter2@127.0.0.1:5000"}, "MLFLOW_TRACKING_USERNAME"),
        ({"uri": "postgresql://me:hunter2@host/mlflow"}, "PGPASSWORD"),
        ({"uri": "https://host:5000/?token=hunter2"}, "leave token=... out"),
        ({"uri": "mysql+pymysql://me@host/mlflow?ssl=1&password=hunter2"}, "password=... out"),
        ({"register_model": "a/b"}, "tracking.register_model"),
        ({"register_model": "it's"}, "tracking.register_model"),
        ({"register_model": "back\\"}, "tracking.register_model"),
    ],
)
def test_an_address_that_cannot_work_or_holds_a_password_is_refused(tracking, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence) as refused:
        study_in(tmp_path / "out", tracking=tracking)
    assert "hunter2" not in str(refused.value)


def test_a_deleted_experiment_is_told_with_its_remedy_and_taken_up_once_restored(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.record()
    record.write(fabricated.folder)
    client = MlflowClient(record.address(fabricated.folder))
    experiment = client.create_experiment("tiny", tmp_path.as_uri())
    client.delete_experiment(experiment)
    unsent = sync(fabricated.folder)
    assert unsent.runs == len(record.runs)
    assert f"mlflow experiments restore -x {experiment}" in unsent.reason
    assert "tracking.experiment" in unsent.reason
    client.restore_experiment(experiment)
    assert sync(fabricated.folder) is None
    assert len(held(record.address(fabricated.folder))) == len(record.runs)


def test_models_that_nobody_keeps_are_not_registered(tmp_path):
    register = {"register_model": "arranged"}
    axis = {"parameters": {"training.save_model": {"grid": [True, False]}}}
    study = study_in(tmp_path / "out", tracking=register, sweep=axis)
    with pytest.raises(ConfigError, match=r"not every trial keeps its model: set training\."):
        run_study(study)
    assert not (tmp_path / "out" / "store").exists()


@pytest.mark.parametrize("left", ["", '{"id": "a", "runs": [{"na', '{"runs": [{}]}', "[]"])
def test_a_damaged_record_is_told_with_its_path_and_what_to_do(tmp_path, left):
    (tmp_path / TRACKING_FILE).write_text(left)
    with pytest.raises(DataError, match=rf"{TRACKING_FILE} is damaged .* run the study's command"):
        read_record(tmp_path)
