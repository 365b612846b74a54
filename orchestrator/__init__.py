"""A distributed experiment orchestrator for training-data arrangement in LLM instruction tuning.

From Python, in a notebook or a script:

    import orchestrator

    plan = orchestrator.plan(vectors, query_vectors, arm="min", rows=1000)
    study = orchestrator.Study.load("study.yaml", settings={"seed": 3})
    results = study.run()
    results = orchestrator.read_results("outputs/study")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Plan", "Results", "Study", "Trial", "plan", "read_results"]

if TYPE_CHECKING:
    from orchestrator.api import Plan, Results, Study, Trial, plan, read_results
else:

    def __getattr__(name: str) -> object:
        """What `api` has, imported when it is first asked for, which no room does."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module("orchestrator.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
