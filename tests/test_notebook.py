"""The notebook of experiments/ runs from its first cell to its last, and is committed as run."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.waiting import PATIENCE

FOLDER = Path("experiments")
NOTEBOOK = FOLDER / "arrange_texts.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def streams(notebook, name):
    return "".join(
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == name
    )


def precisions(study):
    """In which arithmetic the trials of a study computed; `auto` hangs on the machine."""
    results = study.glob("trials/*/result.json")
    return {json.loads(path.read_text())["precision"] for path in results}


@pytest.mark.ray
@pytest.mark.slow
def test_the_notebook_runs_without_an_error_and_shows_its_pictures_and_its_study(tmp_path):
    for path in FOLDER.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=PATIENCE,
        startup_timeout=PATIENCE,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert pictures(notebook) == 3
    assert streams(notebook, "stderr") == "", "what libraries say is in the log"
    shown = streams(notebook, "stdout")
    assert "one set: True" in shown
    assert "3 finished" in shown
    assert "pid=" not in shown, "what workers say is in the log"
    study = tmp_path / "outputs" / "notebook"
    log = (study / "logs" / "run.log").read_text()
    assert "(trainable pid=" in log
    assert ("begin bf16_optimizer" in log) == (precisions(study) == {"bfloat16"}), "as they compute"
    assert "orchestrator run outputs/notebook/study.yaml" in (study / "run.json").read_text()
    assert (tmp_path / "outputs" / "nearest_first.parquet").is_file()


def test_the_notebook_is_committed_as_run_from_top_to_bottom_without_paths_of_a_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert pictures(notebook) == 3
    assert streams(notebook, "stderr") == ""
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert [place for place in ("/home", "/root", "/tmp", "site-packages") if place in text] == []
