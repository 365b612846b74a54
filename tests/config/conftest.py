from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.config import Study, load_study
from orchestrator.errors import ConfigError
from orchestrator.trials import expand

BASE = """\
study: demo
data:
  pool: {reader: jsonl, path: pool.jsonl}
  query: {reader: builtin, split: query}
"""


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """Loads the smallest study, with lines added at its end and overrides."""

    def load(text: str = "", *overrides: str, base: str = BASE) -> Study:
        path = tmp_path / "study.yaml"
        path.write_text(base + text, encoding="utf-8")
        return load_study(path, list(overrides))

    return load


@pytest.fixture
def faults(study: Callable[..., Study], tmp_path: Path) -> Callable[..., list[str]]:
    """The faults of such a study, without the folder it lies in."""

    def collect(text: str = "", *overrides: str, base: str = BASE) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            expand(study(text, *overrides, base=base))
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return collect
