"""Can the scheduler of a sweep decide anything? Told before a trial starts."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.config.evaluation import scheduled_steps
from orchestrator.config.schema import TrialConfig
from orchestrator.config.sweep import Scheduler
from orchestrator.core.order import step_count


def scheduler_faults(scheduler: Scheduler, configs: Sequence[TrialConfig]) -> list[str]:
    """What keeps a scheduler from comparing the trials: an absent test set, too few evaluations.

    The step counts of trials with a budget in turns, or none, are not known yet: they pass.
    """
    if scheduler.type == "fifo":
        return []
    faults = []
    test_set = scheduler.metric.removesuffix("_loss")
    if any(getattr(config.data, test_set) is None for config in configs):
        faults.append(
            f"sweep.scheduler.metric is {scheduler.metric}, and data.{test_set} is not given in "
            f"every trial: give it, or set sweep.scheduler.metric: query_loss"
        )
    deciding = [_last_deciding_step(config) for config in configs]
    known = [step for step in deciding if step is not None]
    if len(known) == len(deciding) and max(known) < scheduler.grace_steps:
        lower = f"set grace_steps to {max(known)} or less, or " if max(known) else ""
        faults.append(
            f"sweep.scheduler.grace_steps is {scheduler.grace_steps}, and no trial is evaluated "
            f"from that step on before its last: {lower}evaluate more often with evaluation.every"
        )
    return faults


def _last_deciding_step(config: TrialConfig) -> int | None:
    """The last evaluated step of a trial at which stopping it saves anything; None if unknown."""
    arrangement, training = config.arrangement, config.training
    by_turns = arrangement.turns is not None or arrangement.turn_window is not None
    steps = training.max_steps
    if arrangement.rows is not None and not by_turns:
        steps = step_count(arrangement.rows, training.global_batch, training.max_steps)
    return None if steps is None else scheduled_steps(config.evaluation.every, steps)[-2]
