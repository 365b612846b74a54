"""The commit that a report names is that of this package, or none."""

import importlib.util
import re
import shutil
import subprocess

import pytest

from orchestrator import provenance


def git(folder, *arguments):
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path):
    """A repository with a commit, in which the package has yet to be put."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other.py").write_text("")
    git(tmp_path, "add", "other.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def package_in(folder):
    """The module, as a package in this folder has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = shutil.copy(provenance.__file__, folder / "provenance.py")
    spec = importlib.util.spec_from_file_location("copied_provenance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_clone_is_named_by_its_commit_and_by_whether_it_was_changed_since(clone, monkeypatch):
    monkeypatch.chdir(clone.parent)
    package_in(clone / "package")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message", "two")
    git(clone, "tag", "--annotate", "v1", "--message", "a name is not a commit")
    commit = git(clone, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert package_in(clone / "package").git_commit() == commit
    (clone / "other.py").write_text("changed")
    assert package_in(clone / "package").git_commit() == f"{commit}-dirty"


def test_a_package_installed_inside_another_repository_has_no_commit(clone, monkeypatch):
    monkeypatch.chdir(clone)
    assert package_in(clone / ".venv" / "site-packages").git_commit() is None


def test_a_package_outside_any_repository_has_no_commit(tmp_path):
    assert package_in(tmp_path / "site-packages").git_commit() is None
