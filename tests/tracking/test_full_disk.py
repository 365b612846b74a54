"""MLflow's database and its files on a disk that takes no more."""

import shutil
from types import SimpleNamespace

import pytest

from orchestrator.errors import DiskError
from orchestrator.tracking import sync
from orchestrator.tracking.experiment import connect
from tests.disks import PAGE, small_disk
from tests.tracking.fabricated import Fabricated
from tests.tracking.held import held, undisturbed


@pytest.mark.scenario("full-disk")
def test_a_database_is_made_whole_or_not_at_all_and_later_where_there_is_room(tmp_path):
    record = SimpleNamespace(uri=None, experiment="tiny")
    with small_disk(tmp_path / "disk") as disk:
        for pages in (0, 20):
            disk.leave(pages)
            with pytest.raises(DiskError, match=r"mlflow\.db cannot be written: no space is left"):
                connect(record, disk.path / "tiny")
            assert [path.name for path in disk.path.iterdir()] == ["ballast"]
        disk.grow()
        connect(record, disk.path / "tiny")
        assert {path.name for path in disk.path.iterdir()} == {"ballast", "mlflow.db"}


@pytest.mark.scenario("full-disk")
def test_what_there_is_no_room_for_is_told_and_sent_later_nothing_twice_and_no_file_in_part(
    tmp_path, migrated
):
    with small_disk(tmp_path / "out") as disk:
        shutil.copy(migrated, disk.path / "mlflow.db")
        fabricated = Fabricated(disk.path)
        fabricated.train_all()
        (fabricated.folder / "summary.csv").write_bytes(bytes(100 * PAGE))
        record = fabricated.ended(fabricated.record())
        record.write(fabricated.folder)
        # No row; the rows of some runs; all rows, and a file in part.
        for pages, why in ((0, "disk is full"), (20, "disk is full"), (80, "No space left")):
            disk.leave(pages)
            backlog = sync(fabricated.folder)
            assert backlog.files
            assert why in str(backlog)
        disk.grow()
        assert sync(fabricated.folder) is None
        assert held(record.address(fabricated.folder)) == undisturbed(fabricated, tmp_path)
