"""The `forecast` section: what is foretold of a study's arms before the first step, and by what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from orchestrator.config.section import Section

ForecasterName = Literal["distance", "proxy"]
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


class Forecast(Section):
    """What is expected of each arm, written down before the first step and scored at the end."""

    forecasters: Annotated[list[ForecasterName], Field(min_length=1)] = CHEAP
    """distance: the nearer the rows so far, the further a loss drops, by as much as in earlier
    studies of the same output folder. proxy: the order of the arms in a cheaper training."""
    proxy: Proxy = Proxy()
    """Of the forecaster `proxy`."""

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> Forecast:
        if "proxy" in self.model_fields_set and "proxy" not in self.forecasters:
            raise ValueError(
                "proxy is not read: add proxy to forecasters, or leave the section proxy out"
            )
        return self
