"""Twins of a study: their results once the trials are over, and what is said of them."""

import io
from types import SimpleNamespace

from rich.console import Console

from orchestrator.screen import Screen
from orchestrator.study.twins import share_results
from orchestrator.tune.run import INTERRUPTED


def test_a_twin_of_a_trial_that_failed_fails_with_its_reason_and_one_of_an_interrupted_waits(
    tmp_path,
):
    specs = []
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        specs.append(SimpleNamespace(trial=name, key=name, folder=tmp_path / name))
    a, b, c, d = specs
    screen = Screen(Console(file=io.StringIO()))
    failed = share_results({"b": a, "d": c}, specs, {"a": "no memory", "c": INTERRUPTED}, screen)
    assert failed == {"b": "it cannot differ from a, which failed: no memory", "d": INTERRUPTED}
    assert (b.folder / "error.txt").read_text() == failed["b"]
    assert not (d.folder / "error.txt").exists()
