"""A folder that cannot be written is told before it is needed, with what to type."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.host.folders import SOCKET, ray_faults, written_faults
from orchestrator.study.checks import check_folders

NOBODY = 65534


def layout(output, store=None):
    return Layout(Path(output), "small", Path(store or output / "store"), None)


@pytest.fixture
def nobody():
    """Makes this process another user, who owns nothing, for the time of the test."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)
    os.setegid(0)


def test_a_folder_that_can_be_made_is_neither_made_nor_refused(tmp_path):
    check_folders(layout(tmp_path / "a" / "b"), starts_ray=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("afile", r"afile cannot be written \(is a file\): give another with --output"),
        ("afile/below", r"afile/below cannot be made \(.*afile is a file\): give another with"),
        ("link", r"link cannot be written \(is a link to nothing\)"),
    ],
)
def test_what_is_no_folder_is_named_once(tmp_path, output, said):
    (tmp_path / "afile").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(ResourceError, match=said) as refused:
        check_folders(layout(tmp_path / output), starts_ray=False)
    assert len(str(refused.value).splitlines()) == 1


def test_a_store_is_named_apart_from_the_output(tmp_path):
    (tmp_path / "afile").write_text("")
    with pytest.raises(ResourceError, match=r"afile .*--set store=DIR"):
        check_folders(layout(tmp_path / "out", tmp_path / "afile"), starts_ray=False)


@pytest.mark.scenario("read-only")
def test_a_folder_of_another_user_is_told_with_its_owner(nobody):
    (fault,) = written_faults({Path("/usr/outputs/x"): "give another"})
    assert fault == (
        "/usr/outputs/x cannot be made (/usr belongs to root, and you may not write there): "
        "give another"
    )


@pytest.mark.scenario("read-only")
def test_a_disk_that_may_only_be_read_is_told(tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        "from orchestrator.host.folders import written_faults; "
        "print(*written_faults({Path(sys.argv[1]): 'give another'}))"
    )
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && "$@"'
    apart = ["unshare", "--mount", "sh", "-c", mounts, str(tmp_path)]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a private mount needs root")
    done = subprocess.run(
        [*apart, sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "takes no file: Read-only file system): give another" in done.stdout


def test_the_folder_of_ray_must_be_short_enough_for_its_sockets(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    fitting = 107 - len("/ray/" + SOCKET.format(os.getpid()))
    for length in (fitting + 1, fitting + 80):
        monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * (length - 5))
        (fault,) = ray_faults()
        assert f"Of {fitting} bytes at most, set RAY_TMPDIR to a short folder" in fault
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * (fitting - 5))
    assert ray_faults() == []
    monkeypatch.setenv("TMPDIR", "/tmp/" + "é" * (fitting // 2))  # two bytes each
    assert ray_faults()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert ray_faults() == []


@pytest.fixture
def roots_ray(monkeypatch):
    """A folder as Ray leaves it for the user who came first."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "ray").mkdir()
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder) / "ray"


def test_the_folder_of_ray_that_another_user_made_is_told(roots_ray, nobody):
    (fault,) = ray_faults()
    assert f"{roots_ray} cannot be written (belongs to root, and you may not write there)" in fault
    assert "set RAY_TMPDIR to a short folder of your own, as in RAY_TMPDIR=/tmp/" in fault


def test_no_folder_for_temporary_files_is_told(tmp_path, monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ResourceError, match="set TMPDIR"):
        check_folders(layout(tmp_path), starts_ray=True)
