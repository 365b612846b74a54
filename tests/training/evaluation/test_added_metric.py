"""A text metric is added by one row of one table: all that knows metrics takes it from there."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.training.conftest import DATA

pytestmark = pytest.mark.slow

# In a process of its own, because the table is read where its readers are first imported.
PROGRAM = """
import json, pickle, sys
from dataclasses import replace
from pathlib import Path

from orchestrator.core.text_metrics import TEXT_METRICS, TextMetric

TEXT_METRICS["gap"] = TextMetric("Gap in length", lambda told, asked: float(len(told) - len(asked)))

import pyarrow.parquet as pq

from orchestrator.config import load_study
from orchestrator.report.arms import group_arms
from orchestrator.report.generations import generation_panels
from orchestrator.report.read import Trial
from orchestrator.tracking.points import points
from orchestrator.training.journal import read_journal
from orchestrator.training.loop import run_trial
from orchestrator.trials import expand

study, pickled = map(Path, sys.argv[1:])
spec = replace(pickle.loads(pickled.read_bytes()), config=expand(load_study(study))[0].config)
run_trial(spec)
table = pq.read_table(spec.folder / "generations.parquet")
trial = Trial({"trial": "a", "arm": "a", "status": "finished"}, {}, {"generations": table}, [])
print(json.dumps({
    "lines": table.to_pylist(),
    "curves": sorted({point.key for event in read_journal(spec.folder) for point in points(event)}),
    "titles": [panel.title for panel in generation_panels(group_arms([trial]))],
}))
"""


def test_a_metric_in_the_table_is_asked_for_computed_stored_and_titled(make_spec, tmp_path):
    generate = {"every": 1, "max_new_tokens": 4, "metrics": ["gap"]}
    study = {
        "study": "added",
        "data": DATA,
        "training": {"global_batch": 6},
        "evaluation": {"generate": generate},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    spec = make_spec(np.arange(6))
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "study.yaml", tmp_path / "spec"],
        env=os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert {line["step"] for line in seen["lines"]} == {0, 1}
    for line in seen["lines"]:
        assert line["gap"] == len(line["prediction"]) - len(line["reference"])
        assert line["exact_match"] is None, "it was not asked for"
    assert {"query_gap", "held_out_gap"} <= set(seen["curves"])
    assert seen["titles"] == ["Gap in length, query set", "Gap in length, held-out set"]
