"""From a configuration to its plan and to what trains it: all before the first training step."""

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
from orchestrator.core.arrangements import method_version
from orchestrator.core.plan import Plan
from orchestrator.screen import Screen
from orchestrator.stages.arrange import (
    ARRANGE_VERSION,
    arranges_vectors,
    looks_at_vectors,
    make_plan,
    write_plan,
)
from orchestrator.stages.dataset import (
    build_dataset,
    build_tokens,
    check_sizes,
    describe_dataset,
    describe_tokens,
    tell_changed,
    tell_unread,
)
from orchestrator.stages.embed import (
    build_embeddings,
    describe_embeddings,
    embedded_rows,
    tell_resolution,
)
from orchestrator.stages.measures import load_bigrams, write_measures
from orchestrator.stages.near_duplicates import build_near_duplicates
from orchestrator.stages.neighbours import End, build_neighbours, load_space
from orchestrator.stages.pool import Pool, build_clusters, load_pool
from orchestrator.stages.search import PoolSpace
from orchestrator.storage.artifacts import Artifact, key_digest
from orchestrator.storage.files import (
    ERROR_FILE,
    JOURNAL_FILE,
    MEASURES_FILE,
    PLAN_FILE,
    RESULT_FILE,
    STOPPED_FILE,
)
from orchestrator.storage.remote import ArtifactStore, RemoteStore
from orchestrator.study.shared import Shared
from orchestrator.training.checkpoint import keep_checkpoints_of, remove_checkpoints
from orchestrator.training.outcome import ended
from orchestrator.training.spec import TRAIN_VERSION, TrialSpec
from orchestrator.trials import Trial


class Pipeline:
    """Plans and specs of a study's trials.

    Attributes:
        shared: what the trials share; tells what was made, reused and fetched.
        datasets: the distinct datasets (one, unless data is swept).
        notes: what the methods had to say of the plans that were written.
    """

    def __init__(self, layout: Layout, screen: Screen) -> None:
        remote = RemoteStore(layout.remote_store, screen) if layout.remote_store else None
        self.shared = Shared(ArtifactStore(layout.store, remote), screen)
        self.datasets: dict[str, Artifact] = {}
        self.notes: list[str] = []
        self._layout = layout
        self._screen = screen
        self._pools: dict[str, Pool] = {}

    def read_data(self, trials: list[Trial]) -> None:
        """Build the datasets and refuse what cannot be trained, before anything slow starts.

        Raises:
            DataError: for data that cannot be read, or a pool smaller than a batch or a budget.
        """
        for trial in trials:
            config = trial.config
            check_sizes(config, self.dataset(config).info["splits"]["pool"])

    def fetching_models(
        self, configs: Iterable[TrialConfig], *, training: bool
    ) -> AbstractContextManager[None]:
        """Resolve models while other stages run.

        Args:
            training: also those that are trained, not only those that embed.
        """
        embedders = [config.embedding.model for config in configs if looks_at_vectors(config)]
        trained = [config.model.name for config in configs if training]
        scoring = [config.evaluation.generate.reward_model for config in configs if training]
        return self.shared.fetching([*embedders, *trained, *filter(None, scoring)])

    def prepare(self, trials: list[Trial]) -> list[TrialSpec]:
        """Shared artifacts and one spec a trial."""
        specs = [self._spec(trial) for trial in trials]
        line = self._screen.line("plans", len(specs))
        for done, (trial, spec) in enumerate(zip(trials, specs, strict=True)):
            self._plan(trial, spec)
            line.update(done + 1, trial.name)
        line.done("; ".join([f"{len(specs)} plans", *self.notes]))
        return specs

    def ready(self, trial: Trial) -> TrialSpec:
        """The spec of a trial whose folder holds its plan; one that ended is left as it is."""
        spec = self._spec(trial)
        self._plan(trial, spec)
        return spec

    def _plan(self, trial: Trial, spec: TrialSpec) -> None:
        if ended(spec.folder, spec.key):
            remove_checkpoints(spec.folder)  # what a kill at its very end left
            self._add_measures(trial.config, spec.folder)
            return
        # What an earlier attempt or another configuration left, unless it continues.
        continues = keep_checkpoints_of(spec.folder, spec.key)
        stale_files = (
            RESULT_FILE,
            ERROR_FILE,
            STOPPED_FILE,
            *(() if continues else (JOURNAL_FILE,)),
        )
        for stale in stale_files:
            (spec.folder / stale).unlink(missing_ok=True)
        plan = self.write_plan(trial.config, spec.folder)
        if plan.note:
            self.notes.append(f"{trial.name}: {plan.note}")

    def write_plan(self, config: TrialConfig, folder: Path) -> Plan:
        """The configuration, the plan and its measures, as files of a trial's folder."""
        dataset, pool = self.dataset(config), self._pool(config)
        plan = make_plan(
            config.arrangement,
            config.seed,
            pool,
            lambda farthest: self._space(config, pool, "far" if farthest else "near"),
            lambda: load_bigrams(dataset),
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
        write_plan(plan, dataset, folder / PLAN_FILE)
        self._write_measures(plan.rows, config, folder)
        return plan

    def dataset(self, config: TrialConfig) -> Artifact:
        """The instances of all splits."""
        dataset = self.shared.artifact(
            "dataset",
            config.data.model_dump(mode="json"),
            lambda _: build_dataset(config.data, self.shared.store),
            describe_dataset,
            tell=lambda info: tell_unread(info, config.data),
        )
        return self.datasets.setdefault(dataset.digest, dataset)

    def _add_measures(self, config: TrialConfig, folder: Path) -> None:
        """The measures of a trial that ended before they were asked for."""
        if config.evaluation.measures and not (folder / MEASURES_FILE).is_file():
            rows = pq.read_table(folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
            self._write_measures(rows, config, folder)

    def _write_measures(self, rows: NDArray[np.int64], config: TrialConfig, folder: Path) -> None:
        (folder / MEASURES_FILE).unlink(missing_ok=True)
        embeddings = self.embeddings(config)
        if embeddings is not None and config.evaluation.measures:
            write_measures(rows, config, self.dataset(config), embeddings, folder / MEASURES_FILE)

    def _spec(self, trial: Trial) -> TrialSpec:
        config = trial.config
        dataset = self.dataset(config)
        path, digest = self.shared.model(config.model.name)
        scoring = config.evaluation.generate.reward_model
        reward_model, reward_digest = self.shared.model(scoring) if scoring else (None, None)
        tokens = self.tokens(config)
        # Behind the tokens: a row that cannot be fed as it is is told before anything is embedded.
        embeddings = self.embeddings(config)
        self.near_duplicates(config)
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
                ]
            ),
            config=config,
            model=path,
            model_digest=digest,
            dataset=dataset.path,
            tokens=tokens.path,
            tokens_digest=tokens.digest,
            folder=self._layout.trial(trial.name),
            store=self.shared.store.path,
            reward_model=reward_model,
        )

    def tokens(self, config: TrialConfig) -> Artifact:
        """What the model that is trained is fed, row by row."""
        dataset, model = self.dataset(config), config.model
        path, digest = self.shared.model(model.name)
        return self.shared.artifact(
            "tokens",
            [dataset.digest, digest, model.template, model.max_length],
            lambda _: build_tokens(dataset, model, path, digest, self.shared.store),
            describe_tokens,
            tell=tell_changed,
        )

    def embeddings(self, config: TrialConfig) -> Artifact | None:
        """Vectors of pool and test items; None where nothing of the trial looks at them."""
        if not looks_at_vectors(config):
            return None
        dataset, store = self.dataset(config), self.shared.store
        path, digest = self.shared.model(config.embedding.model)
        return self.shared.artifact(
            "embeddings",
            [dataset.digest, config.embedding.model_dump(mode="json")],
            lambda line: build_embeddings(dataset, config.embedding, path, digest, store, line),
            describe_embeddings,
            total=sum(embedded_rows(dataset).values()),
            tell=lambda info: tell_resolution(info, config.embedding),
        )

    def near_duplicates(self, config: TrialConfig) -> Artifact | None:
        """What was found between pool and test sets; None where nothing is embedded."""
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        if embeddings is None:
            return None
        store, threshold = self.shared.store, config.data.near_duplicate
        return self.shared.artifact(
            "near duplicates",
            [embeddings.digest, threshold],
            lambda line: build_near_duplicates(
                dataset, embeddings, threshold, config.neighbours, store, line
            ),
            lambda info: f"{sum(info['counts'].values()):,} pool rows",
        )

    def _pool(self, config: TrialConfig) -> Pool:
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        granularity, clusters = config.arrangement.granularity, None
        key = f"{dataset.digest} {embeddings and embeddings.digest} {granularity}"
        if key in self._pools:
            return self._pools[key]
        if isinstance(granularity, Clusters):
            assert embeddings is not None, "clusters are made of vectors"
            clusters = self.shared.artifact(
                _named(granularity),
                [embeddings.digest, granularity.model_dump()],
                lambda _: build_clusters(dataset, embeddings, granularity, self.shared.store),
                lambda info: f"{info['clusters']:,} with rows",
            )
        return self._pools.setdefault(key, load_pool(granularity, dataset, embeddings, clusters))

    def _space(self, config: TrialConfig, pool: Pool, end: End) -> PoolSpace:
        embeddings, granularity = self.embeddings(config), config.arrangement.granularity
        assert embeddings is not None, "a method that does not embed asked for distances"
        lists = self.shared.artifact(
            f"{end} neighbours by {_named(granularity)}",
            [embeddings.digest, config.neighbours.depth, str(granularity), end],
            lambda line: build_neighbours(
                pool, embeddings, granularity, end,
                neighbours=config.neighbours, store=self.shared.store, line=line,
            ),
            lambda info: f"{info['queries']:,} queries, {info['units']:,} units",
        )  # fmt: skip
        return load_space(pool, lists, end)


def _named(granularity: str | Clusters) -> str:
    return granularity if isinstance(granularity, str) else f"{granularity.clusters} clusters"
