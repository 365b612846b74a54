"""Writes the report of a study: one self-contained page and the same figures as PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.report.answer import answer_of
from orchestrator.report.arithmetic import arithmetic_notes
from orchestrator.report.arms import Arm, group_arms, unit_of
from orchestrator.report.baseline import baseline_table
from orchestrator.report.benchmarks import benchmark_table, disagreements
from orchestrator.report.by_task import sets_by_task, write_tasks
from orchestrator.report.claim import ImpliedClaim, implied_claim
from orchestrator.report.contents import with_contents
from orchestrator.report.contrast_tables import (
    neighbour_table,
    set_gap_table,
    step_table,
    task_table,
)
from orchestrator.report.data import data_section
from orchestrator.report.drawing import arm_style, plotly_panel, save_png
from orchestrator.report.early import descents, early_table, set_changes, set_table
from orchestrator.report.evaluated import evaluated_table, tokenizer_notes
from orchestrator.report.figures import (
    SETS,
    Line,
    Panel,
    distance_panels,
    loss_panels,
    train_panel,
)
from orchestrator.report.first_rows import beginnings
from orchestrator.report.forecast_figures import forecast_panels
from orchestrator.report.forecast_tables import ForecastSection, forecast_section
from orchestrator.report.generations import generation_panels
from orchestrator.report.measures import SHOWN, correlation_table, correlations, measure_panels
from orchestrator.report.picker import save_task_png, task_picker
from orchestrator.report.prediction import Prediction, forecast_table, prediction
from orchestrator.report.read import StudyRecord, read_study
from orchestrator.report.reproduce import check_table, claim_checks
from orchestrator.report.sampled import answered_note, sampled_note
from orchestrator.report.sentences import twin_note
from orchestrator.report.settings import setting_tables
from orchestrator.report.side_by_side import side_by_side
from orchestrator.report.sources import source_loss_table, source_table
from orchestrator.report.sudden import drop_table, match_table, sudden_drops
from orchestrator.report.tables import run_facts, stage_table, summary_table
from orchestrator.report.trial import Trial, distinct
from orchestrator.report.winner import best_sentence, find_winner, winner_table
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import FIGURES_FOLDER, PAGE_FILE, REPORT_FOLDER, TASKS_FILE

# Of plotly.js the part that draws lines, as plotly.js-basic-dist-min 4.1.1 of npm has it: the whole
# library is four times as large.
LIBRARY = Path(__file__).parent / "plotly" / "plotly-basic.min.js"

Content = tuple[StudyRecord, list[Arm], Prediction | None, ForecastSection, dict[str, list[Panel]]]


def build_report(study_dir: Path) -> Path:
    """Write report/index.html and report/figures/*.png of a study folder; returns the page's path.

    The page opens from disk without a server or a network. Trials that failed, sets that were
    not measured and files that cannot be read are named or left out, never an error.

    Raises:
        DataError: the folder holds no summary.csv, or its study.yaml a claim that is none.
    """
    return _write(_content(study_dir), study_dir / REPORT_FOLDER)


def build_comparison(studies: Sequence[Path], folder: Path) -> tuple[Path, str]:
    """Write the page of several studies side by side, with its figures, into a folder.

    Returns:
        The page's path, and its first sentence.

    Raises:
        DataError: as `build_report`, or studies that do not compare (`side_by_side`).
    """
    records = [read_study(study) for study in studies]
    if len({record.name for record in records}) < len(records):  # as of two output folders
        records = [replace(r, name=str(place)) for r, place in zip(records, studies, strict=True)]
    pages = {
        record.name: quote(os.path.relpath(study / REPORT_FOLDER / PAGE_FILE, folder))
        for record, study in zip(records, studies, strict=True)
    }
    record = replace(side_by_side(records), pages=pages)
    content = _content_of(record, ForecastSection([], []))
    _, arms, *_ = content
    return _write(content, folder), best_sentence(find_winner(arms), arms)


def _write(content: Content, folder: Path) -> Path:
    """The page, the pictures and the table of tasks; the page's path."""
    _, arms, _, _, figures = content
    figures_dir = folder / FIGURES_FOLDER
    figures_dir.mkdir(parents=True, exist_ok=True)
    for name, panels in figures.items():
        if panels:
            save_png(panels, figures_dir / f"{name}.png")
    save_task_png(arms, figures_dir / "tasks.png")
    write_tasks(arms, folder / TASKS_FILE)
    path = folder / PAGE_FILE
    write_text(path, _page(*content))
    return path


def page_of(study_dir: Path) -> str:
    """The page of a study folder as HTML, without the pictures that `build_report` puts beside it.

    Raises:
        DataError: as `build_report`.
    """
    return _page(*_content(study_dir))


def _content(study_dir: Path) -> Content:
    """What page and pictures of a study are made of."""
    record = read_study(study_dir)
    return _content_of(record, forecast_section(study_dir, record.trials))


def _content_of(record: StudyRecord, foretold: ForecastSection) -> Content:
    arms = group_arms(record.trials)
    predicted = prediction(arms)
    figures = _figures(arms, record.evaluated, predicted, foretold)
    return record, arms, predicted, foretold, figures


def _figures(
    arms: list[Arm], models: list[Trial], predicted: Prediction | None, foretold: ForecastSection
) -> dict[str, list[Panel]]:
    """The panels of each figure, by the name of its file; empty where it shows nothing."""
    return {
        "loss_curves": loss_panels(arms, models),
        "generations": generation_panels(arms, models),
        "measures": measure_panels(arms),
        "prediction": predicted.panels if predicted else [],
        "forecasts": forecast_panels([part.foretold for part in foretold.parts], arms),
        "train_loss": [panel for panel in [train_panel(arms)] if panel.lines],
        "plan_distance": distance_panels(arms),
    }


def _page(
    record: StudyRecord,
    arms: list[Arm],
    predicted: Prediction | None,
    foretold: ForecastSection,
    figures: dict[str, list[Panel]],
) -> str:
    """The page as HTML."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    page = templates.get_template("page.html.j2").render(
        **_page_text(record, arms),
        prediction=predicted,
        foretold=foretold,
        forecasts=forecast_table(predicted.forecasts) if predicted else None,
        shown={f"measure-{name}" for name in SHOWN},
        without_measures=_arms_without_line(arms, figures["measures"]),
        without_distance=_arms_without_line(arms, figures["plan_distance"]),
        legend=[(arm, arm_style(arm)) for arm in arms],
        foldable={line.arm for line in _lines(figures["loss_curves"]) if line.trials},
        figures=figures,
        drawn={panel.key: plotly_panel(panel) for panels in figures.values() for panel in panels},
        library=LIBRARY.read_text(encoding="utf-8"),
        picker=task_picker(arms),
    )
    return with_contents(page)


def _page_text(record: StudyRecord, arms: list[Arm]) -> dict[str, object]:
    """All of the page but its figures."""
    trials, claim = record.trials, record.claim
    # Between studies nothing is implied: what else differs is not known to be nothing.
    unstated = ImpliedClaim([]) if record.studies else implied_claim(trials)
    answer = answer_of(claim or unstated, arms)
    checks = claim_checks(claim, arms) if claim else []
    drops = sudden_drops(trials)
    stages = record.run.get("stages", [])
    return {
        "study": record.name,
        "studies": record.studies,
        "pages": record.pages,
        "said_first": record.notes,
        "kind": claim.kind if claim else "",  # unfolds what the claim is about
        "mlflow": record.mlflow,
        "settings": setting_tables(arms, record.run),
        "beginnings": beginnings(record.run, trials),
        "by_task": sets_by_task(arms),
        "answer": answer,
        "standings": winner_table(answer.winner),
        "neighbours": neighbour_table(answer.neighbours),
        "set_gaps": set_gap_table(answer.sets),
        "against": baseline_table(claim, arms, answer.against) if claim else None,
        "checks": checks,
        "check_table": check_table(checks),
        "unfinished": [trial.label for trial in trials if not (trial.finished or trial.stopped)],
        "twins": twin_note(trials),
        "stopped": sum(trial.stopped for trial in trials),
        "total": len(trials),
        "faults": [fault for trial in (*trials, *record.evaluated) for fault in trial.faults],
        "evaluated": evaluated_table(arms, record.evaluated),
        "left_out": record.left_out,
        "tokenizers": tokenizer_notes(arms, record.evaluated),
        "benchmarks": benchmark_table(arms, record.evaluated),
        "disagreements": disagreements(arms),
        "several_seeds": any(len(distinct(arm.trials)) > 1 for arm in arms),
        "steps": step_table(arms, answer.contrast),
        "tasks": task_table(answer.contrast) if answer.contrast else None,
        "early": early_table(descents(arms)),
        "sets": set_table(set_changes(arms)),
        "drop_matches": match_table(drops),
        "drops": sum(len(row.drops) for row in drops),
        "drop_table": drop_table(drops),
        "unit": unit_of(trials),
        "unlabelled": [title for key, title in SETS.items() if unit_of(trials, key) == "instance"],
        "without_loss": _missing_loss_notes(trials),
        "arithmetic": arithmetic_notes(trials),
        "sampled": sampled_note(trials),
        "answered": answered_note(trials),
        "correlations": correlation_table(correlations(arms)),
        "fewest_tasks": FEWEST_TASKS,
        "notes": _plan_notes(trials),
        "data": data_section(record.run, trials),
        "sources": source_table(arms),
        "source_losses": source_loss_table(arms),
        "summary": summary_table(trials, linked=not record.studies) if trials else None,
        "facts": run_facts(record.run),
        "command": record.run.get("command"),
        "stages": stage_table(stages) if stages else None,
    }


def _lines(panels: list[Panel]) -> list[Line]:
    return [line for panel in panels for line in panel.lines]


def _arms_without_line(arms: list[Arm], panels: list[Panel]) -> list[str]:
    """Arms that have a plan but no line in a figure of plans."""
    drawn = {line.arm for line in _lines(panels)}
    return [arm.label for arm in arms if "plan" in arm.trials[0].tables and arm not in drawn]


def _plan_notes(trials: list[Trial]) -> dict[str, list[str]]:
    """What methods noted in their plans, and the trials that each note is of."""
    notes: dict[str, list[str]] = {}
    for trial in trials:
        if trial.note:
            notes.setdefault(trial.note, []).append(trial.label)
    return notes


def _missing_loss_notes(trials: list[Trial]) -> list[str]:
    """Sets with instances that have no loss, counted at one step of the trial with the most."""
    notes = []
    for key, title in SETS.items():
        counts = []
        for trial in trials:
            step, _, loss = trial.losses(key)
            if len(step):
                first = step == step.min()
                counts.append((int(np.isnan(loss[first]).sum()), int(first.sum())))
        missing, total = max(counts, default=(0, 0))
        if missing:
            notes.append(f"{title}: {missing} of {total} instances")
    return notes
