"""Further right answers are fetched for a study that generates answers, and for no other."""

import io
import json

import numpy as np
import yaml
from rich.console import Console

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.data import references
from orchestrator.screen import Screen
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import expand
from tests.data.conftest import row
from tests.studies import STUDY


def configured(tmp_path, data, every):
    sources = {"query": {"reader": "jsonl", "path": str(tmp_path / "query.jsonl"), **data}}
    study = {
        **{key: value for key, value in STUDY.items() if key != "sweep"},
        "data": {"pool": STUDY["data"]["pool"], **sources},
        "evaluation": {"generate": {"every": every}},
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return load_study(tmp_path / "study.yaml")


def test_references_of_test_items_are_made_where_answers_are_generated_alone(tmp_path):
    items = [{**row(i), "also": also} for i, also in enumerate([["yes", "Sure"], None, []])]
    lines = "".join(json.dumps(item) + "\n" for item in items)
    (tmp_path / "query.jsonl").write_text(lines)
    made, plain = {"fields": {"references": "also"}}, {}
    found = {}
    with Screen(Console(file=io.StringIO())) as screen:
        for name, data, every in [("asked", made, 1), ("silent", made, None), ("one", plain, 1)]:
            study = configured(tmp_path, data, every)
            ((trial,), pipeline) = expand(study), Pipeline(Layout.of(study), screen)
            found[name] = pipeline.references(trial.config)
            rows = pipeline.dataset(trial.config).info["splits"]["pool"]["instances"] + np.arange(3)
    assert found["silent"] is None
    assert found["one"] is None
    answers = references.load(found["asked"].path, rows, ["yes"] * 3)
    assert answers == [("yes", "Sure"), ("yes",), ("yes",)]
