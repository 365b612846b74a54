"""A study whose trained models, and the untouched one, are benchmarked once its trials are over."""

import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DataError
from orchestrator.verify import verify_measured
from tests.studies import STUDY, orchestrate, runs_of, write_study
from tests.training.evaluation.harness import ITEMS, write_tasks

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one trial of two steps, run twice."""
    folder = tmp_path_factory.mktemp("benchmarked")
    tasks = write_tasks(folder / "tasks", "colours")
    path = write_study(
        folder,
        arrangement={"method": "random", "rows": 8},
        training=STUDY["training"] | {"save_model": {"at": [1, 500]}},
        evaluation={
            "every": 2, "measures": False,
            "benchmarks": {"tasks": ["colours"], "at": [0, 1, 500], "path": str(tasks)},
        },
        sweep={},
    )  # fmt: skip
    first, again = (orchestrate("run", path, "--output", folder / "out") for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert again.returncode == 0, again.stdout + again.stderr
    return folder / "out" / "tiny", first, again


def test_each_model_is_measured_once_and_stands_beside_its_losses(study):
    folder, first, again = study
    assert "   done benchmarks                     3 models, colours" in first.stdout
    assert " reused benchmarks                     3 models, colours" in again.stdout
    (trial,) = (folder / "trials").iterdir()
    table = pq.read_table(trial / "benchmarks.parquet").to_pandas()
    assert table["step"].tolist() == [0, 1, 2]
    assert table["n"].tolist() == [len(ITEMS)] * 3
    assert "Benchmarks beside the losses" in (folder / "report" / "index.html").read_text()


def test_mlflow_has_the_scores_at_their_steps_and_the_table(study):
    folder, _, _ = study
    client, runs = runs_of(folder.parent)
    (trial,) = (folder / "trials").iterdir()
    (run,) = (run for run in runs if run.info.run_name == trial.name)
    points = client.get_metric_history(run.info.run_id, "benchmark/colours/acc")
    values = pq.read_table(trial / "benchmarks.parquet")["value"].to_pylist()
    assert [(point.step, point.value) for point in points] == list(enumerate(values))
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "benchmarks.parquet" in files


def test_the_proof_covers_the_table(study):
    folder, _, _ = study
    (trial,) = (folder / "trials").iterdir()
    assert verify_measured(folder) == [(f"trials/{trial.name}", 1)]
    table = trial / "benchmarks.parquet"
    kept = table.read_bytes()
    table.write_bytes(kept[:-1])
    ((_, fault),) = verify_measured(folder)
    assert isinstance(fault, DataError)
    table.write_bytes(kept)
