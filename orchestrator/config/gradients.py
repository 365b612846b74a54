"""The `embedding.gradient` section: how gradient vectors are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from orchestrator.config.section import Section, Seed


class Gradients(Section):
    """Of `pooling: gradient`: gradients of the answer loss as vectors."""

    rank: PositiveInt = 16
    """Of the adapter beside each linear layer, which gives rank times rank numbers."""
    dimensions: PositiveInt = 1024
    """Numbers of a vector, to which those of all layers are mapped."""
    warm_up_steps: PositiveInt = 8
    """Optimizer steps of the adapters before gradients are taken."""
    warm_up_rows: PositiveInt = 16
    """Rows of the pool in each of them, drawn at random."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of these steps, with Adam."""
    seed: Seed = 0
    """Of the projections and of the rows of the warm-up."""
