"""Every reader's section of the study file, as it is written and as digests of data sets see it."""

import json
import subprocess
import sys

import pytest

from orchestrator.config.sources import READERS, find_reader
from tests.data.conftest import source

SHARED = {
    "max_per_task": None, "seed": None, "max_turns": 1, "max_chars": None, "too_long": "drop",
    "tasks": {"include": ["*"], "exclude": []}, "bad_records": "error",
}  # fmt: skip
FIELDS = {
    "fields": {
        "id": "id", "task": "task", "prompt": "prompt", "completion": "completion",
        "separator": "\n\n", "messages": None,
    }
}  # fmt: skip
# Of each reader: what has to be given, and all of its own keys in the order of the file.
OWN = {
    "builtin": ({"split": "pool"}, {"reader": "builtin", "split": "pool"}),
    "jsonl": ({"path": "x"}, {"path": "x", "reader": "jsonl", **FIELDS}),
    "parquet": ({"path": "x"}, {"path": "x", "reader": "parquet", **FIELDS}),
    "flan_mini": (
        {"path": "x"},
        {"path": "x", "reader": "flan_mini", "keys": None, "split": None},
    ),
    "niv2": ({"path": "x"}, {"path": "x", "reader": "niv2", "split": None, "examples": 2}),
    "p3": ({"path": "x"}, {"path": "x", "reader": "p3", "split": None}),
    "sharegpt": ({"path": "x"}, {"path": "x", "reader": "sharegpt"}),
    "no_robots": ({"path": "x"}, {"path": "x", "reader": "no_robots"}),
    "ultrachat": ({"path": "x"}, {"path": "x", "reader": "ultrachat"}),
    "hf": (
        {"name": "o/n"},
        {
            "reader": "hf", "name": "o/n", "subset": None, "split": "train", "revision": None,
            **FIELDS,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_a_section_is_written_with_the_shared_keys_first_and_then_its_own(reader):
    given, own = OWN[reader]
    section = source(reader, **given)
    assert type(section) is find_reader(reader).SECTION
    assert json.dumps(section.model_dump(mode="json")) == json.dumps({**SHARED, **own})


def test_only_the_readers_that_a_study_names_are_imported():
    code = (
        "import sys\n"
        "from orchestrator.config.sources import Data\n"
        "suite = {'reader': 'builtin', 'split': 'pool'}\n"
        "Data.model_validate({'pool': suite, 'query': suite})\n"
        "print([name for name in sys.modules if name.startswith('orchestrator.data.readers.')])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "builtin" in out.stdout
    assert not any(f".{name}'" in out.stdout for name in READERS if name != "builtin")
