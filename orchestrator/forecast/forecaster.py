"""What a forecaster is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.config import Study, TrialConfig
from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.storage.artifacts import Artifact
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import Trial


class Abstains(Exception):
    """A forecaster has nothing to say of a study; the message is the reason, without a stop."""


class Artifacts(Protocol):
    """What forecasters may ask for of the artifacts that a study's trials share."""

    def dataset(self, config: TrialConfig) -> Artifact:
        """The instances of all splits."""
        ...

    def tokens(self, config: TrialConfig) -> Artifact:
        """What the model that is trained is fed, row by row."""
        ...

    def influence(self, config: TrialConfig) -> Artifact:
        """What each row would do to the others by a step, and all losses at the start."""
        ...


@dataclass(frozen=True)
class Request:
    """A study whose plans are made and whose trials have not begun.

    Attributes:
        trials, specs: in the same order; the folder of a spec holds the plan and its measures.
        artifacts: made when they are asked for.
        output: folder of the studies, for what earlier ones left.
        certificates: of the plan of each spec, by its key: what training is to earn.
    """

    study: Study
    trials: list[Trial]
    specs: list[TrialSpec]
    artifacts: Artifacts
    output: Path
    certificates: Mapping[str, dict[str, str]]


@dataclass(frozen=True)
class Expectation:
    """What a forecaster expects of the trials.

    Attributes:
        losses: name of the trial -> test set -> the expected loss of each task in nats (S, T), at
            the steps at which the trial will be evaluated, step 0 first. What nothing is known of
            is left out.
        origin: constants and where they are from, as JSON.
        sized: whether sizes are meant, too; else only the order in which arms end. Then the steps
            may be others, and losses on any scale.
    """

    losses: dict[str, dict[str, TaskCurves]]
    origin: dict[str, Any]
    sized: bool = True


Forecaster = Callable[[Request], Expectation]
