"""The JSON schema by which editors complete, check and explain a study file."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.config.json_schema import DIALECT, study_schema
from tests.test_experiments import STUDIES


@pytest.fixture(scope="module")
def schema():
    return study_schema()


def test_every_key_has_a_description_that_leads_nowhere_else(schema):
    assert schema["$schema"] == DIALECT
    keys = {
        (section["title"], key): described.get("description", "")
        for section in (schema, *schema["$defs"].values())
        for key, described in section.get("properties", {}).items()
    }
    assert len(keys) > 200
    assert [key for key, text in keys.items() if not text.strip() or "](" in text] == []


def test_it_takes_every_study_of_experiments_and_points_at_what_is_wrong_in_one(schema):
    validator = jsonschema.Draft202012Validator(schema)
    studies = [yaml.safe_load(Path(f"experiments/{name}.yaml").read_text()) for name in STUDIES]
    assert [list(validator.iter_errors(study)) for study in studies] == [[]] * len(studies)
    wrong = json.loads(json.dumps(studies[0]))
    wrong["training"]["globl_batch"] = 4
    wrong["arrangement"]["method"] = "tam"
    wrong["sweep"] = {"parameters": {"seed": [0, 1], "training.learning_rate": []}}
    faults = {tuple(error.absolute_path) for error in validator.iter_errors(wrong)}
    empty = ("sweep", "parameters", "training.learning_rate")
    assert faults == {("training",), ("arrangement", "method"), empty}
