"""What the search algorithm is asked and told; the trials themselves need no model here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from orchestrator.config import Study, load_study
from orchestrator.errors import ConfigError
from orchestrator.storage.files import ERROR_FILE, PLAN_FILE, SEARCH_FILE
from orchestrator.training.journal import Journal
from orchestrator.training.outcome import mark_stopped
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import Trial
from orchestrator.tune.optuna import Suggestions

STUDY = """\
study: searched
data:
  pool: {reader: builtin, split: pool}
  query: {reader: builtin, split: query}
sweep:
  search: {type: optuna}
  samples: 24
  parameters:
    training.learning_rate: {loguniform: [1.0e-6, 1.0e-2]}
    arrangement.granularity: {choice: [instance, task, {clusters: 4}]}
    training.global_batch: {quniform: [4, 12, 4]}
    seed: {randint: [0, 1000]}
"""
BEST = 1e-3


def best_rate(trial: Trial) -> float:
    return abs(math.log10(trial.config.training.learning_rate / BEST))


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Suggestions]:
    """The suggestions of a study in a folder; each new process of it begins so."""

    def start(
        folder: str = "study",
        text: str = STUDY,
        loss: Callable[[Trial], float] = best_rate,
        planned: Callable[[Trial], bool] = lambda _: True,
    ) -> Suggestions:
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        (tmp_path / folder).mkdir(exist_ok=True)
        study: Study = load_study(path)

        def plan(trial: Trial) -> TrialSpec:
            home = tmp_path / folder / trial.name
            home.mkdir(exist_ok=True)
            (home / "loss").write_text(repr(loss(trial)))
            if planned(trial):
                (home / PLAN_FILE).touch()
            nowhere = tmp_path / "none"
            return TrialSpec(
                trial.name,
                f"spec-{trial.key}",  # a spec has a key of its own
                trial.config,
                nowhere,
                "",
                nowhere,
                nowhere,
                "",
                home,
                nowhere,
            )

        suggestions = Suggestions(study, tmp_path / folder, plan, lambda *_: None)
        suggestions.resume()
        return suggestions

    return start


def end(spec: TrialSpec) -> None:
    """Give a trial an end: a measured loss, and a mark."""
    Journal(spec.folder, None).write(
        "measure", 1, query_loss=float((spec.folder / "loss").read_text())
    )
    mark_stopped(spec.folder, spec.key, {})


def run(suggestions: Suggestions, trials: int | None = None) -> list[str]:
    """Run the next trials, each to its end before the next is asked for."""
    names = []
    for spec in islice(suggestions.unfinished(), trials):
        end(spec)
        suggestions.tell(spec)
        names.append(spec.trial)
    return names


@pytest.mark.scenario("repeated-crash")
def test_a_trial_without_a_plan_is_passed_over_and_tried_by_the_next_run(begin):
    def no_tasks(trial: Trial) -> bool:
        return trial.config.arrangement.granularity != "task"

    suggestions = begin(planned=no_tasks)
    trained = run(suggestions)
    known = [spec.trial for spec in suggestions.specs]
    left = [name for name in known if name not in trained]
    assert left
    assert all(no_tasks(t) == (t.name in trained) for t in suggestions.expansion.trials)
    assert run(begin(planned=no_tasks)) == []
    assert run(begin()) == left


@pytest.mark.scenario("kill-driver")
def test_a_search_that_was_cut_off_anywhere_goes_on_as_an_undisturbed_one(begin, tmp_path):
    whole = run(begin("whole"))
    for cut in (1, 9, 17):  # before and after the parzen estimator has its first ten trials
        first = begin(f"cut-{cut}")
        assert run(first, cut - 1) == whole[: cut - 1]
        killed = next(first.unfinished())  # it was handed out and never came to its end
        assert killed.trial == whole[cut - 1]
        with (tmp_path / f"cut-{cut}" / SEARCH_FILE).open("a") as log:
            log.write('{"number": 1')  # so was this line
        assert run(begin(f"cut-{cut}")) == whole[cut - 1 :]
        assert (tmp_path / f"cut-{cut}" / SEARCH_FILE).read_text() == (
            tmp_path / "whole" / SEARCH_FILE
        ).read_text()


@pytest.mark.scenario("kill-driver")
def test_a_kill_between_the_end_of_a_trial_and_its_last_line_loses_nothing(begin, tmp_path):
    whole = run(begin("whole"))
    first = begin("killed")
    run(first, 11)
    end(next(first.unfinished()))  # and nobody was told
    assert run(begin("killed")) == whole[12:]
    logs = [(tmp_path / folder / SEARCH_FILE).read_text() for folder in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_what_was_told_moves_the_search_towards_it(begin):
    found = begin()
    run(found)
    distances = [best_rate(trial) for trial in found.expansion.trials]
    assert sum(distances[-8:]) < sum(distances[:8])
    other = begin("other", loss=lambda trial: -best_rate(trial))
    run(other)
    rates = [trial.config.training.learning_rate for trial in found.expansion.trials]
    others = [trial.config.training.learning_rate for trial in other.expansion.trials]
    assert rates[:10] == others[:10]
    assert rates[10:] != others[10:]


def test_a_finished_search_asks_for_nothing_and_a_longer_one_for_the_rest(begin):
    names = run(begin())
    again = begin()
    assert list(again.unfinished()) == []
    assert not again.missing
    assert [spec.trial for spec in again.specs] == names
    longer = begin(text=STUDY.replace("samples: 24", "samples: 26"))
    assert longer.missing == 2
    assert len(run(longer)) == 2


def test_trials_with_one_configuration_run_once_and_all_suggestions_of_it_are_told(begin, tmp_path):
    text = STUDY[: STUDY.index("    training.learning_rate")] + (
        "    arrangement.granularity: {choice: [instance, task]}\n"
    )
    found = begin(text=text, loss=lambda trial: 1.0)
    assert len(run(found)) == 2
    assert sum(trial.merged for trial in found.expansion.trials) == 22
    events = [
        json.loads(line) for line in (tmp_path / "study" / SEARCH_FILE).read_text().splitlines()
    ]
    assert sum("value" in event for event in events) == 24


def test_trials_that_run_at_once_are_not_handed_out_twice(begin):
    text = STUDY[: STUDY.index("    training.learning_rate")] + (
        "    arrangement.granularity: {choice: [instance, task]}\n"
    )
    found = begin(text=text, loss=lambda trial: 1.0)
    specs = list(found.unfinished())  # none ends before the last was asked for
    assert len(specs) == len({spec.key for spec in specs}) == 2


def test_a_constraint_drops_suggestions_and_counts_them(begin):
    found = begin(text=STUDY + "  constraints: [{arrangement.granularity: task}]\n")
    names = run(found)
    dropped = sum(found.expansion.dropped.values())
    assert dropped > 0
    assert len(names) + dropped == 24
    assert all(trial.config.arrangement.granularity != "task" for trial in found.expansion.trials)


def test_a_trial_that_failed_is_not_told_and_comes_again_with_the_next_run(begin):
    first = begin()
    spec = next(first.unfinished())
    first.tell(spec)  # it ended without a result
    assert next(begin().unfinished()).trial == spec.trial


def test_a_trial_that_the_loop_gave_up_counts_as_its_untouched_model(begin, tmp_path):
    found = begin()
    specs = found.unfinished()
    spec = next(specs)
    journal = Journal(spec.folder, None)
    for step, loss in ((0, 5.0), (1, 4.0)):
        journal.write("measure", step, query_loss=loss)
    found.tell(spec, died=True)  # its process died: it comes again
    (spec.folder / ERROR_FILE).write_text("the training loss is nan")
    found.tell(spec, died=False)
    events = [
        json.loads(line) for line in (tmp_path / "study" / SEARCH_FILE).read_text().splitlines()
    ]
    assert [event["value"] for event in events if "value" in event] == [5.0]


def test_a_log_of_other_settings_is_refused(begin, tmp_path):
    run(begin(), 2)
    with pytest.raises(ConfigError, match=f"{SEARCH_FILE} was begun with other settings"):
        begin(text=STUDY.replace("1.0e-6", "1.0e-5"))
    with pytest.raises(ConfigError, match="remove that file to search anew"):
        begin(text=STUDY + "training: {max_steps: 3}\n")
