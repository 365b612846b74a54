"""From a configuration to its plan and to what trains it: all before the first training step.

The data is read, models are fetched meanwhile, and of each trial what it shares with others is made
(`StudyArtifacts`), then its plan and its spec.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config import TrialConfig, dump_yaml
from orchestrator.config.arrangement import Arrangement
from orchestrator.config.layout import Layout
from orchestrator.core.plan import Plan
from orchestrator.errors import PlanError
from orchestrator.screen import Screen
from orchestrator.stages.arrange import (
    check_answers,
    embedding_model,
    make_plan,
    needs_of,
    plan_of_passes,
    reads_model,
    write_plan,
)
from orchestrator.stages.dataset import (
    check_sizes,
    load_answers,
)
from orchestrator.stages.measures import load_bigrams, write_measures
from orchestrator.stages.query_losses import load_query_losses
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import (
    CONFIG_FILE,
    ERROR_FILE,
    JOURNAL_FILE,
    MEASURES_FILE,
    PLAN_FILE,
    RESULT_FILE,
    STOPPED_FILE,
)
from orchestrator.study.artifacts import StudyArtifacts
from orchestrator.study.identity import spec_key
from orchestrator.training import tokens
from orchestrator.training.checkpoint import keep_checkpoints_of, remove_checkpoints
from orchestrator.training.evaluation.benchmark_files import forget, forget_others
from orchestrator.training.outcome import ended, mark_measures
from orchestrator.training.spec import TrialSpec
from orchestrator.training.twins import forget_models_of_another
from orchestrator.trials import Trial


class Pipeline(StudyArtifacts):
    """Plans and specs of a study's trials.

    Attributes:
        notes: what the methods had to say of the plans that were written.
        refused: why a trial has no plan, by its name.
    """

    def __init__(self, layout: Layout, screen: Screen) -> None:
        super().__init__(layout, screen)
        self.notes: list[str] = []
        self.refused: dict[str, str] = {}
        self._screen = screen

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
            self.listed_rows(trial.config)

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
            if training or reads_model(config.arrangement, config.seed)
        ]
        scoring = [config.evaluation.generate.reward_model for config in configs if training]
        return self.shared.fetching(filter(None, [*embedders, *trained, *scoring]))

    def prepare(self, trials: list[Trial]) -> list[TrialSpec]:
        """The shared artifacts and the plans of all trials, and what trains each.

        Raises:
            PlanError: no trial has a plan. Where some have one, the others are `refused`.
        """
        specs = [self._trial_spec(trial) for trial in trials]
        line = self._screen.line("plans", len(specs))
        for done, spec in enumerate(specs, start=1):
            self._lay_out(spec)
            line.update(done, spec.trial)
        if len(self.refused) == len(specs):
            raise PlanError("\n".join(dict.fromkeys(self.refused.values())))
        line.done("; ".join([f"{len(specs) - len(self.refused)} plans", *self.notes]))
        for name in self.refused:
            self._tell_refused(name)
        return specs

    def ready(self, trial: Trial) -> TrialSpec:
        """As `prepare`, of one trial; one that ended is left as it is."""
        spec = self._trial_spec(trial)
        self._lay_out(spec)
        if spec.trial in self.refused:
            self._tell_refused(spec.trial)
        return spec

    def _tell_refused(self, trial: str) -> None:
        self._screen.line(trial).done(self.refused[trial], mark="failed")

    def write_plan(self, config: TrialConfig, folder: Path) -> Plan:
        """The configuration, the plan and its measures, as files of a trial's folder.

        Raises:
            PlanError: the method of its arrangement made no plan.
        """
        dataset, embeddings = self.dataset(config), self.embeddings(config)
        pool = self.pool(config, dataset, embeddings)
        needs = needs_of(config.arrangement, config.seed)
        neighbours = self.neighbours(config, pool, embeddings, needs.ends)
        bigrams = load_bigrams(dataset) if needs.bigrams else None
        listed = self.listed_rows(config)
        answers = load_answers(dataset, self.tokens(config)) if needs.answers else None
        measured, influence = self.query_losses(config), self.query_influence(config)
        losses = None if measured is None else load_query_losses(measured)

        def arranged(arrangement: Arrangement, seed: int) -> Plan:
            return make_plan(
                arrangement, seed, pool, neighbours, bigrams,
                listed=listed, answers=answers, losses=losses, influence=influence,
            )  # fmt: skip

        plan = plan_of_passes(arranged, config.arrangement, config.training, config.seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG_FILE, dump_yaml(config))
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
        measuring = self.measuring(config, trained=True)
        tokens, embeddings = self.fed_and_embedded(config)
        listed, losses = self.listed_rows(config), self.query_losses(config)
        searches = needs_of(config.arrangement, config.seed).influence
        influence = self.influence(config) if searches else None
        self.near_duplicates(config)
        return TrialSpec(
            trial=trial.name,
            key=spec_key(
                trial, tokens, embeddings, measuring.reward_digest, listed, losses, influence
            ),
            tokens=tokens.path,
            tokens_digest=tokens.digest,
            folder=self._layout.trial(trial.name),
            **measuring.fields,
        )

    def _lay_out(self, spec: TrialSpec) -> None:
        """The trial's folder with its plan, or with why it has none; of one that ended nothing
        changes."""
        if ended(spec.folder, spec.key):
            remove_checkpoints(spec.folder)  # what a kill at its very end left
            forget_others(spec.folder, spec.config)
            # Measures that were not asked for when it ended.
            if spec.config.evaluation.measures and not (spec.folder / MEASURES_FILE).is_file():
                rows = pq.read_table(spec.folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
                self._write_measures(rows, spec.config, spec.folder)
                if (spec.folder / RESULT_FILE).is_file() and (
                    spec.folder / MEASURES_FILE
                ).is_file():
                    mark_measures(spec.folder)
            return
        # What an earlier attempt or another configuration left, unless it continues.
        continues = keep_checkpoints_of(spec.folder, spec.key)
        ends = (RESULT_FILE, ERROR_FILE, STOPPED_FILE, PLAN_FILE, MEASURES_FILE)
        for stale in (*ends, *(() if continues else (JOURNAL_FILE,))):
            (spec.folder / stale).unlink(missing_ok=True)
        forget(spec.folder)
        forget_models_of_another(spec.folder)
        try:
            plan = self.write_plan(spec.config, spec.folder)
            check_answers(plan.rows, tokens.load(spec.tokens), spec.config)
        except PlanError as error:
            self.refused[spec.trial] = str(error)
            spec.folder.mkdir(parents=True, exist_ok=True)
            for made in (PLAN_FILE, MEASURES_FILE):
                (spec.folder / made).unlink(missing_ok=True)
            write_text(spec.folder / CONFIG_FILE, dump_yaml(spec.config))
            write_text(spec.folder / ERROR_FILE, str(error))
            return
        if plan.note:
            self.notes.append(f"{spec.trial}: {plan.note}")
