"""Plans for the trials of a study, without training."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.core.plan import Plan
from orchestrator.errors import PlanError, UserError
from orchestrator.host.folders import check_written
from orchestrator.screen import Screen, quiet_streams
from orchestrator.stages.arrange import needs_of
from orchestrator.stages.exports import write_order
from orchestrator.stages.exports.order import Order
from orchestrator.storage.files import PLAN_FILE
from orchestrator.storage.remote import check_remote_store
from orchestrator.study.checks import check_here, check_settings
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.fleet import check_this_machine, joins
from orchestrator.study.model_checks import check_all_fetched
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import Trial, expand


def arrange_study(study: Study, out: Path, form: str | None) -> None:
    """`<out>/<trial>/plan.parquet` for every trial, and the order in another form.

    Args:
        form: one of `stages.exports.FORMATS`; None: the plans alone.

    Raises:
        UserError: for what the user can mend; of trials that have no plan at the end, when those of
            all others are written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: give a folder for the plans of a study")
    layout = Layout.of(study)
    check_written(out.absolute(), "give another with --out")
    trials = expand(study)
    check_here(layout, trials, starts_ray=not joins(), training=False)
    measured = [t for t in trials if needs_of(t.config.arrangement, t.config.seed).losses]
    if measured:
        check_settings(measured)  # the losses are, where their trial would be
    check_this_machine(study, trials, training=bool(measured))
    if study.remote_store:
        check_remote_store(study.remote_store)
    configs = [trial.config for trial in trials]
    with quiet_streams(out / "arrange.log") as console, Screen(console) as screen:
        pipeline = Pipeline(layout, screen)
        pipeline.read_data(trials)
        with cluster(threads(study, trials)), pipeline.fetching_models(configs, training=False):
            check_all_fetched(configs, pipeline.shared.model_folder, training=False)
            refused = []
            for trial in trials:
                folder = out / trial.name
                try:
                    plan = pipeline.write_plan(trial.config, folder)
                except PlanError as error:
                    refused.append(f"{trial.name}: {error}")
                    continue
                screen.print(_described(folder, plan))
                if form is not None:
                    order = _order(pipeline, trial, folder / PLAN_FILE, near=form == "hf")
                    screen.print(f"  [green]order[/] {escape(str(write_order(form, order)))}")
            if refused:
                raise PlanError("\n".join(refused))


def _order(pipeline: Pipeline, trial: Trial, plan: Path, *, near: bool) -> Order:
    """The plan of a trial with what it was made from; with near duplicates where they are told."""
    config = trial.config
    pairs = pipeline.near_duplicates(config) if near else None
    return Order(plan, config, pipeline.dataset(config), pairs)


def _described(folder: Path, plan: Plan) -> str:
    note = f", {plan.note}" if plan.note else ""
    return f"   [green]plan[/] {escape(str(folder / PLAN_FILE))}  {len(plan):,} rows{note}"
