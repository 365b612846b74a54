"""What the store of a study holds already, asked by the keys that the stages make it under.

Manifests are read, and no other file of an artifact. What a remote store holds is not known here,
where no network is used: it counts as to be made.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.config.embedding import Embedding
from orchestrator.config.sources import Data
from orchestrator.core.ranking import End
from orchestrator.errors import DataError
from orchestrator.stages.arrange import needs_of
from orchestrator.stages.dataset import dataset_spec, tokens_spec
from orchestrator.stages.embed import embeddings_spec
from orchestrator.stages.given import read_order
from orchestrator.stages.neighbours import neighbours_key
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import MANIFEST, Artifact, find, read_manifest


class StoreLookup:
    """Answers for the trials of a study; each source and each model is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._datasets: dict[str, Artifact | None] = {}
        self._models: dict[str, Path | None] = {}
        self._digests: dict[Path, str] = {}
        self._own: dict[tuple[str, Embedding], Artifact | None] = {}
        self._listed: dict[str, int] = {}

    def dataset(self, data: Data) -> Artifact | None:
        """Finds the instances of some data; None also where a source cannot be read from here."""
        key = data.model_dump_json()
        if key not in self._datasets:
            self._datasets[key] = self._find_dataset(data)
        return self._datasets[key]

    def tokens(self, config: TrialConfig, test_length: int | None = None) -> Artifact | None:
        """Finds the token table of a trial's data for the model that it trains.

        Args:
            test_length: as `tokens_spec` has it.
        """
        dataset, model = self.dataset(config.data), self._fingerprint(config.model.reference)
        if dataset is None or model is None:
            return None
        return self._find(tokens_spec(dataset, config.model, *model, test_length))

    def test_tokens(self, config: TrialConfig) -> Artifact | None:
        """Finds the token table that the test sets of a trial are measured by."""
        return self.tokens(config, config.test_length)

    def embeddings(self, config: TrialConfig) -> Artifact | None:
        """Finds the vectors of a trial's pool and test sets."""
        dataset = self.dataset(config.data)
        if dataset is None:
            return None
        if config.embedding.vectors is not None:
            return self._own_vectors(dataset, config.embedding)
        model = self._fingerprint(config.embedding.model)
        if model is None or config.embedding.of_tokens:  # behind tokens and adapters
            return None
        return self._find(embeddings_spec(dataset, config.embedding, *model, self._root))

    def _own_vectors(self, dataset: Artifact, embedding: Embedding) -> Artifact | None:
        """Finds the vectors that a study brings, whose files are hashed once and not for nothing.

        Raises:
            DataError: as `own_vectors_spec`.
        """
        key = (dataset.digest, embedding)
        if key not in self._own:
            some = any((self._root / "embeddings").glob(f"*/{MANIFEST}"))
            self._own[key] = self._find(own_vectors_spec(dataset, embedding)) if some else None
        return self._own[key]

    def listed(self, config: TrialConfig) -> int | None:
        """Counts the ids in the file that a trial takes its order from; None where it has none.

        Raises:
            DataError: the file cannot be read.
        """
        if not needs_of(config.arrangement, config.seed).listed:
            return None
        path = config.arrangement.options["path"]
        if path not in self._listed:
            self._listed[path] = len(read_order(config.arrangement).places)
        return self._listed[path]

    def lists(self, config: TrialConfig) -> list[End]:
        """The ends of the pool from which ranked lists over single instances are there.

        Of other units it is not known: they are numbered by what the data and the vectors hold.
        """
        embeddings = self.embeddings(config)
        if embeddings is None or config.arrangement.granularity != "instance":
            return []
        return [
            end
            for end in needs_of(config.arrangement, config.seed).ends
            if find(
                self._root,
                "neighbours",
                neighbours_key(embeddings, "instance", end, config.neighbours),
            )
        ]

    def model(self, name: str) -> Path | None:
        """Finds the folder of a model that need not be fetched or made."""
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

    def _fingerprint(self, name: str) -> tuple[Path, str] | None:
        """Folder and digest of a model that is there."""
        folder = self.model(name)
        if folder is None:
            return None
        if folder not in self._digests:
            self._digests[folder] = models.fingerprint(folder)
        return folder, self._digests[folder]

    def _find_dataset(self, data: Data) -> Artifact | None:
        # Files of gigabytes are not hashed for nothing.
        if not any((self._root / "dataset").glob(f"*/{MANIFEST}")):
            return None
        try:
            return self._find(dataset_spec(data))
        except DataError:
            return None

    def _find(self, spec: Spec) -> Artifact | None:
        return find(self._root, spec.kind, spec.key)
