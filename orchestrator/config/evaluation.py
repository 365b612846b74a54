"""The `evaluation` section: what is measured, and when."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from orchestrator.config.benchmarks import Benchmarks
from orchestrator.config.section import Section
from orchestrator.core.text_metrics import REWARD, score_titles

# So many steps apart; a list of steps; or dense at the start: 1, 2, 5, 10, 20, 50, 100, ...
Every = (
    PositiveInt
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    | Literal["dense_start"]
)
# So many items, or this share of them.
Sample = PositiveInt | Annotated[float, Field(gt=0, lt=1)]
if TYPE_CHECKING:
    Metric = str
else:  # mypy takes no names out of a table
    Metric = Literal[*score_titles()]


class Generation(Section):
    """Greedy answers to the test prompts, and how they are scored."""

    every: Every | None = None
    """As of `evaluation.every`; null: never."""
    metrics: Annotated[list[Metric], Field(min_length=1)] = ["rouge1", "rougeL", "exact_match"]
    """What an answer is scored by."""
    max_new_tokens: PositiveInt = 64
    """Tokens of an answer, at most."""
    max_items: PositiveInt | None = None
    """Items of each test set that are answered, at most: drawn once by the seed, from all of its
    tasks in proportion; null: all."""
    reward_model: str | None = None
    """A model name as in `model.name`, for the metric reward."""

    @model_validator(mode="after")
    def _reward_has_a_model(self) -> Generation:
        if REWARD in self.metrics and self.reward_model is None:
            raise ValueError(
                "the metric reward needs reward_model: name a sequence-classification model with "
                "one label, or leave reward out of metrics"
            )
        if REWARD not in self.metrics and self.reward_model is not None:
            raise ValueError("reward_model is not read: add reward to metrics, or leave it out")
        return self


class Evaluation(Section):
    """When the test losses are measured, and what besides."""

    every: Every = 10
    """So many optimizer steps apart, a list of steps, or dense_start: 1, 2, 5, 10, 20, 50, ...;
    step 0 and the last are always measured."""
    sample: Sample | None = None
    """Items of each test set, or the share of them, whose losses are measured at most steps: drawn
    once by the seed, from all of its tasks in proportion and of each task one or more. All items
    are measured at step 0, at the last, and at those of `whole`; null: at every step. The report
    estimates the losses of the whole set from the sample, and marks where."""
    whole: list[Annotated[int, Field(ge=0)]] = []
    """Further steps at which all items are measured; those of a claim's figures are added."""
    max_length: PositiveInt | None = None
    """Tokens of a test item, prompt and answer; null: as in `model.max_length`."""
    micro_batch_tokens: PositiveInt | None = None
    """Tokens in one forward pass of the test losses; null: as in `training.micro_batch_tokens`.
    Without gradients several times as many fit."""
    compile: bool = False
    """torch.compile for the passes of the test losses alone, where `model.compile` is false."""
    measures: bool = True
    """The similarity measures of each plan at the same steps."""
    generate: Generation = Generation()
    """Answers to the test prompts."""
    benchmarks: Benchmarks | None = None
    """Public benchmarks, or some of your own, on the trained models; null: none."""

    def measures_whole(self, step: int, last: int) -> bool:
        """Whether the losses of all items are measured after a step; `last` is the trial's last."""
        return self.sample is None or step in (0, last, *self.whole)


def scheduled_steps(every: Every, steps: int) -> list[int]:
    """The steps of a trial that a schedule names, rising: always 0 and the last.

    Args:
        every: steps of a list beyond the end are left out.
        steps: optimizer steps of the trial.
    """
    if every == "dense_start":
        dense = (digit * 10**power for power in count() for digit in (1, 2, 5))
        named = set()
        while (step := next(dense)) < steps:
            named.add(step)
    elif isinstance(every, int):
        named = set(range(0, steps, every))
    else:
        named = {step for step in every if step < steps}
    return sorted(named | {0, steps})
