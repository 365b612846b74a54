"""The artifacts that trials share: each made once in a run, and none that the store holds.

What is made of tokens stands in `study.token_artifacts`. Then, as the class reads from top to
bottom: vectors, references, near duplicates, the pool at a granularity, ranked lists, listed rows,
losses of queries. Each asks for what the ones before it made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.config import TrialConfig
from orchestrator.config.arrangement import Clusters
from orchestrator.config.embedding import Embedding
from orchestrator.config.evaluation import Generation
from orchestrator.config.layout import Layout
from orchestrator.core.ranking import Candidates, End
from orchestrator.data.references import has_references
from orchestrator.screen import Screen
from orchestrator.stages.arrange import looks_at_vectors, needs_of
from orchestrator.stages.dataset import references_spec, tokenised_by_others
from orchestrator.stages.embed import embeddings_spec
from orchestrator.stages.given import listed_rows
from orchestrator.stages.near_duplicates import near_duplicates_spec
from orchestrator.stages.neighbours import load_neighbours, neighbours_spec
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.stages.pool import Pool, groups_spec, load_pool
from orchestrator.stages.query_losses import query_losses_spec
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import RAY_FOLDER
from orchestrator.study.shared import Check
from orchestrator.study.token_artifacts import TokenArtifacts
from orchestrator.training.spec import TrialSpec


class Measuring(NamedTuple):
    """What losses and answers on test sets are measured by, whoever trained the model.

    Attributes:
        fields: of a `TrialSpec`, by name.
        reward_digest: of the model that scores answers; None where none does.
        references_digest: of further right answers; None where there are none.
    """

    fields: dict[str, Any]
    reward_digest: str | None
    references_digest: str | None


class StudyArtifacts(TokenArtifacts):
    """What is made before any plan, for all trials of a study."""

    def __init__(self, layout: Layout, screen: Screen) -> None:
        super().__init__(layout, screen)
        self._layout = layout
        self._embeddings_specs: dict[tuple[str, Embedding], Spec] = {}
        self._pools: dict[tuple[str, ...], Pool] = {}
        self._listed: dict[tuple[str, str], NDArray[np.int64]] = {}  # read once, for plan and key

    def embeddings(self, config: TrialConfig, check: Check = lambda: None) -> Artifact | None:
        """Vectors of pool and test items; None where nothing of the trial looks at them."""
        if not looks_at_vectors(config):
            return None
        dataset = self.dataset(config)
        if config.embedding.of_tokens:
            return self.token_vectors(config, check)
        key = (dataset.digest, config.embedding)
        if key not in self._embeddings_specs:
            self._embeddings_specs[key] = self._embeddings_spec(config, dataset)
        return self.shared.get(self._embeddings_specs[key], check)

    def _embeddings_spec(self, config: TrialConfig, dataset: Artifact) -> Spec:
        if config.embedding.vectors is not None:
            return own_vectors_spec(dataset, config.embedding)
        model, digest = self.shared.model(config.embedding.model)
        return embeddings_spec(dataset, config.embedding, model, digest, self.shared.store.path)

    def references(self, config: TrialConfig) -> Artifact | None:
        """All right answers of test items; None where each has one, or none is generated."""
        dataset = self.dataset(config)
        asked = config.evaluation.generate.every is not None
        if not asked or not has_references(config.data, dataset.info["splits"]):
            return None
        return self.shared.get(references_spec(dataset, config.data))

    def measuring(self, config: TrialConfig, *, trained: bool) -> Measuring:
        """What the model is measured by, of a trial and of a model that no trial trained.

        Args:
            trained: whether it is fed the pool, too; else the pool needs no tokens.
        """
        model, digest = self.shared.model(config.model.reference)
        scoring = config.evaluation.generate.reward_model
        reward_model, reward_digest = self.shared.model(scoring) if scoring else (None, None)
        references = self.references(config)
        test_tokens = self.test_tokens(config, always=not trained)
        fields = {
            "config": config,
            "model": model,
            "model_digest": digest,
            "dataset": self.dataset(config).path,
            "store": self.shared.store.path,
            "reward_model": reward_model,
            "references": references.path if references else None,
            "test_tokens": (test_tokens.path, test_tokens.digest) if test_tokens else None,
        }
        return Measuring(fields, reward_digest, references.digest if references else None)

    def fed_and_embedded(self, config: TrialConfig) -> tuple[Artifact, Artifact | None]:
        """Tokens and vectors; of many rows at once, as vectors may need GPUs and tokens do not.

        A row that cannot be fed as it is is told before anything is embedded, or ends that.
        """
        in_turn = config.embedding.of_tokens  # of tokens, perhaps the same ones
        if in_turn or not tokenised_by_others(self.dataset(config)):
            return self.tokens(config), self.embeddings(config)
        return self.shared.both(
            lambda check: self.tokens(config, check), lambda check: self.embeddings(config, check)
        )

    def near_duplicates(self, config: TrialConfig) -> Artifact | None:
        """Pairs of pool and test items that nearly equal; None where no text is embedded."""
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        if embeddings is None or config.embedding.of_tokens:
            return None
        threshold, neighbours = config.data.near_duplicate, config.neighbours
        return self.shared.get(near_duplicates_spec(dataset, embeddings, threshold, neighbours))

    def pool(self, config: TrialConfig, dataset: Artifact, embeddings: Artifact | None) -> Pool:
        """The pool at the trial's granularity; its k-means groups are made where it has some."""
        granularity, groups = config.arrangement.granularity, None
        if isinstance(granularity, Clusters):
            assert embeddings is not None, "clusters are made of vectors"
            groups = self.shared.get(groups_spec(dataset, embeddings, granularity))
        key = (dataset.digest, embeddings.digest if embeddings else "", str(granularity))
        if key not in self._pools:
            self._pools[key] = load_pool(granularity, dataset, embeddings, groups)
        return self._pools[key]

    def neighbours(
        self, config: TrialConfig, pool: Pool, embeddings: Artifact | None, ends: Iterable[End]
    ) -> dict[End, Candidates]:
        """Ranked lists from each end of the pool that the method needs."""
        granularity = config.arrangement.granularity
        lists: dict[End, Candidates] = {}
        for end in ends:
            assert embeddings is not None, "a method that does not embed needs ranked lists"
            spec = neighbours_spec(pool, embeddings, granularity, end, config.neighbours)
            lists[end] = load_neighbours(self.shared.get(spec))
        return lists

    def listed_rows(self, config: TrialConfig) -> NDArray[np.int64] | None:
        """The rows that the file of an arrangement names; None where it has none."""
        if not needs_of(config.arrangement, config.seed).listed:
            return None
        key = (config.data.model_dump_json(), config.arrangement.model_dump_json())
        if key not in self._listed:
            dataset = self.dataset(config)
            self._listed[key] = listed_rows(config.arrangement, config.data, dataset)
        return self._listed[key]

    def query_losses(self, config: TrialConfig) -> Artifact | None:
        """What the untouched model loses on each query; None where no plan looks at that."""
        if not needs_of(config.arrangement, config.seed).losses:
            return None
        silent = config.evaluation.model_copy(update={"generate": Generation()})
        config = config.model_copy(update={"evaluation": silent})
        tokens, fields = self.tokens(config), self.measuring(config, trained=True).fields
        # In the place of a trial, whose folder is the artifact's.
        trial = TrialSpec(
            trial="query-losses",
            key="",
            tokens=tokens.path,
            tokens_digest=tokens.digest,
            folder=self._layout.folder,
            **fields,
        )

        def measure(spec: TrialSpec) -> None:
            from orchestrator.tune.evaluate import run_evaluation  # with Ray Train, in seconds

            run_evaluation(spec, None, {}, self._layout.folder / RAY_FOLDER)

        return self.shared.get(query_losses_spec(trial, measure))
