"""The `evaluation.benchmarks` section: public benchmarks, or some of the user's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from orchestrator.config.section import Section


class Benchmarks(Section):
    """Benchmarks of lm-evaluation-harness, for which the extra `benchmarks` is installed. They are
    run on saved models once the trials are over, by one process and on one GPU at most; what was
    run before, on the same weights, is not run again."""

    tasks: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Names of its tasks, groups and tags, such as arc_easy or mmlu, or of files in `path`. Prompts
    are those of the task, without the study's template."""
    at: list[Annotated[int, Field(ge=0)]] = []
    """Further steps whose models are measured: 0, the untouched one, and steps of
    `training.save_model.at`. The last step always is."""
    limit: PositiveInt | None = None
    """Items of each task, at most: its first ones; null: all."""
    batch_size: PositiveInt = 8
    """Requests in one forward pass."""
    path: str | None = None
    """Folder of your own task files (YAML); data files that they name lie relative to it. Seen by
    all nodes of a cluster; null: none."""
    trust_code: bool = False
    """Task files under `path` may name Python functions, and metrics and data that bring code:
    these run with your rights. Where false, files that do are refused, and templates run in
    Jinja's sandbox."""
