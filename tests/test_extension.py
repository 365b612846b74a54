"""What orchestrator/README.md says: methods and readers of other packages, and the map itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import orchestrator

PACKAGE = Path(orchestrator.__file__).parent
GUIDE = (PACKAGE / "README.md").read_text()
METHOD = '''
from orchestrator.core.arrangements import Method, Needs
from orchestrator.core.arrangements.tma import arrange as turns
from orchestrator.core.plan import Plan


def arrange(request):
    """What tma takes from the near end, last turn first."""
    plan = turns(request)
    return plan.take(slice(None, None, -1))


METHOD = Method(
    arrange,
    reads=frozenset({"granularity"}),
    needs=lambda settings: Needs(ends=("near",)),
    distance="Distance to the asking query",
)
'''


def install(site, version="1.0"):
    """The package `mine` of a researcher, as pip leaves it: its modules and its entry points."""
    reader = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1]
    entries = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)[1]
    (site / "mine").mkdir(parents=True, exist_ok=True)
    (site / "mine" / "__init__.py").write_text("")
    (site / "mine" / "reversing.py").write_text(METHOD)
    (site / "mine" / "pairs.py").write_text(reader)
    info = site / "mine-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mine\nVersion: {version}\n")
    groups = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", entries).replace('"', "")
    (info / "entry_points.txt").write_text(groups)


@pytest.mark.ray
@pytest.mark.slow
def test_a_method_and_a_reader_of_an_installed_package_are_named_as_any_other(tmp_path, store):
    install(tmp_path / "site")
    for name, count in {"pool": 12, "query": 2}.items():
        rows = ({"q": f"{name} {i}?", "a": f"{i} is it"} for i in range(count))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = {
        "study": "mine",
        "store": str(store),
        "data": {
            "pool": {"reader": "pairs", "path": "pool.jsonl"},
            "query": {"reader": "pairs", "path": "query.jsonl"},
            "leakage": "allow",  # the reader of the guide has one task for all
        },
        "embedding": {"model": "random:tiny-bert"},
        "arrangement": {"method": "reversed"},
        "training": {"global_batch": 4},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "arrange", "study.yaml", "--out", "plans"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (plan,) = (tmp_path / "plans").glob("*/plan.parquet")
    table = pq.read_table(plan)
    assert sorted(table["row"].to_pylist()) == list(range(12))
    turns = table["turn"].to_pylist()
    assert turns == sorted(turns, reverse=True)
    assert turns[0] > 0
    assert set(table["task"].to_pylist()) == {"pairs"}


def test_every_room_has_its_line_and_what_is_named_exists():
    tree = re.search(r"```\n(.*?)```", GUIDE, re.DOTALL)[1]
    rooms = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    code = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert rooms - {"report/templates"} == code - {"."}
    named = re.findall(r"`([\w/.]+(?:\.py|/))`", GUIDE)
    assert len(named) > 20
    assert [name for name in named if not (PACKAGE / name).exists()] == []


def test_what_is_to_be_touched_is_there_to_be_touched():
    for table, path in re.findall(r"`([A-Z_]+)` in `([\w/.]+\.py)`", GUIDE):
        assert re.search(rf"^{table}\b", (PACKAGE / path).read_text(), re.MULTILINE), (table, path)
