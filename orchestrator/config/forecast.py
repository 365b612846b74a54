"""The `forecast` section: what is foretold of a study's arms before the first step, and by what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from orchestrator.config.section import Section, later

ForecasterName = Literal["distance", "proxy", "quadratic"]
# Those that train no further model.
CHEAP: list[ForecasterName] = ["distance"]


class Proxy(Section):
    """The same arms, trained at less cost as a study of their own, `<study>-proxy`, before the
    study itself; in float32, as bfloat16 would lose so small updates. A small model ranks about 80%
    of pairs right, says arXiv 2504.11393 of pretraining data."""

    model: str | None = None
    """Name of a smaller model; null: the study's."""
    rows: PositiveInt | None = None
    """`arrangement.rows` of the proxy; null: as many as the study's."""
    learning_rate: PositiveFloat = 1e-6
    """Its peak, very small: losses then move little and almost straight, and arms stand in the
    order of what their rows teach."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it changes of a study, by dotted key."""
        changes = {
            "model.precision": "float32",
            "training.learning_rate": self.learning_rate,
            "model.name": self.model,
            "arrangement.rows": self.rows,
        }
        # A revision is that of the study's own model.
        changes |= {"model.revision": None} if self.model else {}
        return {
            key: value
            for key, value in changes.items()
            if value is not None or key == "model.revision"
        }


class Quadratic(Section):
    """Each plan followed along a quadratic model of the loss, by the gradients of all rows. Its two
    constants are 1 where nothing is known; an earlier study tells better ones."""

    scale: PositiveFloat = 1.0
    """Multiplies all learning rates."""
    curvature: PositiveFloat = 1.0
    """Multiplies the curvature, by which a later step weakens what earlier ones did."""


class Forecast(Section):
    """What is expected of each arm, written down before the first step and scored at the end."""

    forecasters: Annotated[list[ForecasterName], Field(min_length=1)] = CHEAP
    """distance: the nearer the rows so far, the further a loss drops, by as much as in earlier
    studies of the same output folder. proxy: the order of the arms in a cheaper training.
    quadratic: the loss along each plan, by the gradients of all rows of pool and test sets."""
    proxy: Proxy = later(Proxy())
    """Of the forecaster `proxy`."""
    quadratic: Quadratic = later(Quadratic())
    """Of the forecaster `quadratic`."""

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> Forecast:
        for name in ("proxy", "quadratic"):
            if name in self.model_fields_set and name not in self.forecasters:
                raise ValueError(
                    f"{name} is not read: add {name} to forecasters, or leave the section "
                    f"{name} out"
                )
        return self
