"""The `claim` section: what the paper says will happen, so that a report can say whether it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.config.faults import show, unknown_key
from orchestrator.config.section import Section, later

# Kinds that name arms: how many at least, and in which order.
CLAIMED_ARMS = {
    "order": (2, "2 or more, the lowest expected loss first"),
    "baseline": (2, "2 or more, the baseline first"),
    "schedule": (4, "2 or more of each training.schedule, the lowest expected loss first"),
}
Band = Annotated[list[float], Field(min_length=2, max_length=2)]  # [low, high] of a loss


class Figure(Section):
    """A figure of the paper: losses of the arms at one step."""

    name: str
    """As the report calls it."""
    set: Literal["query", "held_out", "off_target"] = "query"
    """The test set whose loss it shows."""
    step: Annotated[int, Field(ge=0)] | None = None
    """Optimizer steps; null: the last evaluated."""
    bands: dict[str, Band] = {}
    """Arm -> `[low, high]`, where its loss lies."""

    @model_validator(mode="after")
    def _bands_hold_something(self) -> Figure:
        for arm, (low, high) in self.bands.items():
            if low >= high:
                raise ValueError(
                    f"the band of {arm} runs from {low} to {high}: give the lower loss first"
                )
        return self


class Claim(Section):
    """What a study is to find out, and what is expected."""

    question: str
    """What is asked, in one sentence."""
    kind: Literal["order", "baseline", "schedule", "early", "drops", "measures", "prediction"] = (
        "order"
    )
    """What answers it: the arms' losses, each arm against the next (order), several against one
    (baseline), or the first against the last under several schedules of the learning rate, a
    constant one among them (schedule); or another section of the report: how early the loss falls
    (early), sudden drops (drops), the nine measures (measures), prediction."""
    arms: list[str] = []
    """The lowest expected loss first; of schedules those of each in that order; of a baseline, that
    one, then those that are set against it. An arm is all trials that differ in their seed alone;
    `orchestrator estimate` shows its name."""
    set: Literal["query", "held_out", "off_target"] = later("query")
    """Of a baseline: the test set whose area under the loss curve decides."""
    figures: list[Figure] = []
    """What `orchestrator reproduce` compares with."""

    @model_validator(mode="after")
    def _arms_are_ordered(self) -> Claim:
        if self.kind in CLAIMED_ARMS:
            fewest, which = CLAIMED_ARMS[self.kind]
            if len(self.arms) < fewest:
                raise ValueError(f"arms: give a list of {which}")
        elif self.arms or self.figures:
            raise ValueError(f"kind {self.kind} orders no arms: leave out arms and figures")
        if self.kind != "baseline" and self.set != "query":
            raise ValueError(f"kind {self.kind} has no set of its own: leave out set")
        twice = [arm for at, arm in enumerate(self.arms) if arm in self.arms[:at]]
        if twice:
            raise ValueError(f"arms names {twice[0]} twice: name each arm once")
        return self

    def faults(self, arms: Sequence[str], test_sets: Collection[str]) -> list[str]:
        """What no trial of the study can answer.

        A claim none of whose names is an arm is none: a further axis has renamed all arms, and the
        report leaves the question open. Where some are arms, the others are misspelt.

        Args:
            arms: names of the study's arms.
            test_sets: those that every trial measures.
        """
        named = [(f"claim.arms.{at}", arm) for at, arm in enumerate(self.arms)] + [
            (f"claim.figures.{at}.bands", arm)
            for at, figure in enumerate(self.figures)
            for arm in figure.bands
        ]
        faults = [
            f"{key}: {show(arm)} is no arm of this study: "
            + unknown_key(arm, list(arms)).replace("the keys here", "the arms")
            for key, arm in named
            if arm not in arms
        ]
        sets = [("claim.set", self.set)] if self.kind == "baseline" else []
        sets += [(f"claim.figures.{at}.set", each.set) for at, each in enumerate(self.figures)]
        return (faults if len(faults) < len(named) else []) + [
            f"{key} is {name}, and data.{name} is not given in every trial: give it, or set query"
            for key, name in sets
            if name not in test_sets
        ]
