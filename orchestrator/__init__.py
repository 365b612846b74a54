"""A distributed experiment orchestrator for training-data arrangement in LLM instruction tuning."""

__version__ = "0.1.0"
