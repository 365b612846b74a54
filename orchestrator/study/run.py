"""One command, one study: prepare, train, record, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.markup import escape

from orchestrator.config import Study, dump_yaml
from orchestrator.config.layout import Layout
from orchestrator.forecast.forecaster import Request
from orchestrator.report.build import build_report
from orchestrator.report.headline import Headline, headline
from orchestrator.report.summary import (
    by_reason,
    screen_table,
    write_summary,
)
from orchestrator.screen import Screen, quiet_streams, shown_path
from orchestrator.storage.artifacts import write_json, write_text
from orchestrator.storage.disk import writing
from orchestrator.storage.files import (
    BENCHMARKS_FILE,
    CONFIG_FILE,
    ERROR_FILE,
    FORECASTS_FOLDER,
    LOG_FILE,
    LOGS_FOLDER,
    MEASURES_FILE,
    PLAN_FILE,
    RAY_FOLDER,
    REPORT_FOLDER,
    RUN_FILE,
    STUDY_FILE,
    SUMMARY_FILE,
    TRIALS_FOLDER,
)
from orchestrator.storage.lock import locked
from orchestrator.study.benchmarks import run_benchmarks
from orchestrator.study.checks import check_before_ray, check_fetched, check_room, check_with_ray
from orchestrator.study.cluster import cluster, describe_cluster, threads
from orchestrator.study.description import description
from orchestrator.study.facts import Began, command, provenance_tags, study_facts
from orchestrator.study.fleet import joins
from orchestrator.study.forecasting import (
    forecast_tags,
    forecasters_to_ask,
    mark_begun,
    settle,
    studies_before,
    write_forecasts,
)
from orchestrator.study.pipeline import Pipeline
from orchestrator.study.ray_death import closed_anyway
from orchestrator.study.summary_rows import best_metrics, metrics_of, summary_row
from orchestrator.study.twins import share_results, told_twins
from orchestrator.tracking import (
    MLFLOW_RUN_NOTE,
    PARENT,
    TWIN_OF,
    Backlog,
    Record,
    SystemSampler,
    Tracker,
    certificate,
    describe,
    finished,
)
from orchestrator.training.outcome import forget_stops
from orchestrator.training.spec import TrialSpec, has_plan
from orchestrator.trials import Expansion, expansion
from orchestrator.tune.optuna import Suggestions
from orchestrator.tune.run import INTERRUPTED, KnownTrials, run_trials

# Of a trial, for MLflow, beside its tables.
TRIAL_FILES = [CONFIG_FILE, PLAN_FILE, MEASURES_FILE, ERROR_FILE, BENCHMARKS_FILE]
STUDY_FILES = [SUMMARY_FILE, STUDY_FILE, RUN_FILE, FORECASTS_FOLDER, REPORT_FOLDER]


def run_study(study: Study) -> bool:
    """Run a study to its end, or finish what an earlier run of it left.

    Returns:
        Whether every trial finished with its order proved.

    Raises:
        UserError: before anything starts, for what the user can mend; also where another
            process works in the study's folder.
        DiskError: a disk is full, or fails, meanwhile; what was finished is kept.
    """
    expanded = expansion(study)
    layout = Layout.of(study)
    check_before_ray(study, expanded.trials, layout)
    for first in studies_before(study, expanded.trials, layout):
        run_study(first)
    log = layout.folder / LOGS_FOLDER / LOG_FILE
    with (
        writing(layout.folder),
        locked(layout.folder),
        quiet_streams(log) as console,
        Screen(console) as screen,
    ):
        return Run(study, expanded, layout, screen).run()


class Run:
    """The state of one run of a study."""

    def __init__(self, study: Study, expanded: Expansion, layout: Layout, screen: Screen) -> None:
        self.study = study
        self.trials = expanded.trials
        self.left_out = expanded.left_out
        self.layout = layout
        self.screen = screen
        self.swept = list(dict.fromkeys(key for trial in self.trials for key in trial.settings))
        self.began = Began.now()
        self.errors: dict[str, str] = {}
        self.unmeasured: dict[str, str] = {}  # trials without the benchmarks asked for, and why
        self.certificates: dict[str, dict[str, str]] = {}  # of the plans, by the spec's key
        self.foretold: list[str] = []  # what became of the forecasts, in sentences

    def run(self) -> bool:
        with self.prepared() as (pipeline, specs):
            planned = [spec for spec in specs if has_plan(spec)]
            twins = told_twins(planned, self.screen)
            tracker = Tracker(self._record(specs, twins), self.layout.folder, self.screen)
            try:
                searched = self.study.sweep.search
                trained = [spec for spec in planned if spec.trial not in twins]
                trials = self._search(pipeline, tracker) if searched else KnownTrials(trained)
                ray_folder = self.layout.folder / RAY_FOLDER
                mark_begun(self.trials, self.layout)
                with closed_anyway(tracker.abandon):
                    with self._sampling():
                        self.errors = run_trials(self.study, trials, self.screen, ray_folder)
                    self.errors |= share_results(twins, specs, self.errors, self.screen)
                    self.errors |= pipeline.refused
                    every = trials.specs if searched else specs
                    if INTERRUPTED not in self.errors.values():
                        self.unmeasured = run_benchmarks(every, self.screen)
                self._finish(pipeline, every, tracker)
            except BaseException:
                tracker.abandon()
                raise
        return not (self.errors or self.unmeasured)

    @contextmanager
    def prepared(self) -> Iterator[tuple[Pipeline, list[TrialSpec]]]:
        """Ray, and all that comes before the first step: artifacts, plans, forecasts."""
        study, layout, screen = self.study, self.layout, self.screen
        by = f", chosen by {study.sweep.search.type}" if study.sweep.search else ""
        screen.print(
            f"[bold]{study.study}[/]: {len(self.trials)} trials{by} in "
            f"{escape(shown_path(layout.folder))}"
            + (f" ({escape(self.left_out)})" if self.left_out and not by else "")
        )
        asked = forecasters_to_ask(study, self.trials, layout, screen)
        pipeline = Pipeline(layout, screen)
        if not joins():
            pipeline.read_data(self.trials)  # what is wrong with it is told before Ray starts
            check_room(study, self.trials, layout)
        line = screen.line("ray")
        with cluster(threads(study, self.trials)):
            check_with_ray(study, self.trials, layout, screen)
            line.done(describe_cluster())
            pipeline.read_data(self.trials)
            write_text(layout.folder / STUDY_FILE, dump_yaml(study))
            forget_stops(layout.folder / TRIALS_FOLDER, study.sweep.scheduler.model_dump())
            configs = [trial.config for trial in self.trials]
            with pipeline.fetching_models(configs, training=True):
                concurrent = study.sweep.max_concurrent
                check_fetched(configs, pipeline.shared.model_folder, screen, concurrent)
                for sentence in check_room(study, self.trials, layout):
                    screen.tell(sentence)
                if study.sweep.search:
                    self.trials = []  # they were examples: the search chooses its own
                specs = pipeline.prepare(self.trials) if self.trials else []
            if asked:
                self._certify(specs)
                trials = [
                    trial for trial, spec in zip(self.trials, specs, strict=True) if has_plan(spec)
                ]
                planned = [spec for spec in specs if has_plan(spec)]
                request = Request(
                    study, trials, planned, pipeline, layout.output, self.certificates
                )
                write_forecasts(asked, request, layout.folder, screen)
            yield pipeline, specs

    def _search(self, pipeline: Pipeline, tracker: Tracker) -> Suggestions:
        """The trials of `sweep.search`, taken up where an earlier run of the study left them."""

        def chosen(expanded: Expansion, specs: list[TrialSpec]) -> None:
            self.trials, self.left_out = expanded.trials, expanded.left_out
            tracker.update(self._record(specs, {}))

        suggestions = Suggestions(self.study, self.layout.folder, pipeline.ready, chosen)
        suggestions.resume()
        return suggestions

    def _certify(self, specs: list[TrialSpec]) -> None:
        """Know the certificate that each plan is to earn."""
        for spec in specs:
            if spec.key not in self.certificates:  # a search names its trials again and again
                self.certificates[spec.key] = certificate(spec)

    def _record(self, specs: list[TrialSpec], twins: Mapping[str, TrialSpec]) -> Record:
        self._certify(specs)
        tags = provenance_tags(self.layout.folder) | forecast_tags(self.layout.folder)
        tags[MLFLOW_RUN_NOTE] = self._description()
        trial_tags = {
            spec.key: self.certificates[spec.key]
            | ({TWIN_OF: twins[spec.trial].trial} if spec.trial in twins else {})
            for spec in specs
        }
        return describe(
            self.study, self.trials, specs, tags, TRIAL_FILES, self.layout.folder,
            trial_tags=trial_tags,
        )  # fmt: skip

    def _description(self, answer: str = "", best: str = "") -> str:
        return description(self.study, self.trials, command(self.layout.folder), answer, best)

    def _sampling(self) -> AbstractContextManager[object]:
        wanted = self.study.tracking.system_metrics
        return SystemSampler(self.layout.folder) if wanted else nullcontext()

    def _finish(self, pipeline: Pipeline, specs: list[TrialSpec], tracker: Tracker) -> None:
        line = self.screen.line("report")
        folder = self.layout.folder
        pairs = zip(self.trials, specs, strict=True)
        killed = [name for name, error in self.errors.items() if error == INTERRUPTED]
        rows = [
            summary_row(trial, spec, self.swept, interrupted=trial.name in killed)
            for trial, spec in pairs
        ]
        write_summary(folder / SUMMARY_FILE, rows, self.swept)
        precisions = (row["precision"] for row in rows)
        facts = study_facts(pipeline, self.trials, precisions, self.began, folder)
        facts["errors"] = self.errors
        write_json(folder / RUN_FILE, facts)
        self.foretold, scores = settle(folder, self.screen)
        report = build_report(folder)
        line.done(shown_path(report))
        endings = {
            row["trial"]: {"ended": row["status"], "precision": row["precision"]}
            | ({TWIN_OF: row["twin_of"]} if "twin_of" in row else {})
            for row in rows
        }
        metrics = {row["trial"]: metrics_of(row, self.swept) for row in rows}
        said = headline(folder)
        metrics[PARENT] = scores | best_metrics(said.best, metrics)
        ended = finished(
            tracker.record, STUDY_FILES, self.errors, endings, metrics, killed,
            description=self._description(said.text, said.best.name if said.best else ""),
        )  # fmt: skip
        tracker.update(ended)
        line = self.screen.line("mlflow")
        unsent = tracker.close(self.study.tracking.flush_seconds)
        line.done(shown_path(tracker.address), mark="later" if unsent else "done")
        self._print_end(rows, said, report, unsent)

    def _print_end(
        self, rows: list[dict[str, Any]], said: Headline, report: Path, unsent: Backlog | None
    ) -> None:
        """The table, what failed, the answer, and where to look next."""
        self.screen.print()
        self.screen.print(screen_table(rows))
        for error, names in by_reason(self.errors):
            colour, ended = ("yellow", "unfinished") if error == INTERRUPTED else ("red", "failed")
            self.screen.print(f"[{colour}]{names} {ended}:[/] {escape(error)}")
        for error, names in by_reason(self.unmeasured):
            colour = "yellow" if error == INTERRUPTED else "red"
            self.screen.print(f"[{colour}]{names} without benchmarks:[/] {escape(error)}")
        for sentence in self.foretold:
            self.screen.print(f"[bold]forecast[/] {escape(sentence)}")
        if unsent:
            self.screen.print(f"[yellow]not sent:[/] {escape(shown_path(str(unsent)))}")
        self.screen.print()
        self.screen.print(f"[bold]{escape(said.sentence)}[/]")
        if said.warning:
            self.screen.tell(said.warning)
        next_steps = {
            "report": shown_path(report),
            "runs": f"orchestrator ui {shown_path(self.layout.output)}",
            "proof": f"orchestrator verify {shown_path(self.layout.folder)}",
            "logs": shown_path(self.layout.folder / LOGS_FOLDER),
        }
        self.screen.print()
        for name, text in next_steps.items():
            self.screen.print(f"{name:<8} {escape(text)}", whole=True)
