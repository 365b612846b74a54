"""The learning rate as a pure function of the step: a resumed trial cannot get it wrong."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float, kind: str, min_ratio: float) -> float:
    """Learning rate of an optimizer step.

    Args:
        step: from 1 to steps.
        steps: optimizer steps of the trial.
        peak: rate of the first step.
        kind: `cosine`, `linear` or `constant`.
        min_ratio: rate of the last step as a share of the peak.
    """
    done = (step - 1) / max(1, steps - 1)
    if kind == "cosine":
        share = (1 + math.cos(math.pi * done)) / 2
    elif kind == "linear":
        share = 1 - done
    elif kind == "constant":
        return peak
    else:
        raise ValueError(f"schedule {kind!r}: cosine, linear or constant")
    return peak * (min_ratio + (1 - min_ratio) * share)
