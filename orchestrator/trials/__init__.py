"""From a study to its trials: the sweep's values, their names, and what is wrong with them."""

from orchestrator.trials.expand import Expansion, Trial, expand, expansion

__all__ = ["Expansion", "Trial", "expand", "expansion"]
