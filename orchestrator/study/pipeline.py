"""From a configuration to its plan and to what trains it: all before the first training step.

Stage after stage, as `Pipeline` reads from top to bottom: dataset, models, tokens, embeddings, near
duplicates, groups, neighbours, plan, trial. Each asks for what the ones before it made; nothing
is made twice in a run, and nothing that the store holds is made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config import TrialConfig, dump_yaml
from orchestrator.config.arrangement import Clusters
from orchestrator.config.layout import Layout
from orchestrator.config.schema import Embedding
from orchestrator.core.arrangements import method_version
from orchestrator.core.plan import Plan
from orchestrator.core.ranking import Candidates, End
from orchestrator.data.references import has_references
from orchestrator.screen import Screen
from orchestrator.stages.arrange import (
    ARRANGE_VERSION,
    arranges_vectors,
    embedding_model,
    looks_at_vectors,
    make_plan,
    needs_of,
    plan_of_passes,
    write_plan,
)
from orchestrator.stages.dataset import (
    check_sizes,
    dataset_spec,
    load_answers,
    references_spec,
    tokenised_by_others,
    tokens_spec,
)
from orchestrator.stages.embed import embeddings_spec
from orchestrator.stages.given import listed_rows, rows_digest
from orchestrator.stages.measures import load_bigrams, write_measures
from orchestrator.stages.near_duplicates import near_duplicates_spec
from orchestrator.stages.neighbours import load_neighbours, neighbours_spec
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.stages.pool import Pool, groups_spec, load_pool
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact, key_digest
from orchestrator.storage.files import (
    CONFIG_FILE,
    ERROR_FILE,
    JOURNAL_FILE,
    MEASURES_FILE,
    PLAN_FILE,
    RESULT_FILE,
    STOPPED_FILE,
)
from orchestrator.storage.remote import ArtifactStore, RemoteStore
from orchestrator.study.shared import Check, SharedResources
from orchestrator.training.checkpoint import keep_checkpoints_of, remove_checkpoints
from orchestrator.training.outcome import ended
from orchestrator.training.spec import TRAIN_VERSION, TrialSpec
from orchestrator.trials import Trial


class Pipeline:
    """Plans and specs of a study's trials.

    Attributes:
        shared: what the trials share; tells what was made, reused and fetched.
        notes: what the methods had to say of the plans that were written.
    """

    def __init__(self, layout: Layout, screen: Screen) -> None:
        remote = RemoteStore(layout.remote_store, screen) if layout.remote_store else None
        self.shared = SharedResources(ArtifactStore(layout.store, remote), screen)
        self.notes: list[str] = []
        self._layout = layout
        self._screen = screen
        # Files of gigabytes are hashed once.
        self._dataset_specs: dict[str, Spec] = {}
        self._embeddings_specs: dict[tuple[str, Embedding], Spec] = {}
        self._pools: dict[tuple[str, ...], Pool] = {}
        self._listed: dict[tuple[str, str], NDArray[np.int64]] = {}  # read once, for plan and key

    def read_data(self, trials: list[Trial]) -> None:
        """Build the datasets and refuse what cannot be trained, before anything slow starts.

        Raises:
            DataError: for data that cannot be read, a pool smaller than a batch or a budget,
                vectors that are not those of the data, or a file of ids that the pool lacks.
        """
        for trial in trials:
            dataset = self.dataset(trial.config)
            check_sizes(trial.config, dataset.info["splits"]["pool"])
            if trial.config.embedding.vectors is not None:
                self.embeddings(trial.config)  # needs no engine
            self._listed_rows(trial.config)

    def fetching_models(
        self, configs: Iterable[TrialConfig], *, training: bool
    ) -> AbstractContextManager[None]:
        """Resolve models while other stages run.

        Args:
            training: also those that are trained, not only those that embed.
        """
        embedders = [embedding_model(config) for config in configs]
        trained = [
            config.model.reference
            for config in configs
            if training or needs_of(config.arrangement, config.seed).answers
        ]
        scoring = [config.evaluation.generate.reward_model for config in configs if training]
        return self.shared.fetching(filter(None, [*embedders, *trained, *scoring]))

    def prepare(self, trials: list[Trial]) -> list[TrialSpec]:
        """The shared artifacts and the plans of all trials, and what trains each."""
        specs = [self._trial_spec(trial) for trial in trials]
        line = self._screen.line("plans", len(specs))
        for done, spec in enumerate(specs, start=1):
            self._lay_out(spec)
            line.update(done, spec.trial)
        line.done("; ".join([f"{len(specs)} plans", *self.notes]))
        return specs

    def ready(self, trial: Trial) -> TrialSpec:
        """As `prepare`, of one trial; one that ended is left as it is."""
        spec = self._trial_spec(trial)
        self._lay_out(spec)
        return spec

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

    def test_tokens(self, config: TrialConfig) -> Artifact | None:
        """What it is fed of the test sets, where they are read at a length of their own."""
        length = config.test_length
        if length is None:
            return None
        model, digest = self.shared.model(config.model.reference)
        spec = tokens_spec(self.dataset(config), config.model, model, digest, length)
        return self.shared.get(spec)

    def embeddings(self, config: TrialConfig, check: Check = lambda: None) -> Artifact | None:
        """Vectors of pool and test items; None where nothing of the trial looks at them."""
        if not looks_at_vectors(config):
            return None
        dataset = self.dataset(config)
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

    def _fed_and_embedded(self, config: TrialConfig) -> tuple[Artifact, Artifact | None]:
        """Tokens and vectors; of many rows at once, as vectors may need GPUs and tokens do not.

        A row that cannot be fed as it is is told before anything is embedded, or ends that.
        """
        if not tokenised_by_others(self.dataset(config)):
            return self.tokens(config), self.embeddings(config)
        return self.shared.both(
            lambda check: self.tokens(config, check), lambda check: self.embeddings(config, check)
        )

    def near_duplicates(self, config: TrialConfig) -> Artifact | None:
        """Pairs of pool and test items that nearly equal; None where nothing is embedded."""
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        if embeddings is None:
            return None
        threshold, neighbours = config.data.near_duplicate, config.neighbours
        return self.shared.get(near_duplicates_spec(dataset, embeddings, threshold, neighbours))

    def _pool(self, config: TrialConfig, dataset: Artifact, embeddings: Artifact | None) -> Pool:
        """The pool at the trial's granularity; its k-means groups are made where it has some."""
        granularity, groups = config.arrangement.granularity, None
        if isinstance(granularity, Clusters):
            assert embeddings is not None, "clusters are made of vectors"
            groups = self.shared.get(groups_spec(dataset, embeddings, granularity))
        key = (dataset.digest, embeddings.digest if embeddings else "", str(granularity))
        if key not in self._pools:
            self._pools[key] = load_pool(granularity, dataset, embeddings, groups)
        return self._pools[key]

    def _neighbours(
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

    def _listed_rows(self, config: TrialConfig) -> NDArray[np.int64] | None:
        """The rows that the file of an arrangement names; None where it has none."""
        if not needs_of(config.arrangement, config.seed).listed:
            return None
        key = (config.data.model_dump_json(), config.arrangement.model_dump_json())
        if key not in self._listed:
            dataset = self.dataset(config)
            self._listed[key] = listed_rows(config.arrangement, config.data, dataset)
        return self._listed[key]

    def write_plan(self, config: TrialConfig, folder: Path) -> Plan:
        """The configuration, the plan and its measures, as files of a trial's folder."""
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        pool = self._pool(config, dataset, embeddings)
        needs = needs_of(config.arrangement, config.seed)
        neighbours = self._neighbours(config, pool, embeddings, needs.ends)
        bigrams = load_bigrams(dataset) if needs.bigrams else None
        listed = self._listed_rows(config)
        answers = load_answers(dataset, self.tokens(config)) if needs.answers else None

        def arranged(seed: int) -> Plan:
            return make_plan(
                config.arrangement, seed, pool, neighbours, bigrams, listed=listed, answers=answers
            )

        plan = plan_of_passes(arranged, config.training, config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(dump_yaml(config), encoding="utf-8")
        write_plan(plan, dataset, folder / PLAN_FILE)
        self._write_measures(plan.rows, config, folder)
        return plan

    def _write_measures(self, rows: NDArray[np.int64], config: TrialConfig, folder: Path) -> None:
        (folder / MEASURES_FILE).unlink(missing_ok=True)
        embeddings = self.embeddings(config)
        if embeddings is not None and config.evaluation.measures:
            write_measures(rows, config, self.dataset(config), embeddings, folder / MEASURES_FILE)

    def _trial_spec(self, trial: Trial) -> TrialSpec:
        """What trains a trial, its shared artifacts made."""
        config = trial.config
        model, model_digest = self.shared.model(config.model.reference)
        scoring = config.evaluation.generate.reward_model
        reward_model, reward_digest = self.shared.model(scoring) if scoring else (None, None)
        tokens, embeddings = self._fed_and_embedded(config)
        references = self.references(config)
        listed = self._listed_rows(config)
        self.near_duplicates(config)
        test_tokens = self.test_tokens(config)
        return TrialSpec(
            trial=trial.name,
            # The content of files counts, not only their names in the configuration.
            key=key_digest(
                [
                    {"arrange": ARRANGE_VERSION, "train": TRAIN_VERSION},
                    trial.key,
                    tokens.digest,
                    embeddings.digest if embeddings and arranges_vectors(config) else None,
                    method_version(config.arrangement.method),
                    reward_digest,
                    *([] if listed is None else [rows_digest(listed[: config.arrangement.rows])]),
                ]
            ),
            config=config,
            model=model,
            model_digest=model_digest,
            dataset=self.dataset(config).path,
            tokens=tokens.path,
            tokens_digest=tokens.digest,
            folder=self._layout.trial(trial.name),
            store=self.shared.store.path,
            reward_model=reward_model,
            references=references.path if references else None,
            test_tokens=(test_tokens.path, test_tokens.digest) if test_tokens else None,
        )

    def _lay_out(self, spec: TrialSpec) -> None:
        """The trial's folder with its plan; of one that ended nothing changes."""
        if ended(spec.folder, spec.key):
            remove_checkpoints(spec.folder)  # what a kill at its very end left
            # Measures that were not asked for when it ended.
            if spec.config.evaluation.measures and not (spec.folder / MEASURES_FILE).is_file():
                rows = pq.read_table(spec.folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
                self._write_measures(rows, spec.config, spec.folder)
            return
        # What an earlier attempt or another configuration left, unless it continues.
        continues = keep_checkpoints_of(spec.folder, spec.key)
        ends = (RESULT_FILE, ERROR_FILE, STOPPED_FILE)
        for stale in (*ends, *(() if continues else (JOURNAL_FILE,))):
            (spec.folder / stale).unlink(missing_ok=True)
        plan = self.write_plan(spec.config, spec.folder)
        if plan.note:
            self.notes.append(f"{spec.trial}: {plan.note}")
