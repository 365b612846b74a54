"""Which arm is best, and how far each other one is behind it.

All arms are ranked by the area under the query curve over the steps that they share. Where they end
at different steps, that names the best of a part of training, and an arm that was trained on may
have overtaken it since: then they are ranked at their own ends as well, and both are told. Each
other arm is set against the best one, corrected for their number
(`core.statistics.comparison.compare_several`).

The best arm is chosen by the losses that it is compared on, so that its intervals flatter it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.comparison import Comparison, Corrected
from orchestrator.report.arms import Arm, CommonBasis, common_basis, stack, unit_of
from orchestrator.report.contrast import compare_with, curves_at
from orchestrator.report.sentences import area_words
from orchestrator.report.tables import (
    MISSING,
    Cell,
    Table,
    doubt,
    interval,
    loss_cell,
    number,
    signed,
)


@dataclass(frozen=True)
class Ranking:
    """Arms by one loss.

    Attributes:
        words: what loss it is.
        losses: the lowest first, means over tasks and seeds in nats.
        behind: each arm minus the first, of those that share a seed and a task with it.
        unit: what they are compared over, "task" or "instance".
    """

    words: str
    losses: dict[Arm, float]
    behind: dict[Arm, Corrected]
    unit: str

    @property
    def first(self) -> Arm:
        """The best arm."""
        return next(iter(self.losses))

    @property
    def next_best(self) -> Comparison | None:
        """The second arm minus the first; None where they cannot be compared."""
        second = next(iter([*self.losses][1:]), None)
        return self.behind[second].comparison if second in self.behind else None

    @property
    def sentence(self) -> str:
        """Which arm is best, which is next, by how much, and whether that is clear."""
        best, *others = self.losses
        loss = f"{number(self.losses[best])} by the {self.words}"
        if not others:
            return f"{best.name} came to {loss}"
        words = f"{best.name} was best, {loss}; next was {others[0].name}"
        result = self.next_best
        if result is None:
            return f"{words}, which shares no seed or no query {self.unit} with it"
        many = f", corrected for {len(self.behind)} arms" if len(self.behind) > 1 else ""
        why = doubt(result, self.unit)
        return (
            f"{words}, {number(result.difference)} higher (95% interval {interval(result)}{many}): "
            f"{f'not clear, {why}' if why else 'a clear difference'}"
        )


@dataclass(frozen=True)
class Winner:
    """The best arm of a study.

    Attributes:
        basis: what the arms have in common.
        same_steps: over the steps that all arms share.
        own_end: at the last step of each arm; None where all end at the same one.
        budgets: rows (None where no plan tells) and steps of each arm.
    """

    basis: CommonBasis
    same_steps: Ranking
    own_end: Ranking | None
    budgets: dict[Arm, tuple[int | None, int]]

    @property
    def decisive(self) -> Ranking:
        """The ranking that is told first."""
        return self.own_end or self.same_steps

    @property
    def warning(self) -> str:
        """What is told loudly of arms that differ in rows or steps; empty where they do not."""
        if len(set(self.budgets.values())) == 1:
            return ""
        by_size = sorted(self.budgets.items(), key=lambda arm: (arm[1][1], arm[1][0] or 0))
        smallest, *_, largest = (f"{arm.name}, {_budget_words(*size)}" for arm, size in by_size)
        differ = (
            f"The arms differ in what they were trained on, from {smallest}, to {largest}, and "
            "more training alone may lower a loss."
        )
        return f"{differ} At the same steps {self.same_steps.sentence}." if self.own_end else differ


def find_winner(arms: Sequence[Arm]) -> Winner | None:
    """The best of the finished arms; None where they have no query loss in common."""
    basis = common_basis(arms)
    if basis is None:
        return None
    areas = {arm: basis.areas[arm.name] for arm in basis.arms}
    words = area_words(basis.steps, basis.whole)
    same_steps = _ranking(words, areas, lambda curves: curves_at(curves, basis.steps))
    own_end = None
    if not basis.whole:
        words = "query loss at the end of its own budget"
        own_end = _ranking(words, _end_losses(basis.arms), _end)
    budgets = {arm: (arm.trials[0].rows_fed, _last_step(arm)) for arm in basis.arms}
    return Winner(basis, same_steps, own_end, budgets)


def best_sentence(winner: Winner | None, arms: Sequence[Arm]) -> str:
    """The first sentence of a report, also where there is no best arm to tell of."""
    if winner is None:
        unit = unit_of(trial for arm in arms for trial in arm.trials)
        some = any(arm.finished for arm in arms)
        why = f"the arms share no step or no query {unit}" if some else "no trial finished"
        return f"This study does not say: {why}."
    if len(winner.basis.arms) > 1:
        return f"{winner.decisive.sentence}."
    only = "it is the study’s only arm" if len(arms) == 1 else "no other arm finished"
    return f"{winner.same_steps.sentence}; {only}."


def winner_table(winner: Winner | None) -> Table | None:
    """Every arm against the best one, the lowest loss first; None without two arms.

    Where arms end at different steps, the same steps and each arm's own end stand side by side.
    """
    if winner is None or len(winner.budgets) < 2:
        return None
    differ = bool(winner.warning)
    groups = {"by area": winner.same_steps}
    if winner.own_end:
        to_step = f"same steps: area to step {winner.basis.steps[-1]:,}"
        groups = {"own budget: loss at its end": winner.own_end, to_step: winner.same_steps}
    table = Table(["arm", *(["budget"] if differ else [])])
    for title in groups:
        table.headers.extend([title, "behind the best (95% interval)", "clear"])
    for arm in winner.decisive.losses:
        budget = [Cell(_budget_words(*winner.budgets[arm]))] if differ else []
        cells = [cell for ranking in groups.values() for cell in _standing(ranking, arm)]
        table.rows.append([Cell(arm.name), *budget, *cells])
    return table


def _standing(ranking: Ranking, arm: Arm) -> list[Cell]:
    """The loss of an arm, and how far it is behind the best one."""
    loss = loss_cell(ranking.losses[arm], best=arm is ranking.first)
    if arm not in ranking.behind:
        words = "best" if arm is ranking.first else "nothing in common"
        return [loss, Cell(MISSING, "number"), Cell(words)]
    result = ranking.behind[arm].comparison
    why = doubt(result, ranking.unit)
    clear = Cell(f"no: {why}" if why else "yes")
    behind = f"{signed(result.difference)} ({interval(result)})"
    return [loss, Cell(behind, "number"), clear]


def _ranking(
    words: str, losses: dict[Arm, float], cut: Callable[[TaskCurves], TaskCurves]
) -> Ranking:
    """Arms by their losses, each against the best one by what `cut` leaves of the curves."""
    ordered = dict(sorted(losses.items(), key=lambda item: item[1]))
    best, *others = ordered
    unit = unit_of(trial for arm in ordered for trial in arm.trials)
    return Ranking(words, ordered, compare_with(best, others, "query", cut), unit)


def _end(curves: TaskCurves) -> TaskCurves:
    """The losses at the last step, as if of one step that all curves share."""
    return curves._replace(steps=np.zeros(1, np.int64), losses=curves.losses[-1:])


def _end_losses(arms: Sequence[Arm]) -> dict[Arm, float]:
    """The query loss of each arm at its own end, over the tasks that all of them have."""
    ends = {
        arm: [_end(curves) for trial in arm.trials if (curves := trial.task_losses("query"))]
        for arm in arms
    }
    stacked = stack([curves for of_arm in ends.values() for curves in of_arm])
    assert stacked is not None, "arms of a basis have tasks in common"
    each = iter(stacked[2].mean(axis=(1, 2)).tolist())
    return {arm: float(np.mean([next(each) for _ in of_arm])) for arm, of_arm in ends.items()}


def _last_step(arm: Arm) -> int:
    """The last step at which the query set was measured, of the arm's longest trial."""
    curves = (trial.task_losses("query") for trial in arm.trials)
    return max(int(curve.steps[-1]) for curve in curves if curve is not None)


def _budget_words(rows: int | None, steps: int) -> str:
    return f"{steps:,} steps" if rows is None else f"{rows:,} rows in {steps:,} steps"
