"""What is wrong with a study as a whole, once its trials are known; told before one starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from orchestrator.config.claim import Claim
from orchestrator.config.evaluation import scheduled_steps
from orchestrator.config.schema import Study, TrialConfig
from orchestrator.config.sweep import Sweep
from orchestrator.core.order import step_count


def study_faults(
    study: Study, configs: Sequence[TrialConfig], arms: Sequence[str], swept: Collection[str] = ()
) -> list[str]:
    """Faults of a study whose trials are sound each by itself.

    Args:
        configs, arms: of each trial.
        swept: dotted keys that the sweep sets in any trial.
    """
    return [
        *_metric_faults(study.sweep, configs),
        *_grace_faults(study.sweep, configs),
        *_claim_faults(study, configs, arms),
        *_registration_faults(study, configs),
        *_benchmark_faults(configs),
        *_forecast_faults(study, swept),
    ]


def _metric_faults(sweep: Sweep, configs: Sequence[TrialConfig]) -> list[str]:
    """Test sets that trials are judged by and that not all of them have."""
    judged = {"search": sweep.search.metric} if sweep.search else {}
    if sweep.scheduler.type != "fifo":
        judged["scheduler"] = sweep.scheduler.metric
    return [
        f"sweep.{key}.metric is {metric}, and data.{metric.removesuffix('_loss')} is not given in "
        f"every trial: give it, or set sweep.{key}.metric: query_loss"
        for key, metric in judged.items()
        if any(getattr(config.data, metric.removesuffix("_loss")) is None for config in configs)
    ]


def _grace_faults(sweep: Sweep, configs: Sequence[TrialConfig]) -> list[str]:
    """Too few evaluations for a scheduler to stop anything.

    The step counts of trials with a budget in turns, or none, are not known yet: they pass.
    """
    if sweep.scheduler.type == "fifo":
        return []
    deciding = [_last_deciding_step(config) for config in configs]
    known = [step for step in deciding if step is not None]
    if len(known) < len(deciding) or max(known) >= sweep.scheduler.grace_steps:
        return []
    lower = f"set grace_steps to {max(known)} or less, or " if max(known) else ""
    return [
        f"sweep.scheduler.grace_steps is {sweep.scheduler.grace_steps}, and no trial is evaluated "
        f"from that step on before its last: {lower}evaluate more often with evaluation.every"
    ]


def _last_deciding_step(config: TrialConfig) -> int | None:
    """The last evaluated step of a trial at which stopping it saves anything; None if unknown."""
    arrangement, training = config.arrangement, config.training
    by_turns = arrangement.turns is not None or arrangement.turn_window is not None
    steps = training.max_steps
    if arrangement.rows is not None and not by_turns:
        rows = training.epochs * arrangement.rows
        steps = step_count(rows, training.global_batch, training.max_steps, training.epochs)
    return None if steps is None else scheduled_steps(config.evaluation.every, steps)[-2]


def _claim_faults(study: Study, configs: Sequence[TrialConfig], arms: Sequence[str]) -> list[str]:
    if study.claim is None:
        return []
    if study.sweep.search is not None and study.claim.arms:
        return ["sweep.search chooses the values, so no arm of claim.arms is sure to be run: "
                "leave out one of the two"]  # fmt: skip
    sets = [{name for name, source in config.data if source is not None} for config in configs]
    faults = study.claim.faults(list(dict.fromkeys(arms)), set.intersection(*sets))
    return faults or _schedule_faults(study.claim, configs, arms)


def _schedule_faults(
    claim: Claim, configs: Sequence[TrialConfig], arms: Sequence[str]
) -> list[str]:
    """A claim of schedules whose arms do not have two, a constant rate among them."""
    schedules = {arm: config.training.schedule for arm, config in zip(arms, configs, strict=True)}
    counts = Counter(schedules[arm] for arm in claim.arms if arm in schedules)
    if claim.kind != "schedule" or not counts:
        return []
    if len(counts) > 1 and counts["constant"] and min(counts.values()) > 1:
        return []
    found = ", ".join(f"{count} of {schedule}" for schedule, count in counts.items())
    return [
        "claim.arms: kind schedule compares arms under a constant rate with the same under "
        f"another one, and these are {found}: name two or more of training.schedule: constant, "
        "and two or more of another"
    ]


def _registration_faults(study: Study, configs: Sequence[TrialConfig]) -> list[str]:
    """Models to be registered that nobody keeps."""
    name = study.tracking.register_model
    if name is None or all(config.training.save_model for config in configs):
        return []
    return [
        f"tracking.register_model is {name}, and not every trial keeps its model: set "
        "training.save_model to true, or tracking.register_model to null"
    ]


def _benchmark_faults(configs: Sequence[TrialConfig]) -> list[str]:
    """Benchmarks of models that nobody keeps."""
    asking = [
        (config.training, asked) for config in configs if (asked := config.evaluation.benchmarks)
    ]
    if not all(training.save_model for training, _ in asking):
        return [
            "evaluation.benchmarks are run on saved models, and not every trial keeps its own: set "
            "training.save_model to true"
        ]
    unkept = sorted(
        {
            step
            for training, asked in asking
            for step in asked.at
            if step and not training.saves_after(step, step + 1)
        }
    )
    return [
        f"evaluation.benchmarks.at names step {step}, whose model is not kept: add it to "
        "training.save_model, as in {at: [" + str(step) + "]}"
        for step in unkept
    ]


def _forecast_faults(study: Study, swept: Collection[str]) -> list[str]:
    """Forecasts of arms that are not known, and a proxy that would make arms alike."""
    if study.forecast is None:
        return []
    if study.sweep.search is not None:
        return ["sweep.search chooses each trial by how those before it ended, so that no arm is "
                "known to forecast: leave out one of sweep.search and forecast"]  # fmt: skip
    if "proxy" not in study.forecast.forecasters:
        return []
    return [
        f"the proxy of forecast.forecasters sets {key} in every trial, and sweep varies it: leave "
        "proxy out of forecast.forecasters"
        for key in study.forecast.proxy.settings
        if key in swept
    ]
