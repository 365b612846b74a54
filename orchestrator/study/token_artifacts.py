"""The artifacts of a study's data as its models are fed them: instances, tokens, gradients.

None of them needs vectors of texts. `study.artifacts` goes on from here.
"""

from __future__ import annotations

from orchestrator.config import TrialConfig
from orchestrator.config.layout import Layout
from orchestrator.core.quadratic import Influence
from orchestrator.screen import Screen
from orchestrator.stages.arrange import needs_of
from orchestrator.stages.dataset import dataset_spec, tokens_spec
from orchestrator.stages.gradients import gradients_spec, warm_up_spec
from orchestrator.stages.influence import influence_settings, influence_spec, load_influence
from orchestrator.stages.spec import Spec
from orchestrator.stages.target_path import path_vectors_spec, paths_spec
from orchestrator.stages.token_vectors import Source
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.remote import ArtifactStore, RemoteStore
from orchestrator.study.shared import Check, SharedResources


class TokenArtifacts:
    """What is made of tokens, for all trials of a study.

    Attributes:
        shared: tells what was made, reused and fetched.
    """

    def __init__(self, layout: Layout, screen: Screen) -> None:
        remote = RemoteStore(layout.remote_store, screen) if layout.remote_store else None
        self.shared = SharedResources(ArtifactStore(layout.store, remote), screen)
        self._dataset_specs: dict[str, Spec] = {}  # files of gigabytes are hashed once

    def dataset(self, config: TrialConfig) -> Artifact:
        """The instances of all splits."""
        sources = config.data.model_dump_json()
        if sources not in self._dataset_specs:
            self._dataset_specs[sources] = dataset_spec(config.data)
        return self.shared.get(self._dataset_specs[sources])

    def tokens(self, config: TrialConfig, check: Check = lambda: None) -> Artifact:
        """What the model that is trained is fed, row by row."""
        model, digest = self.shared.model(config.model.reference)
        spec = tokens_spec(self.dataset(config), config.model, model, digest)
        return self.shared.get(spec, check)

    def test_tokens(self, config: TrialConfig, *, always: bool = False) -> Artifact | None:
        """What it is fed of the test sets, where they are read at a length of their own.

        Args:
            always: also where they are not, for a model that is fed nothing else.
        """
        length = config.test_length or (config.model.max_length if always else None)
        if length is None:
            return None
        model, digest = self.shared.model(config.model.reference)
        spec = tokens_spec(self.dataset(config), config.model, model, digest, length)
        return self.shared.get(spec)

    def token_vectors(self, config: TrialConfig, check: Check) -> Artifact:
        """Gradient vectors or target paths, behind the tokens and adapters they are made with."""
        dataset, (model, digest) = self.dataset(config), self.shared.model(config.embedding.model)
        length = config.embedding.max_length
        read = config.model.model_copy(update={"max_length": length})
        tokens = self.shared.get(tokens_spec(dataset, read, model, digest), check)
        source = Source(dataset, tokens, config.embedding, model, digest)
        if config.embedding.pooling == "path":
            paths = self.shared.get(paths_spec(source), check)
            return self.shared.get(path_vectors_spec(source, paths, self.shared.store.path), check)
        warm_up = self.shared.get(warm_up_spec(source), check)
        return self.shared.get(gradients_spec(source, warm_up, self.shared.store.path), check)

    def influence(self, config: TrialConfig) -> Artifact:
        """What each row would do to the others by a step, and all losses at the start."""
        model, digest = self.shared.model(config.model.reference)
        settings = influence_settings(config)
        source = Source(self.dataset(config), self.tokens(config), settings, model, digest)
        warm_up, store = self.shared.get(warm_up_spec(source)), self.shared.store.path
        return self.shared.get(influence_spec(source, warm_up, store, config.model.adapter))

    def query_influence(self, config: TrialConfig) -> Influence | None:
        """That of the pool on the query set; None for a method that does not need it."""
        if not needs_of(config.arrangement, config.seed).influence:
            return None
        dataset, tokens = self.dataset(config), self.tokens(config)
        return load_influence(self.influence(config), dataset, tokens, config)
