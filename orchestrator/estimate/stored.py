"""What the store of a study holds already.

An artifact is found by those parts of its key that a study determines. The version of the stage
that made it is not compared: after an upgrade, one may be shown as stored that is made anew. What a
remote store holds is not known here, where no network is used: it counts as to be made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.config.sources import Data
from orchestrator.data import readers
from orchestrator.data.dataset import SPLITS
from orchestrator.errors import DataError
from orchestrator.storage.artifacts import MANIFEST, read_manifest


@dataclass(frozen=True)
class Stored:
    """An artifact in the store; fields as in `Artifact`."""

    path: Path
    digest: str
    key: Mapping[str, Any]
    info: Mapping[str, Any]


class Store:
    """Answers for the trials of a study; each manifest and each source is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._artifacts: dict[str, list[Stored]] = {}
        self._datasets: dict[str, Stored | None] = {}
        self._models: dict[str, Path | None] = {}
        self._digests: dict[Path, str] = {}

    def dataset(self, data: Data) -> Stored | None:
        """The instances; None also where a source cannot be read from here."""
        key = data.model_dump_json()
        if key not in self._datasets:
            self._datasets[key] = self._find_dataset(data)
        return self._datasets[key]

    def tokens(self, config: TrialConfig) -> Stored | None:
        """The token table for the model that is trained."""
        model = config.model
        wanted = {"template": model.template, "max_length": model.max_length}
        found = self._downstream("tokens", config, wanted)
        return next((a for a in found if self._is_model(model.name, a.key["model"])), None)

    def embeddings(self, config: TrialConfig) -> Stored | None:
        """The vectors of pool and test sets."""
        embedding = config.embedding
        settings = embedding.model_dump(include={"pooling", "dtype", "max_length"})
        for found in self._downstream("embeddings", config, {}):
            vectors = found.key["vectors"]
            same = all(vectors.get(name) == value for name, value in settings.items())
            same &= found.key.get("text", "both") == embedding.text
            same &= vectors.get("keep", "start") == embedding.keep
            if same and self._is_model(embedding.model, vectors["model"]):
                return found
        return None

    def lists(self, config: TrialConfig) -> list[Stored]:
        """Ranked lists over single instances, of either end of the pool."""
        embeddings = self.embeddings(config)
        if embeddings is None:
            return []
        wanted = {
            "embeddings": embeddings.digest,
            "depth": config.neighbours.depth,
            "units": "instance",
        }
        return self._find("neighbours", wanted)

    def model(self, name: str) -> Path | None:
        """The folder of a model that need not be fetched or made."""
        if name.startswith("random:") and name.count(":") == 1:
            name = f"{name}:0"  # the seed that `models.resolve` takes
        if name not in self._models:
            folder = Path(name).expanduser()
            here = (folder / "config.json").is_file()
            self._models[name] = folder.resolve() if here else self._made_model(name)
        return self._models[name]

    def _made_model(self, name: str) -> Path | None:
        folders = (path.parent for path in (self._root / "models").glob(f"*/{MANIFEST}"))
        return next((f for f in folders if (read_manifest(f) or {}).get("name") == name), None)

    def _find_dataset(self, data: Data) -> Stored | None:
        if not self._all("dataset"):  # files of gigabytes are not hashed for nothing
            return None
        try:
            sources = {
                split: readers.fingerprint(source)
                for split in SPLITS
                if (source := getattr(data, split)) is not None
            }
        except DataError:
            return None
        found = self._find("dataset", {"sources": sources, "leakage": data.leakage})
        return found[0] if found else None

    def _downstream(self, kind: str, config: TrialConfig, wanted: dict[str, Any]) -> list[Stored]:
        dataset = self.dataset(config.data)
        return self._find(kind, {"dataset": dataset.digest, **wanted}) if dataset else []

    def _find(self, kind: str, wanted: dict[str, Any]) -> list[Stored]:
        """Artifacts whose keys hold all that is wanted."""
        parts = json.loads(json.dumps(wanted)).items()  # as a manifest holds it
        return [a for a in self._all(kind) if all(a.key.get(key) == part for key, part in parts)]

    def _all(self, kind: str) -> list[Stored]:
        if kind not in self._artifacts:
            folders = [path.parent for path in (self._root / kind).glob(f"*/{MANIFEST}")]
            manifests = {folder: read_manifest(folder) for folder in folders}
            self._artifacts[kind] = [
                Stored(folder, manifest["digest"], manifest["key"], manifest["info"])
                for folder, manifest in manifests.items()
                if manifest is not None
            ]
        return self._artifacts[kind]

    def _is_model(self, name: str, digest: str) -> bool:
        folder = self.model(name)
        if folder is not None and folder not in self._digests:
            self._digests[folder] = models.fingerprint(folder)
        return folder is not None and self._digests[folder] == digest
