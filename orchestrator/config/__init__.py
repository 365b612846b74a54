"""The study file: its types, how it is read, and the trials that it asks for."""

from orchestrator.config.load import dump_yaml, load_study
from orchestrator.config.schema import Study, TrialConfig
from orchestrator.trials.expand import Expansion, Trial, expand, expansion

__all__ = [
    "Expansion",
    "Study",
    "Trial",
    "TrialConfig",
    "dump_yaml",
    "expand",
    "expansion",
    "load_study",
]
