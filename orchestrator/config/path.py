"""The `embedding.path` section: how rows are scored by adapters that learned the queries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from orchestrator.config.section import Section, Seed


class TargetPath(Section):
    """Of `pooling: path`: how far the loss of a row falls behind adapters trained on queries."""

    clusters: PositiveInt = 4
    """k-means groups of the queries at most, each with adapters of its own: a row of the pool goes
    through the model once for each, and once more without adapters."""
    steps: PositiveInt = 8
    """Optimizer steps of the adapters of a group, each on all of its queries."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of these steps, with Adam."""
    rank: PositiveInt = 16
    """Of the adapter beside each linear layer, which has rank times rank numbers."""
    seed: Seed = 0
    """Of the adapters and of the groups."""
