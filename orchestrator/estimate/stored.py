"""What the store of a study holds already, asked by the keys that the stages make it under.

Manifests are read, and no other file of an artifact. What a remote store holds is not known here,
where no network is used: it counts as to be made. Data and tokens that are small are made in a
folder of their own; an artifact that the store itself has is `reused`.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.config.embedding import Embedding
from orchestrator.config.sources import Data
from orchestrator.core.ranking import End
from orchestrator.errors import DataError
from orchestrator.estimate.small import TOKENISED_ROWS, is_small, made_in
from orchestrator.stages.arrange import needs_of
from orchestrator.stages.dataset import dataset_spec, tokens_spec
from orchestrator.stages.embed import embeddings_spec
from orchestrator.stages.given import read_order
from orchestrator.stages.gradients import gradients_spec, warm_up_spec
from orchestrator.stages.influence import influence_settings, influence_spec
from orchestrator.stages.neighbours import neighbours_key
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.stages.query_losses import query_losses_spec
from orchestrator.stages.spec import Spec
from orchestrator.stages.target_path import path_vectors_spec, paths_spec
from orchestrator.stages.token_vectors import Source
from orchestrator.storage.artifacts import MANIFEST, Artifact, find, read_manifest
from orchestrator.training.spec import TrialSpec


class StoreLookup:
    """Answers for the trials of a study; each source and each model is read once.

    Args:
        root: the store.
        scratch: folder for data and tokens that are small and not in the store; None: what is not
            in the store is not read.
    """

    def __init__(self, root: Path, scratch: Path | None = None) -> None:
        self.root, self._scratch = root, scratch
        self._datasets: dict[str, Artifact | None] = {}
        self._models: dict[str, Path | None] = {}
        self._digests: dict[Path, str] = {}
        self._own: dict[tuple[str, Embedding], Artifact | None] = {}
        self._of_tokens: dict[tuple[str, Embedding], Artifact | None] = {}
        self._listed: dict[str, int] = {}

    def dataset(self, data: Data) -> Artifact | None:
        """Finds the instances of some data; None where they are neither in the store nor small.

        Raises:
            DataError: a small source that cannot be read.
        """
        key = data.model_dump_json()
        if key not in self._datasets:
            self._datasets[key] = self._find_dataset(data)
        return self._datasets[key]

    def tokens(self, config: TrialConfig, test_length: int | None = None) -> Artifact | None:
        """Finds the token table of a trial's data for the model that it trains.

        Args:
            test_length: as `tokens_spec` has it.

        Raises:
            DataError: few rows, one of which cannot be fed as it is.
        """
        dataset, model = self.dataset(config.data), self.fingerprint(config.model.reference)
        if dataset is None or model is None:
            return None
        spec = tokens_spec(dataset, config.model, *model, test_length)
        rows = sum(split["instances"] for split in dataset.info["splits"].values())
        found = self._find(spec)
        if found is None and self._scratch is not None and rows <= TOKENISED_ROWS:
            found = made_in(self._scratch, spec)
        return found

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
        model = self.fingerprint(config.embedding.model)
        if model is None:
            return None
        if not config.embedding.of_tokens:
            return self._find(embeddings_spec(dataset, config.embedding, *model, self.root))
        read = config.model.model_copy(update={"max_length": config.embedding.max_length})
        tokens = self._find(tokens_spec(dataset, read, *model))
        return tokens and self._token_vectors(Source(dataset, tokens, config.embedding, *model))

    def _token_vectors(self, source: Source) -> Artifact | None:
        """Finds vectors that are made of tokens, behind the adapters that they are made with."""
        key = (source.tokens.digest, source.embedding)
        if key not in self._of_tokens:
            path, found = source.embedding.pooling == "path", None
            try:
                adapters = self._find(paths_spec(source) if path else warm_up_spec(source))
            except DataError:  # no query has an answer
                adapters = None
            if adapters is not None:
                spec_of = path_vectors_spec if path else gradients_spec
                found = self._find(spec_of(source, adapters, self.root))
            self._of_tokens[key] = found
        return self._of_tokens[key]

    def influence(self, config: TrialConfig) -> Artifact | None:
        """Finds the gradients of all rows by which a trial is followed."""
        dataset, tokens = self.dataset(config.data), self.tokens(config)
        model = self.fingerprint(config.model.reference)
        if dataset is None or tokens is None or model is None:
            return None
        source = Source(dataset, tokens, influence_settings(config), *model)
        warm_up = self._find(warm_up_spec(source))
        if warm_up is None:
            return None
        return self._find(influence_spec(source, warm_up, self.root, config.model.adapter))

    def query_losses(self, config: TrialConfig) -> Artifact | None:
        """Finds what the untouched model loses on each query of a trial."""
        dataset, tokens = self.dataset(config.data), self.test_tokens(config)
        model = self.fingerprint(config.model.reference)
        if dataset is None or tokens is None or model is None:
            return None
        root = self.root
        trial = TrialSpec(
            "", "", config, *model, dataset.path, tokens.path, tokens.digest, root, root
        )
        return self._find(query_losses_spec(trial, lambda spec: None))

    def _own_vectors(self, dataset: Artifact, embedding: Embedding) -> Artifact | None:
        """Finds the vectors that a study brings, whose files are hashed once and not for nothing.

        Raises:
            DataError: as `own_vectors_spec`.
        """
        key = (dataset.digest, embedding)
        if key not in self._own:
            some = any((self.root / "embeddings").glob(f"*/{MANIFEST}"))
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
                self.root,
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
        folders = (path.parent for path in (self.root / "models").glob(f"*/{MANIFEST}"))
        return next((f for f in folders if (read_manifest(f) or {}).get("name") == name), None)

    def fingerprint(self, name: str) -> tuple[Path, str] | None:
        """Finds the folder of a model, and its digest."""
        folder = self.model(name)
        if folder is None:
            return None
        if folder not in self._digests:
            self._digests[folder] = models.fingerprint(folder, recorded=True)
        return folder, self._digests[folder]

    def _find_dataset(self, data: Data) -> Artifact | None:
        if self._scratch is not None and is_small(data):
            spec = dataset_spec(data)
            return self._find(spec) or made_in(self._scratch, spec)
        # Files of gigabytes are not hashed for nothing.
        if not any((self.root / "dataset").glob(f"*/{MANIFEST}")):
            return None
        try:
            return self._find(dataset_spec(data))
        except DataError:
            return None

    def _find(self, spec: Spec) -> Artifact | None:
        return find(self.root, spec.kind, spec.key)
