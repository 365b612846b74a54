"""The claim that a study without one is judged by, as its arms imply it.

Nearest-first and farthest-first trials of TMA imply that nearest-first is ahead; any other arms ask
which of them is best. A claim that the study file states is `config.claim.Claim`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.schema import TrialConfig
from orchestrator.report.arms import Arm, area
from orchestrator.report.tables import signed
from orchestrator.report.trial import Trial

Pair = tuple[Trial, Trial]  # nearest-first and farthest-first


@dataclass(frozen=True)
class ImpliedClaim:
    """What a study is asked that states no claim.

    Attributes:
        pairs: the trials that differ in the order alone; without any, the best arm is asked for.
    """

    pairs: list[Pair]

    @property
    def question(self) -> str:
        """The question that stands on the page, in one sentence."""
        return "Did nearest-first beat farthest-first?" if self.pairs else "Which arm was best?"

    @property
    def complete(self) -> list[Pair]:
        """The pairs of which both trials finished with a query loss."""
        return [
            pair
            for pair in self.pairs
            if all(trial.finished and trial.task_losses("query") for trial in pair)
        ]

    @property
    def ends(self) -> tuple[Arm, Arm]:
        """Nearest-first and farthest-first as two arms of the complete pairs, one or more.

        Of several pairs of a seed, whatever else they vary, the arms hold all.
        """
        near, far = zip(*self.complete, strict=True)
        return Arm(0, "nearest-first", [*near]), Arm(1, "farthest-first", [*far])


def implied_claim(trials: list[Trial]) -> ImpliedClaim:
    """The claim of a study that states none, from all its trials."""
    return ImpliedClaim(order_pairs(trials))


def order_pairs(trials: list[Trial]) -> list[Pair]:
    """Nearest-first and farthest-first trials of `method: tma` that differ in the order alone."""
    by_rest: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        arrangement = {**Arrangement().model_dump(), **trial.arrangement}
        if not trial.config or arrangement["method"] != "tma":
            continue
        order = arrangement.pop("order")
        config = {key: trial.config.get(key) for key in TrialConfig.model_fields}
        rest = json.dumps({**config, "arrangement": arrangement}, sort_keys=True)
        by_rest.setdefault(rest, {}).setdefault(order, trial)
    wanted = {"nearest_first", "farthest_first"}
    return [
        (by_order["nearest_first"], by_order["farthest_first"])
        for by_order in by_rest.values()
        if wanted <= by_order.keys()
    ]


def pair_note(pairs: Sequence[Pair]) -> str:
    """Which trials are compared, with the difference of their areas; all have a query loss."""
    parts = []
    for near, far in pairs:
        areas = [
            area(curves.steps, curves.losses)
            for trial in (near, far)
            if (curves := trial.task_losses("query")) is not None
        ]
        parts.append(f"{near.name} with {far.name} ({signed(areas[0] - areas[1])})")
    return f"Trials compared (difference by area): {', '.join(parts)}."
