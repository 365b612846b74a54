"""Whatever becomes of the sender, of a trial or of a run, MLflow gets each thing once."""

from dataclasses import replace

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient

from orchestrator.tracking.mirror import RUN_TAG, Mirror
from orchestrator.training.journal import Journal
from tests.tracking.fabricated import STEPS, Fabricated
from tests.tracking.held import held, undisturbed


@pytest.mark.scenario("kill-driver", "mlflow-outage")
def test_a_sender_that_dies_at_any_request_leaves_nothing_twice_and_nothing_out(
    tmp_path, monkeypatch
):
    """Each request in turn arrives at MLflow, and its sender dies before it hears of it."""
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record())
    record.write(fabricated.folder)
    left = {"requests": 0}  # until the next death
    names = ("create_run", "log_batch", "log_inputs", "log_artifact", "set_tag", "set_terminated")

    class Killed(BaseException):
        pass

    def dying(original):
        def request(*arguments, **options):
            left["requests"] -= 1
            answer = original(*arguments, **options)
            if left["requests"] == 0:
                raise Killed
            return answer

        return request

    for name in names:
        owner = LocalArtifactRepository if name == "log_artifact" else MlflowClient
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    for left["requests"] in (1, 2, 3, 4, 5, 6, 8, 12, 20, 35):
        with pytest.raises(Killed):
            Mirror(fabricated.folder).send(record)
    monkeypatch.undo()
    Mirror(fabricated.folder).send(record)
    found = held(record.address(fabricated.folder))
    assert found == undisturbed(fabricated, tmp_path)
    assert {run["status"] for run in found.values()} == {"FINISHED"}


def test_a_trial_that_a_search_names_late_goes_on_in_the_run_that_it_had(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.record()
    Mirror(fabricated.folder).send(record)
    again = Mirror(fabricated.folder)  # of the study when it is run again
    for known in range(1, len(record.runs) + 1):
        again.send(replace(record, runs=record.runs[:known], complete=False))
    ended = fabricated.ended(record)
    ended.write(fabricated.folder)
    again.send(ended)
    assert held(record.address(fabricated.folder)) == undisturbed(fabricated, tmp_path)


def test_points_of_a_trial_that_was_twice_killed_are_not_sent_twice(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    spec, record = fabricated.specs[0], fabricated.record()
    fabricated.train(spec, 1, 3)
    Mirror(fabricated.folder).send(record)
    # The trial starts anew, and all is killed again before its first step.
    Journal(spec.folder, None).write("start", 0, steps=STEPS)
    third = Mirror(fabricated.folder)
    third.send(record)
    fabricated.train(spec, 1, STEPS)
    third.send(record)
    points = held(record.address(fabricated.folder))[spec.key]["points"]
    assert [step for key, step, *_ in points if key == "train_loss"] == [*range(1, STEPS + 1)]


@pytest.mark.scenario("kill-driver")
def test_a_kill_while_mlflow_makes_its_tables_leaves_no_half_made_database(
    tmp_path, monkeypatch, empty_database
):
    empty_database.unlink()
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record())
    record.write(fabricated.folder)

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "search_experiments", killed)
        with pytest.raises(KeyboardInterrupt):
            Mirror(fabricated.folder).send(record)
    assert not empty_database.exists()
    Mirror(fabricated.folder).send(record)
    assert held(record.address(fabricated.folder)) == undisturbed(fabricated, tmp_path)


def test_the_error_of_an_attempt_goes_when_the_trial_finishes_and_files_of_the_user_stay(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    spec, record = fabricated.specs[0], fabricated.record()
    runs = [replace(run, files=[*run.files, "error.txt"]) for run in record.runs]
    record = replace(record, runs=runs)
    fabricated.train(spec, 1, 3)
    (spec.folder / "error.txt").write_text("no space is left")
    failed = [replace(run, status="FAILED") if run.key == spec.key else run for run in runs]
    Mirror(fabricated.folder).send(replace(record, runs=failed))
    address = record.address(fabricated.folder)
    assert "error.txt" in dict(held(address)[spec.key]["files"])
    (own,) = tmp_path.rglob("mlartifacts/**/error.txt")
    own.with_name("notes.txt").write_text("written by hand")
    (spec.folder / "error.txt").unlink()
    fabricated.train_all()
    Mirror(fabricated.folder).send(fabricated.ended(record))
    files = dict(held(address)[spec.key]["files"])
    assert "error.txt" not in files
    assert {"notes.txt", "config.yaml", "losses.parquet"} < files.keys()


def test_a_trial_that_starts_again_gets_no_second_point_for_a_step(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    spec, record = fabricated.specs[0], fabricated.record()
    fabricated.train(spec, 1, 4)
    first = Mirror(fabricated.folder)
    first.send(record)
    fabricated.train(spec, 3, 5, kept_to=2)  # from a checkpoint, with new time stamps
    first.send(record)
    fabricated.train(spec, 1, STEPS)  # from the beginning, with a new driver
    Mirror(fabricated.folder).send(record)
    steps = [step for key, step, _, _ in held(record.address(fabricated.folder))[spec.key]["points"]
             if key == "train_loss"]  # fmt: skip
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.scenario("mlflow-outage")
def test_of_two_runs_that_a_lost_answer_made_one_stays(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.record()
    Mirror(fabricated.folder).send(record)
    client = MlflowClient(record.address(fabricated.folder))
    experiment = client.get_experiment_by_name("tiny").experiment_id
    child = fabricated.specs[0].key
    one = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{child}'")[0]
    client.create_run(experiment, one.info.start_time + 1, one.data.tags)
    Mirror(fabricated.folder).send(record)
    assert len(held(record.address(fabricated.folder))) == len(record.runs)
    assert client.get_run(one.info.run_id).info.lifecycle_stage == "active"


def test_a_run_that_somebody_deletes_meanwhile_is_made_again_in_full(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    spec, record, mirror = fabricated.specs[0], fabricated.record(), Mirror(fabricated.folder)
    fabricated.train(spec, 1, 3)
    mirror.send(record)
    client = MlflowClient(record.address(fabricated.folder))
    experiment = client.get_experiment_by_name("tiny").experiment_id
    run = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{spec.key}'")[0]
    client.delete_run(run.info.run_id)
    fabricated.train(spec, 4, STEPS)
    with pytest.raises(Exception, match="deleted"):
        mirror.send(record)
    mirror.send(record)
    again = held(record.address(fabricated.folder))[spec.key]["points"]
    assert [step for key, step, _, _ in again if key == "train_loss"] == list(range(1, STEPS + 1))


@pytest.mark.scenario("two-runs")
def test_two_studies_of_one_name_on_one_server_share_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MLflow puts the files of a database of one's own
    studies = [Fabricated(tmp_path / name) for name in ("mine", "yours")]
    address = f"sqlite:///{tmp_path / 'common.db'}"
    for fabricated in studies:
        fabricated.train_all()
        record = replace(fabricated.record(), uri=address)
        Mirror(fabricated.folder).send(record)
        assert replace(fabricated.record(), uri=address).id != record.id
        record.write(fabricated.folder)
        assert fabricated.record().id == record.id
    client = MlflowClient(address)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert len(runs) == 2 * (1 + len(fabricated.specs))
