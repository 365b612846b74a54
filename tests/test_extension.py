"""What orchestrator/README.md says: methods and readers of other packages, and the map itself."""

import html
import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import orchestrator
from orchestrator.report.status import read_status
from tests.studies import files_beside, orchestrate, runs_of, trial_folders, write_study

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
FAULTY = """
import numpy as np

from orchestrator.core.arrangements import Method
from orchestrator.core.plan import Plan


def plan_of(rows):
    return Plan(rows, 0 * rows, rows, np.full(len(rows), np.nan))


def raises(request):
    raise RuntimeError("no luck\\nand pages behind it")


GREEDY = Method(lambda request: plan_of(np.arange(len(request.units.rows))), embeds=False)
FLOATS = Method(lambda request: plan_of(np.arange(8.0)), embeds=False)
NOTHING = Method(lambda request: None, embeds=False)
RAISING = Method(raises, embeds=False)
"""


def install(site, entries=""):
    """The package `mine` of a researcher, as pip leaves it: its modules and its entry points.

    Args:
        entries: further ones of the group of methods, a line each.
    """
    reader = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1]
    groups = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)[1]
    groups = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", groups).replace('"', "")
    (site / "mine").mkdir(parents=True, exist_ok=True)
    (site / "mine" / "__init__.py").write_text("")
    (site / "mine" / "reversing.py").write_text(METHOD)
    (site / "mine" / "faulty.py").write_text(FAULTY)
    (site / "mine" / "pairs.py").write_text(reader)
    info = site / "mine-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    methods = "[orchestrator.methods]\n"
    (info / "entry_points.txt").write_text(groups.replace(methods, methods + entries))


def orchestrate_with(site, folder, *arguments):
    """Run a command where the packages of a folder are installed, too."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return orchestrate(*arguments, cwd=folder, env=os.environ | {"PYTHONPATH": path})


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
    done = orchestrate_with(tmp_path / "site", tmp_path, "arrange", "study.yaml", "--out", "plans")
    assert done.returncode == 0, done.stdout + done.stderr
    (plan,) = (tmp_path / "plans").glob("*/plan.parquet")
    table = pq.read_table(plan)
    assert sorted(table["row"].to_pylist()) == list(range(12))
    turns = table["turn"].to_pylist()
    assert turns == sorted(turns, reverse=True)
    assert turns[0] > 0
    assert set(table["task"].to_pylist()) == {"pairs"}


SAID = {
    "greedy": "arrangement: method 'greedy' planned 100 rows, and arrangement.rows is 8: it has to",
    "floats": "arrangement: method 'floats' returned a plan whose rows are float64: make them",
    "nothing": "arrangement: method 'nothing' returned a NoneType: let it return an orchestrator.",
    "raising": "arrangement: method 'raising' failed with RuntimeError: no luck (faulty.py, line ",
}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("repeated-crash")
def test_an_arm_whose_method_makes_no_plan_fails_alone_and_is_told_everywhere(tmp_path, store):
    """Also where it comes twice, with settings that its plan does not depend on."""
    install(tmp_path / "site", "".join(f"{name} = mine.faulty:{name.upper()}\n" for name in SAID))
    arms = [{"label": "random", "arrangement.method": "random"}]
    arms += [{"label": name, "arrangement.method": name} for name in SAID]
    arms += [{"label": "twice", "arrangement.method": "greedy", "training.learning_rate": 1e-4}]
    said = SAID | {"twice": SAID["greedy"]}
    splits = {"pool": 2, "query": 1}
    write_study(
        tmp_path, store=store, arrangement={"rows": 8}, sweep={"paired": [arms]},
        evaluation={"every": 2, "measures": False},
        data={name: {"reader": "builtin", "split": name, "max_per_task": count}
              for name, count in splits.items()},
    )  # fmt: skip
    ran = orchestrate_with(
        tmp_path / "site", tmp_path, "run", "study.yaml", "--output", tmp_path / "out"
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    study = tmp_path / "out" / "tiny"
    names = {arm: folder.name for arm, folder in trial_folders(study).items()}
    assert names.keys() == {"random", *said}
    _, runs = runs_of(tmp_path / "out")
    runs = {run.info.run_name: run for run in runs}
    assert runs["tiny"].info.status == "FAILED"
    assert runs["tiny"].data.tags["failed_trials"] == "5"
    trials = {trial.name: trial for trial in read_status(study).trials}
    page = html.unescape((study / "report" / "index.html").read_text())
    errors = json.loads((study / "run.json").read_text())["errors"]
    assert errors.keys() == {names[arm] for arm in said}
    for arm, words in said.items():
        # Once for all arms that it keeps from being trained.
        (line,) = (line for line in ran.stdout.splitlines() if f" failed: {words}" in line)
        assert names[arm] in line.split(" failed: ")[0]
        assert f"{names[arm]} failed: {words}" in page
        assert errors[names[arm]].startswith(words)
        assert trials[names[arm]].state == "failed"
        assert trials[names[arm]].error.startswith(words)
        assert runs[names[arm]].info.status == "FAILED"
        assert "error.txt" in files_beside(tmp_path / "out", runs[names[arm]])
    assert trials[names["random"]].state == "finished"
    assert runs[names["random"]].info.status == "FINISHED"


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
