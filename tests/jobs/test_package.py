"""What a job gets of the working folder."""

import subprocess
import zipfile

import pytest

from orchestrator.errors import JobError
from orchestrator.jobs import package
from orchestrator.jobs.package import pack, place_in_package


@pytest.fixture
def folder(tmp_path):
    """A git repository that ignores results, private studies and what a tool left."""
    here = tmp_path / "work"
    (here / "outputs").mkdir(parents=True)
    (here / "src").mkdir()
    (here / ".gitignore").write_text("outputs/\n*.private.yaml\n")
    for name in ("study.yaml", "mine.private.yaml", "src/code.py", "outputs/big.bin", "data.bin"):
        (here / name).write_text(name)
    subprocess.run(["git", "init", "-q", here], check=True)
    subprocess.run(["git", "add", "study.yaml"], cwd=here, check=True)
    return here


def packed(folder, *wanted):
    target = folder.parent / "package.zip"
    pack(folder, wanted, target)
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_what_git_ignores_stays_behind_unless_it_is_the_study_or_an_overlay(folder):
    files = {".gitignore", "study.yaml", "src/code.py", "data.bin"}
    assert set(packed(folder)) == files
    assert set(packed(folder, folder / "mine.private.yaml")) == files | {"mine.private.yaml"}


def test_a_study_outside_the_folder_has_its_place_in_the_package(folder, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("elsewhere")
    place = place_in_package(other, folder)
    assert packed(folder, other)[place] == "elsewhere"
    assert place_in_package(folder / "src" / "code.py", folder) == "src/code.py"


def test_overlays_of_one_name_from_two_folders_are_two_files(folder, tmp_path):
    overlays = [tmp_path / "one" / "over.yaml", tmp_path / "two" / "over.yaml"]
    for overlay in overlays:
        overlay.parent.mkdir()
        overlay.write_text(str(overlay))
    found = packed(folder, *overlays)
    for overlay in overlays:
        assert found[place_in_package(overlay, folder)] == str(overlay)


def test_rayignore_is_read_by_the_rules_of_gitignore(folder):
    for name in ("data/a.csv", "src/data/kept.csv", "src/deep/b.log", "c.log", "kept.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    before = set(packed(folder))
    rules = "# not study.yaml or src/\n/data\n*.bin\n**/*.log\n!kept.log\n"
    (folder / ".rayignore").write_text(rules)
    left_out = {"data/a.csv", "data.bin", "src/deep/b.log", "c.log"}
    assert left_out < before
    assert set(packed(folder)) == before - left_out | {".rayignore"}
    (folder / "src" / ".rayignore").write_text("/data/\n")
    assert set(packed(folder)) == (
        before - left_out - {"src/data/kept.csv"} | {".rayignore", "src/.rayignore"}
    )


def test_nothing_below_an_ignored_folder_is_sent_whatever_its_own_rules_say(folder):
    (folder / ".rayignore").write_text("src\n!src/code.py\n")
    (folder / "src" / ".rayignore").write_text("!code.py\n")
    assert "src/code.py" not in packed(folder)


def test_a_repository_without_the_program_of_git_is_packed_by_its_gitignore(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    files = {"study.yaml", "src/code.py", "data.bin"}
    assert set(packed(folder)) == files
    assert set(packed(folder, folder / "mine.private.yaml")) == files | {"mine.private.yaml"}


def test_a_folder_that_git_does_not_know_is_packed_without_hidden_files(folder):
    plain = folder.parent / "plain"
    (plain / ".venv").mkdir(parents=True)
    (plain / ".venv" / "big").write_text("")
    (plain / "study.yaml").write_text("")
    assert set(packed(plain)) == {"study.yaml"}


def test_equal_folders_are_equal_packages_so_that_nothing_is_sent_twice(folder, tmp_path):
    pack(folder, [], tmp_path / "one.zip")
    for path in folder.iterdir():
        path.touch()
    pack(folder, [], tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_deleted_file_that_git_tracks_is_no_fault(folder):
    (folder / "study.yaml").unlink()
    assert "study.yaml" not in packed(folder)


def test_a_folder_with_data_in_it_is_refused_by_the_name_of_the_largest_file(folder, monkeypatch):
    monkeypatch.setattr(package, "LARGEST", 30)
    (folder / "data.bin").write_bytes(bytes(31))
    with pytest.raises(JobError, match=r"data\.bin alone is"):
        packed(folder)
