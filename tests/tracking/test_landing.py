"""MLflow opens on a study's answer, also where its folder was moved to."""

import json
import sqlite3
from contextlib import closing

from mlflow import server
from mlflow.tracking import MlflowClient

from orchestrator.tracking import landing_pages, view_name
from orchestrator.tracking.mirror import RUN_TAG, Mirror
from tests.tracking.fabricated import Fabricated


def test_a_moved_output_folder_opens_on_its_arms_under_the_answer_with_all_files(
    tmp_path, monkeypatch
):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record())
    Mirror(fabricated.folder).send(record)
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    client = MlflowClient(f"sqlite:///{moved / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(run for run in runs if run.data.tags[RUN_TAG] == "study")

    # What `mlflow ui` answers in that folder.
    monkeypatch.setenv(server.BACKEND_STORE_URI_ENV_VAR, client.tracking_uri)
    monkeypatch.setenv(server.ARTIFACTS_DESTINATION_ENV_VAR, str(moved / "mlartifacts"))
    monkeypatch.setenv(server.SERVE_ARTIFACTS_ENV_VAR, "true")
    asked = {"path": "summary.csv", "run_uuid": parent.info.run_id}
    answer = server.app.test_client().get("/get-artifact", query_string=asked)
    assert answer.data == b"summary.csv"

    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{view_name(record)}"])
    state = json.loads(view["state"])
    order = [f"{state['orderByKey']} ASC"]
    shown = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=order)
    assert len(shown) == len(runs) - 1, "all trials, and not their parent"
    known = {f"metrics.`{key}`" for run in shown for key in run.data.metrics}
    known |= {f"params.`{key}`" for run in shown for key in run.data.params}
    unknown = {"metrics.`query_loss_auc`", "metrics.`held_out_loss`", "metrics.`off_target_loss`"}
    assert set(state["selectedColumns"]) - known == unknown, "these trials do not measure them"
    assert state["selectedColumns"][-2:] == ["params.`seed`", "params.`arrangement.order`"]
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    note = experiment.tags["mlflow.note.content"]
    assert note.startswith("nearest_first is the best.")
    assert f"runs/{parent.info.run_id})" in note
    name, page = landing_pages(moved / "mlflow.db")[view_name(record)]
    key = f"viewStateShareKey={view_name(record)}"
    assert (name, page.startswith("#/experiments/1/runs?"), key in page) == ("tiny", True, True)


def test_a_description_that_is_too_long_is_cut_and_a_sentence_that_somebody_added_stays(tmp_path):
    fabricated = Fabricated(tmp_path / "out")

    def sent(text):
        record = fabricated.record({"mlflow.note.content": text})
        Mirror(fabricated.folder).send(record)
        client = MlflowClient(record.address(fabricated.folder))
        return client, client.get_experiment_by_name("tiny")

    _, long = sent("x" * 6000)
    note = long.tags["mlflow.note.content"]
    assert (len(note), note.startswith("xxx"), note.endswith(")")) == (5000, True, True)
    client, short = sent("A study.")
    assert short.tags["mlflow.note.content"].startswith("A study.\n\n[")
    longer = short.tags["mlflow.note.content"] + "\n\nSee the second table."
    client.set_experiment_tag(short.experiment_id, "mlflow.note.content", longer)
    assert sent("Another.")[1].tags["mlflow.note.content"] == longer


def test_a_server_that_refuses_the_page_takes_the_record_all_the_same(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record())
    client = MlflowClient(record.address(fabricated.folder))
    client.search_experiments()  # makes the tables
    with closing(sqlite3.connect(tmp_path / "out" / "mlflow.db")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON experiment_tags WHEN NEW.key LIKE "
            "'mlflow.sharedView%' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    Mirror(fabricated.folder).send(record)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "mlflow.note.content" not in experiment.tags, "which comes after what is refused"


def test_what_somebody_wrote_of_an_experiment_stays(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    record = fabricated.record()
    client = MlflowClient(record.address(fabricated.folder))
    client.create_experiment("tiny", tags={"mlflow.note.content": "mine"})
    Mirror(fabricated.folder).send(record)
    assert client.get_experiment_by_name("tiny").tags["mlflow.note.content"] == "mine"
