"""Where a study keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import Study
from orchestrator.storage.files import STORE_FOLDER, TRIALS_FOLDER


@dataclass(frozen=True)
class Layout:
    """Folders of one study; absolute, because Ray changes the working folder of its processes.

    Attributes:
        remote_store: address in object storage, or None.
    """

    output: Path
    study: str
    store: Path
    remote_store: str | None

    @classmethod
    def of(cls, study: Study) -> Layout:
        output = Path(study.output).resolve()
        store = Path(study.store).resolve() if study.store else output / STORE_FOLDER
        return cls(output, study.study, store, study.remote_store)

    @property
    def folder(self) -> Path:
        return self.output / self.study

    def trial(self, name: str) -> Path:
        return self.folder / TRIALS_FOLDER / name
