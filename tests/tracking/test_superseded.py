"""MLflow shows a study as its file says now, and tells what an earlier file left apart."""

from dataclasses import replace

from mlflow.tracking import MlflowClient

from orchestrator.tracking import finished
from orchestrator.tracking.mirror import RUN_TAG, Mirror
from tests.tracking.fabricated import BATCH, STEPS, Fabricated
from tests.tracking.held import held

TRAINING = {"global_batch": BATCH}


def sent(fabricated):
    """What MLflow holds once the study's present record is sent."""
    record = fabricated.record()
    record.write(fabricated.folder)
    Mirror(fabricated.folder).send(record)
    return held(record.address(fabricated.folder))


def ends(runs, specs):
    return [(runs[spec.key]["status"], runs[spec.key]["tags"]["superseded"]) for spec in specs]


def test_the_parent_repeats_no_parameter_and_loses_those_that_it_had_as_tags(tmp_path):
    study = Fabricated(tmp_path / "out")
    before = sent(study)["study"]
    assert before["params"] == {}, "MLflow would never change them"
    client = MlflowClient(study.record().address(study.folder))
    (parent,) = client.search_runs(["1"], f"tags.`{RUN_TAG}` = 'study'")
    client.set_tag(parent.info.run_id, "config.seed", "0")
    client.set_tag(parent.info.run_id, "mine", "kept")
    assert sent(study)["study"]["tags"] == before["tags"] | {"mine": "kept"}


def test_what_may_change_under_a_trials_key_is_no_parameter_of_its_run(tmp_path):
    often = {"checkpoint": {"every": 3}}
    one, other = (
        Fabricated(tmp_path / "out", training=TRAINING | more).record() for more in ({}, often)
    )
    assert [run.key for run in one.runs] == [run.key for run in other.runs]
    assert [run.params for run in one.runs] == [run.params for run in other.runs]


def test_trials_of_an_earlier_study_file_are_ended_and_told_apart_until_it_returns(tmp_path):
    old = Fabricated(tmp_path / "out")
    done, killed = old.specs[:2]
    old.train(done, 1, STEPS)
    old.train(killed, 1, 2)
    assert ends(sent(old), [done, killed]) == [("FINISHED", "false"), ("RUNNING", "false")]
    new = Fabricated(tmp_path / "out", training=TRAINING | {"learning_rate": 0.5})
    new.train(new.specs[0], 1, 2)
    for _ in range(2):
        runs = sent(new)
        assert ends(runs, [done, killed]) == [("FINISHED", "true"), ("KILLED", "true")]
        assert ends(runs, new.specs[:1]) == [("RUNNING", "false")]
    runs = sent(old)
    assert ends(runs, [done, killed]) == [("FINISHED", "false"), ("RUNNING", "false")]
    assert ends(runs, new.specs[:1]) == [("KILLED", "true")]


def test_a_trial_that_a_search_has_yet_to_name_is_superseded_only_once_the_study_ended(tmp_path):
    search = {
        "search": {"type": "optuna"}, "samples": 4,
        "parameters": {"training.learning_rate": {"loguniform": [1e-5, 1e-3]}},
    }  # fmt: skip
    searched = Fabricated(tmp_path / "out", sweep=search)
    searched.train_all()
    record = searched.record()
    assert not record.complete
    mirror, address = Mirror(searched.folder), record.address(searched.folder)
    first, *others = record.runs[1:]
    mirror.send(replace(record, complete=True))
    again = replace(record, runs=record.runs[:2])
    mirror = Mirror(searched.folder)  # of the study when it is run again
    mirror.send(again)
    tags = {key: run["tags"].get("superseded") for key, run in held(address).items()}
    assert {tags[run.key] for run in record.runs[1:]} == {"false"}
    metrics = {first.name: {}}
    endings = {first.name: {"ended": "finished", "precision": "float32"}}
    mirror.send(finished(again, [], {}, endings, metrics, description=""))
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    marked = client.search_runs([experiment], "tags.superseded = 'true'")
    assert {run.data.tags[RUN_TAG] for run in marked} == {run.key for run in others}
