"""A trial's config.yaml is the one that the trial is named by, or it is told."""

from pathlib import Path

import pytest

from orchestrator.config import dump_yaml
from orchestrator.trials import expand
from orchestrator.trials.config_file import config_fault
from tests.trials.studies import demo


@pytest.fixture
def folder(tmp_path) -> Path:
    (trial,) = expand(demo(evaluation={"every": 7}))
    folder = tmp_path / trial.name
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_yaml(trial.config))
    return folder


def test_a_whole_file_has_no_fault_and_neither_has_a_trial_without_one(folder, tmp_path):
    assert config_fault(folder) == ""
    assert config_fault(tmp_path / "model-0123456789abcdef") == ""
    (folder / "config.yaml").unlink()
    assert config_fault(folder) == ""


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: text.index("evaluation:")],  # valid, and all that is left out is given
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("every: 7", "every: 8"),
        lambda text: "",
        lambda text: "{",
    ],
)
def test_a_file_that_is_cut_or_changed_is_told_even_if_it_is_valid(folder, spoil):
    path = folder / "config.yaml"
    path.write_text(spoil(path.read_text()))
    assert config_fault(folder).startswith(f"{folder.name}: config.yaml is cut or was changed")
