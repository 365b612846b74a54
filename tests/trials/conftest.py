from tests.config.conftest import faults, study

__all__ = ["faults", "study"]
