"""What a job gets of the working folder."""

import os
import subprocess
import zipfile
from contextlib import nullcontext

import pytest
import typer

from orchestrator.cli.jobs import _ask_above, _refuse_files_beside
from orchestrator.errors import JobError
from orchestrator.jobs import package
from orchestrator.jobs.package import pack, place_in_package, select


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
    pack(select(folder, wanted), target)
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
    pack(select(folder, []), tmp_path / "one.zip")
    for path in folder.iterdir():
        path.touch()
    pack(select(folder, []), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_deleted_file_that_git_tracks_is_no_fault(folder):
    (folder / "study.yaml").unlink()
    assert "study.yaml" not in packed(folder)


@pytest.mark.scenario("limits")
def test_a_folder_with_data_in_it_is_refused_by_the_name_of_the_largest_file(folder, monkeypatch):
    monkeypatch.setattr(package, "LARGEST", 30)
    (folder / "data.bin").write_bytes(bytes(31))
    with pytest.raises(JobError, match=r"data\.bin alone is"):
        packed(folder)


@pytest.mark.scenario("secrets")
@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "deploy/prod.env", ".netrc", ".aws/credentials", ".ssh/config",
     "keys/server.pem", "id_ed25519", ".git-credentials", ".huggingface/token",
     "my-service-account.json"],
)  # fmt: skip
@pytest.mark.parametrize("tracked", [True, False])
def test_what_is_a_secret_by_its_name_stays_here_and_is_told(folder, name, tracked):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("SECRET")
    if tracked:
        subprocess.run(["git", "add", name], cwd=folder, check=True)
    assert set(packed(folder)) == {".gitignore", "study.yaml", "src/code.py", "data.bin"}
    assert select(folder, []).lines(folder)[1:] == [f"left out, secret by its name: {name}"]


@pytest.mark.scenario("secrets")
def test_a_private_key_of_any_name_and_what_a_link_leads_to_outside_stay_here(folder, tmp_path):
    (folder / "deploy").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nMII...")
    (tmp_path / "outside.txt").write_text("not of this folder")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "inner.txt").symlink_to(folder / "data.bin")
    (folder / ".env.example").write_text("TOKEN=")
    chosen = select(folder, [])
    assert chosen.left_out == {
        "a private key": ["deploy"],
        "behind a link that leads outside": ["link.txt"],
    }
    assert {"inner.txt", ".env.example"} <= set(packed(folder))


def test_what_is_sent_is_told_by_its_first_level_with_its_size(folder):
    assert select(folder, []).lines(folder) == [
        f"sends 4 files, 0.0 MB, of {folder}: .gitignore, data.bin, src/ (1), study.yaml"
    ]


@pytest.mark.parametrize(("size", "sent"), [(package.ASKED, True), (51 * 2**20, False)])
def test_much_is_sent_only_to_those_who_say_so(monkeypatch, size, sent):
    ours, theirs = os.openpty()
    os.write(ours, b"n\n")
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with nullcontext() if sent else pytest.raises(typer.Exit):
            _ask_above(size)


def test_a_study_from_elsewhere_is_refused_if_it_names_files_beside_it(folder, tmp_path):
    study = tmp_path / "elsewhere" / "study.yaml"
    study.parent.mkdir()
    study.write_text("data: {pool: {reader: jsonl, path: train.jsonl}}")
    _refuse_files_beside(study, folder)
    (study.parent / "train.jsonl").touch()
    with pytest.raises(JobError, match=f"or submit it from {study.parent}"):
        _refuse_files_beside(study, folder)
    _refuse_files_beside(study, study.parent.parent)
