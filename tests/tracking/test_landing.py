"""MLflow opens on a study's answer, also where its folder was moved to."""

import json

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


def test_what_somebody_wrote_of_an_experiment_stays(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    record = fabricated.record()
    client = MlflowClient(record.address(fabricated.folder))
    client.create_experiment("tiny", tags={"mlflow.note.content": "mine"})
    Mirror(fabricated.folder).send(record)
    assert client.get_experiment_by_name("tiny").tags["mlflow.note.content"] == "mine"
