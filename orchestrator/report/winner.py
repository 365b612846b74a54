"""Which arm is best, and how far each other one is behind it.

All arms are ranked by the area under the query curve over the steps that they share. Where arms of
the same seed end at different steps, that names the best of a part of training, and an arm that was
trained on may have overtaken it since: then they are ranked at their own ends as well, and both are
told. Each other arm is set against the best one. That one is picked by the same losses, so that
they are corrected for all pairs of arms (`core.statistics.comparison.compare_several`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.comparison import Comparison, Corrected
from orchestrator.report.arms import Arm, CommonBasis, by_results, common_basis, unit_of
from orchestrator.report.budget import Budget, budget_of, ends_differ, query_curves_of
from orchestrator.report.contrast import compare_with, curves_at
from orchestrator.report.sentences import area_words, listed
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
        behind: each arm minus the first, of those that can differ from it and share a seed with it.
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
    def best(self) -> list[Arm]:
        """The first, and the arms that have its results."""
        return self._alike(self.first)

    @property
    def others(self) -> list[Arm]:
        """The arms that can differ from the best, the lowest loss first."""
        return [arm for arm in self.losses if arm.results != self.first.results]

    @property
    def next_best(self) -> Comparison | None:
        """The next arm minus the best; None where they cannot be compared."""
        second = next(iter(self.others), None)
        return self.behind[second].comparison if second in self.behind else None

    def _alike(self, one: Arm) -> list[Arm]:
        return [arm for arm in self.losses if arm.results == one.results]

    def _named(self, one: Arm) -> tuple[str, str]:
        """An arm with those that have its results, and the verb for so many."""
        names = [arm.name for arm in self._alike(one)]
        if len(names) == 1:
            return names[0], "was"
        return f"{listed(names)}, which cannot differ,", "were"

    @property
    def sentence(self) -> str:
        """Which arm is best, which is next, by how much, and whether that is clear."""
        others, (best, was) = self.others, self._named(self.first)
        loss = f"{number(self.losses[self.first])} by the {self.words}"
        if not others:
            return f"{best} came to {loss}"
        second, second_was = self._named(others[0])
        words = f"{best} {was} best, {loss}; next {second_was} {second.removesuffix(',')}"
        result = self.next_best
        if result is None:
            return f"{words}, which shares no seed with it"
        gap = result.difference
        # Means over other seeds may stand the other way round.
        side = "higher" if gap >= 0 else "lower over the seeds that the two share"
        arms = len(by_results(self.losses))
        many = f", corrected for all pairs of {arms} arms" if arms > 2 else ""
        why = doubt(result, self.unit)
        return (
            f"{words}, {number(abs(gap))} {side} (95% interval {interval(result)}{many}): "
            f"{f'not clear, {why}' if why else 'a clear difference'}"
        )


@dataclass(frozen=True)
class Winner:
    """The best arm of a study.

    Attributes:
        basis: what the arms have in common.
        same_steps: over the steps that all arms share; None where that is step 0 alone, at which
            every arm is the untouched model.
        own_end: at the last step of each trial; None where arms of the same seed end at the same
            one, and `same_steps` is there.
        budgets: of each arm.
    """

    basis: CommonBasis
    same_steps: Ranking | None
    own_end: Ranking | None
    budgets: dict[Arm, Budget]

    @property
    def decisive(self) -> Ranking:
        """The ranking that is told first."""
        ranking = self.own_end or self.same_steps
        assert ranking is not None, "without the one there is the other"
        return ranking

    @property
    def budgets_differ(self) -> bool:
        """Whether some arms took more steps than others, or steps of more rows."""
        return len({budget.length for budget in self.budgets.values()}) > 1

    @property
    def warning(self) -> str:
        """What is told loudly of arms that differ in rows or steps, or were not measured together;
        empty where there is nothing to tell."""
        told = []
        if len(self.budgets) == 1:
            return ""
        if self.budgets_differ:
            by_size = sorted(
                self.budgets.items(), key=lambda item: item[1].steps + (item[1].rows or ())
            )
            shortest, *between, longest = (f"{arm.name} {size.words}" for arm, size in by_size)
            named = ", ".join([shortest, *(["…"] if between else []), longest])
            told += [f"Arms were not trained equally long: {named}."]
            told += ["More training alone may lower a loss."]
        if self.same_steps is None:
            reached = min(budget.steps[0] for budget in self.budgets.values())
            told.append(
                "They were measured together at no step but 0: to compare them at the same steps, "
                f"set evaluation.every to steps that all of them reach, {reached:,} at most."
            )
        elif self.own_end:
            told.append(f"At the same steps {self.same_steps.sentence}.")
        return " ".join(told)


def find_winner(arms: Sequence[Arm]) -> Winner | None:
    """The best of the finished arms; None where they have no query loss in common."""
    basis = common_basis(arms)
    if basis is None:
        return None
    same_steps = own_end = None
    if basis.steps[-1] > 0:
        areas = {arm: basis.areas[arm.name] for arm in basis.arms}
        words = area_words(basis.steps, basis.whole)
        same_steps = _ranking(words, basis, areas, lambda curves: curves_at(curves, basis.steps))
    if same_steps is None or ends_differ(basis.arms):
        words = "query loss at the end of its own budget"
        own_end = _ranking(words, basis, _end_losses(basis), _end)
    return Winner(basis, same_steps, own_end, {arm: budget_of(arm) for arm in basis.arms})


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
    return f"{winner.decisive.sentence}; {only}."


def winner_table(winner: Winner | None) -> Table | None:
    """Every arm against the best one, the lowest loss first; None without two arms.

    Where arms of the same seed end at different steps, the same steps and each arm's own end stand
    side by side.
    """
    if winner is None or len(winner.budgets) < 2:
        return None
    differ = winner.budgets_differ
    groups = {}
    if winner.own_end:
        groups["own budget: loss at its end"] = winner.own_end
    if winner.same_steps:
        to_step = f"area to step {winner.basis.steps[-1]:,}"
        by_area = "by area" if winner.basis.whole else f"by {to_step}"
        groups[f"same steps: {to_step}" if winner.own_end else by_area] = winner.same_steps
    table = Table(["arm", *(["budget"] if differ else [])])
    for title in groups:
        table.headers.extend([title, "behind the best (95% interval)", "clear"])
    for arm in winner.decisive.losses:
        budget = [Cell(winner.budgets[arm].words)] if differ else []
        cells = [cell for ranking in groups.values() for cell in _standing(ranking, arm)]
        table.rows.append([Cell(arm.name), *budget, *cells])
    return table


def _standing(ranking: Ranking, arm: Arm) -> list[Cell]:
    """The loss of an arm, and how far it is behind the best one."""
    loss = loss_cell(ranking.losses[arm], best=arm in ranking.best)
    if arm not in ranking.behind:
        words = "best" if arm in ranking.best else "nothing in common"
        return [loss, Cell(MISSING, "number"), Cell(words)]
    result = ranking.behind[arm].comparison
    why = doubt(result, ranking.unit)
    clear = Cell(f"no: {why}" if why else "yes")
    behind = f"{signed(result.difference)} ({interval(result)})"
    return [loss, Cell(behind, "number"), clear]


def _ranking(
    words: str,
    basis: CommonBasis,
    losses: dict[Arm, float],
    cut: Callable[[TaskCurves], TaskCurves],
) -> Ranking:
    """Arms by their losses, each against the best one by what `cut` leaves of the curves.

    Only tasks of the basis count, so that losses and differences add up.
    """
    ordered = dict(sorted(losses.items(), key=lambda item: item[1]))
    best, *others = ordered
    unit = unit_of(trial for arm in ordered for trial in arm.trials)
    arms, apart = len(by_results(ordered)), [a for a in others if a.results != best.results]
    behind = compare_with(
        best, apart, "query", lambda curves: _of_tasks(cut(curves), basis.tasks),
        arms * (arms - 1) // 2,
    )  # fmt: skip
    return Ranking(words, ordered, behind, unit)


def _of_tasks(curves: TaskCurves, tasks: list[str]) -> TaskCurves:
    """The curves of some of their tasks."""
    places = np.searchsorted(curves.tasks, tasks)
    return curves._replace(tasks=tasks, losses=curves.losses[:, places])


def _end(curves: TaskCurves) -> TaskCurves:
    """The losses at the last step, as if of one step that all curves share."""
    return curves._replace(steps=np.zeros(1, np.int64), losses=curves.losses[-1:])


def _end_losses(basis: CommonBasis) -> dict[Arm, float]:
    """The query loss of each arm at its own end, over the tasks that all of them have."""
    return {
        arm: float(
            np.mean(
                [_of_tasks(_end(curves), basis.tasks).losses for curves in query_curves_of(arm)]
            )
        )
        for arm in basis.arms
    }
