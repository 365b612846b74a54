"""A module of the working folder that would hide a library is told before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.errors import ResourceError
from orchestrator.host.shadows import LIBRARIES, check_modules


@pytest.fixture
def work(tmp_path):
    """A folder with data in `datasets/`, and modules of its own."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "train.jsonl").write_text("{}")
    (tmp_path / "prepare.py").write_text("")
    return tmp_path


def test_data_and_modules_of_other_names_are_no_matter(work):
    check_modules(work, joins=True)


@pytest.mark.parametrize("name", ["datasets/__init__.py", "torch.py", "random.py"])
def test_what_would_be_imported_in_place_of_a_library_is_named(work, name, monkeypatch):
    (work / name).write_text("")
    check_modules(work, joins=False)  # it is not on the path
    library = name.split("/")[0].removesuffix(".py")
    told = rf"{library}(\.py)? would be imported in place of the library {library}, .*: rename it"
    with pytest.raises(ResourceError, match=told):
        check_modules(work, joins=True)
    monkeypatch.syspath_prepend(work)
    with pytest.raises(ResourceError, match=told):
        check_modules(work, joins=False)


def test_the_command_as_a_module_does_not_look_into_the_working_folder(work):
    code = "import sys, runpy; sys.argv[1:] = ['--help']; sys.path[0] = ''\ntry:\n"
    code += "    runpy.run_module('orchestrator.cli', run_name='__main__')\n"
    code += "finally: print('' in sys.path)"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=work, env=plain, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert shown.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_a_library_that_the_command_needs_first_is_named_before_it_is_imported(work, name):
    (work / f"{name}.py").write_text("raise SystemExit('imported')")
    package = Path(orchestrator.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "estimate", "study.yaml"],
        cwd=work, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{work}{os.pathsep}{package}"},
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {work}/{name}.py would be imported in place of the lib")
    assert len(ended.stderr.splitlines()) == 1


def test_the_libraries_of_this_project_are_known():
    from importlib.metadata import packages_distributions, requires

    named = {name.lower() for name in requires("arrangement-orchestrator") or []}
    needed = {name.split("[")[0].split(">")[0].split("=")[0].split(";")[0].strip()
              for name in named if "extra" not in name}  # fmt: skip
    modules = {
        module
        for module, owners in packages_distributions().items()
        if needed & {owner.lower() for owner in owners} and not module.startswith("_")
    }
    assert {m for m in modules if m.isidentifier()} - LIBRARIES <= {"mpl_toolkits", "pylab"}
