"""Every place that writes, while the disk takes no more: at each write, until all are done."""

import errno
import gc
import os
import re

import pytest

from orchestrator.errors import DiskError, ResourceError
from orchestrator.storage.disk import writing
from tests.disks import refusing, small_disk
from tests.writers import WRITERS, anew, check_whole, files, moments

FAULTS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


@pytest.fixture(params=WRITERS)
def writer(request, tmp_path, monkeypatch):
    """A place that writes, and a folder in which all is as it is before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: 1.7e9)  # so that two attempts write the same
    writer = WRITERS[request.param]
    (tmp_path / "before").mkdir()
    writer.prepare(tmp_path / "before")
    return writer, tmp_path / "before"


def refused(write, folder):
    """The sentence with which it ends, and what it leaves."""
    try:  # pytest.raises would keep the arrays of its frames, and so the room of removed files
        with writing(folder):  # as for a whole study
            write(folder)
    except DiskError as error:
        sentence = str(error)
    except ResourceError as error:  # by a look at the folder, before anything is written
        sentence = f"{folder} cannot be written: {error}"
        assert "takes no file" in sentence
        return sentence, files(folder)
    else:
        pytest.fail("it wrote all")
    assert re.match(rf"{folder}\S* cannot be written: ", sentence), sentence
    assert sentence.endswith("run the same command again: what was finished is kept")
    assert "\n" not in sentence
    return sentence, files(folder)


def check_told(sentence, folder, before, after):
    """It names what was to be written, and nothing that was only read."""
    path = os.path.relpath(sentence.partition(" cannot be written: ")[0], folder)
    assert path not in before or before[path] != after[path]


@pytest.mark.scenario("full-disk", "read-only")
def test_at_every_write_a_disk_that_takes_no_more_is_told_and_nothing_is_half_written(
    writer, tmp_path
):
    (write, _, tries, _), before = writer
    folder = tmp_path / "folder"
    anew(folder, before)
    with refusing(folder, errno.ENOSPC, None) as counted:
        write(folder)
    after = files(folder)
    assert counted.seen
    for number, moment in enumerate(moments(counted.seen, tries)):
        anew(folder, before)
        with refusing(folder, FAULTS[number % len(FAULTS)], moment):
            sentence, left = refused(write, folder)
        check_told(sentence, folder, files(before), after)
        check_whole(left, files(before), after)
        if number % 4 == 0:
            write(folder)
            assert files(folder) == after


@pytest.mark.scenario("full-disk")
def test_with_any_room_that_is_too_small_the_same_holds_and_what_is_free_is_told(writer, tmp_path):
    (write, _, tries, mapped), before = writer
    with small_disk(tmp_path / "disk") as disk:
        folder = disk.path / "folder"
        anew(folder, before)
        there = disk.taken()
        write(folder)
        if mapped:
            gc.collect()
        after, needed = files(folder), disk.taken() - there
        for number, pages in enumerate(moments(needed, tries)):
            disk.grow()
            anew(folder, before)
            if mapped:
                gc.collect()
            disk.leave(pages)
            sentence, left = refused(write, folder)
            assert "no space is left on its disk" in sentence
            assert re.search(r"needs .* free", sentence), sentence
            check_told(sentence, folder, files(before), after)
            check_whole(left, files(before), after)
            if number % 4 == 0:
                disk.grow()
                write(folder)
                assert files(folder) == after
