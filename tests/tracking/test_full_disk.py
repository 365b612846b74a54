"""MLflow's database on a disk that takes no more."""

from types import SimpleNamespace

import pytest

from orchestrator.errors import DiskError
from orchestrator.tracking.experiment import connect
from tests.disks import small_disk


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
