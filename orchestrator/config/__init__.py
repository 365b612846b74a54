"""The study file: its types and how it is read."""

from orchestrator.config.load import dump_yaml, load_study
from orchestrator.config.schema import Study, TrialConfig

__all__ = ["Study", "TrialConfig", "dump_yaml", "load_study"]
