"""Files that a study names beside itself, or from the working folder."""

from pathlib import Path

import pytest

from orchestrator.config import load_study
from orchestrator.config.places import beside
from orchestrator.trials import expand

STUDY = """\
study: demo
data:
  pool: {reader: jsonl, path: data/train*.jsonl}
  query: {reader: jsonl, path: test.jsonl}
model: {name: ./model}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder beside others of the working folder, with files that a study there may name."""
    folder = tmp_path / "here" / "mine"
    for name in ("data/train1.jsonl", "test.jsonl", "model/config.json", "order.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    monkeypatch.chdir(folder.parent)
    return folder


def test_a_file_beside_its_study_is_found_from_another_folder_as_if_it_were_named_from_there(mine):
    named = STUDY.replace("data/", "mine/data/").replace("test.", "mine/test.")
    (mine / "study.yaml").write_text(STUDY)
    Path("named.yaml").write_text(named.replace("./model", "./mine/model"))
    (trial,), (same,) = (
        expand(load_study(Path(file))) for file in ("mine/study.yaml", "named.yaml")
    )
    assert (trial.config.data.query.path, trial.key) == ("mine/test.jsonl", same.key)


def test_the_study_file_comes_first_and_what_is_not_beside_it_stays_as_it_is(mine):
    Path("test.jsonl").touch()
    data = {"query": {"path": "test.jsonl"}, "pool": [{"path": "elsewhere.jsonl"}]}
    found = beside({"data": data, "model": {"name": "model"}}, mine)["data"]
    assert found == {"query": {"path": "mine/test.jsonl"}, "pool": [{"path": "elsewhere.jsonl"}]}
    assert beside({"model": {"name": "model"}}, mine) == {"model": {"name": "model"}}


def test_files_outside_the_working_folder_and_in_a_sweep_are_found_too(mine, monkeypatch):
    order, known = "arrangement.options.path", str(mine / "order.txt")
    axes = {order: ["order.txt", "other.txt"], "data.query": {"choice": [{"path": "test.jsonl"}]}}
    paired = [[{"label": "order.txt", order: "order.txt"}]]
    monkeypatch.chdir(mine / "data")
    sweep = beside({"sweep": {"parameters": axes, "paired": paired}}, mine)["sweep"]
    assert sweep["parameters"][order] == [known, "other.txt"]
    assert sweep["parameters"]["data.query"]["choice"] == [{"path": str(mine / "test.jsonl")}]
    assert sweep["paired"] == [[{"label": "order.txt", order: known}]]
