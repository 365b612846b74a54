"""Several studies side by side: on what all of them measured, or not at all."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from orchestrator.errors import DataError
from orchestrator.report.arms import common_basis, group_arms
from orchestrator.report.build import build_comparison
from orchestrator.report.read import StudyRecord, read_study
from orchestrator.report.side_by_side import side_by_side
from orchestrator.report.trial import Trial
from tests.report.conftest import RUN, TASKS, make_study


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A study by its name, with what a resolved configuration says of the model."""

    @cache
    def read(name: str, shift: float = 0.0, **options) -> StudyRecord:
        folder = make_study(tmp_path_factory.mktemp(name), {"random": shift}, **options)
        model = {"name": "model", "template": "user_assistant", "max_length": 256}
        found = read_study(folder)
        trials = [replace(trial, config=trial.config | {"model": model}) for trial in found.trials]
        return replace(found, name=name, trials=trials)

    return read


def _without(record: StudyRecord, *tasks: str) -> StudyRecord:
    """The record as if its test sets had no items of these tasks."""
    kept = [
        replace(trial, tables=trial.tables | {"losses": _losses(trial, tasks)})
        for trial in record.trials
    ]
    return replace(record, trials=kept)


def _losses(trial: Trial, tasks: tuple[str, ...]) -> pa.Table:
    table = trial.tables["losses"]
    return table.filter(pc.invert(pc.is_in(table["task"], pa.array(tasks))))


def test_arms_of_several_studies_are_compared_on_the_items_that_all_measured(record) -> None:
    first, second = record("first", 0.3), _without(record("second"), *TASKS[:4])
    both = side_by_side([first, second])
    assert [trial.arm for trial in both.trials][:2] == ["first: nearest_first", "first: random"]
    assert {
        task for trial in both.trials for task in trial.tables["losses"]["task"].to_pylist()
    } == set(TASKS[4:])
    basis = common_basis(group_arms(both.trials))
    assert basis is not None
    areas = basis.areas
    # Losses fall by one e-fold in ten steps on top of 2.0 + 0.1 a task; 0.3 higher from step 8 on.
    assert areas["first: random"] - areas["second: random"] == pytest.approx(
        0.3 * 20 / 24, abs=0.01
    )


def test_the_summary_is_that_of_the_common_items(record) -> None:
    both = side_by_side([record("first"), _without(record("second"), *TASKS[4:])])
    for trial in both.trials:
        assert float(trial.summary["query_loss"]) == pytest.approx(2.15 + 0.0907, abs=0.03)
        assert "measures" in trial.tables or trial.arm.startswith("first: ")


def test_a_set_that_only_one_study_measured_is_left_out(record) -> None:
    both = side_by_side([record("first"), record("second", sets=("query",))])
    assert all(len(trial.mean_losses("held_out")[0]) == 0 for trial in both.trials)
    assert all(trial.summary["held_out_loss"] == "" for trial in both.trials)


def test_trials_are_paired_by_the_seeds_that_all_studies_have(record) -> None:
    both = side_by_side([record("first", seeds=3), record("second", seeds=2)])
    arms = group_arms(both.trials)
    assert {len(arm.trials) for arm in arms} == {2}
    assert all(arm.seeds == [("0",), ("1",)] for arm in arms)
    assert both.notes == ["4 trials are left out: not all studies have their seeds and test items."]


def _told(change) -> str:
    def altered(record: StudyRecord) -> StudyRecord:
        return replace(record, trials=[change(trial) for trial in record.trials])

    return altered


def _configured(section: str, **values):
    return _told(
        lambda trial: replace(
            trial, config=trial.config | {section: trial.config[section] | values}
        )
    )


def _in_bfloat16(trial: Trial) -> Trial:
    return replace(trial, summary=trial.summary | {"precision": "bfloat16"})


def _another_text(trial: Trial) -> Trial:
    table = trial.tables["losses"]
    tokens = pa.array([tokens + 1 for tokens in table["tokens"].to_pylist()])
    at = table.column_names.index("tokens")
    return replace(trial, tables=trial.tables | {"losses": table.set_column(at, "tokens", tokens)})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_configured("model", template="chat"), "differ in templates .*: user_assistant and chat"),
        (_configured("model", max_length=512), "differ in lengths of test items: 256 and 512"),
        (_told(_in_bfloat16), "arithmetic .model.precision.: unknown and bfloat16"),
        (lambda record: replace(record, run={}), "trained models: model fedcba987654 and model"),
        (_told(_another_text), "is another text in first: .* than in second: "),
        (lambda record: _without(record, *TASKS), "no test item in common"),
        (lambda record: replace(record, name="first"), "two studies are called first"),
        (lambda record: replace(record, trials=[]), "no trial of second finished"),
    ],
)  # fmt: skip
def test_studies_whose_losses_do_not_compare_are_refused_with_the_reason(
    record, change, why
) -> None:
    known = {"models": {"model": RUN["models"]["model"]}}
    first, second = (replace(record(name), run=known) for name in ("first", "second"))
    side_by_side([first, second])
    with pytest.raises(DataError, match=why):
        side_by_side([first, change(second)])


def test_the_page_of_several_studies_names_the_best_arm_and_links_nothing_that_is_not_there(
    tmp_path,
):
    folders = [
        make_study(tmp_path / name, {"random": shift}) for name, shift in (("a", 0.2), ("b", 0))
    ]
    for folder, name in zip(folders, ("a", "b"), strict=True):
        (folder / "study.yaml").write_text(f"study: {name}\n")
    page, sentence = build_comparison(folders, tmp_path / "page")
    assert " was best, " in sentence
    text = page.read_text()
    assert sentence.split(",")[0] in text
    assert "Of 2 studies" in text
    links = re.findall(r'href="((?!data:|#|http)[^"]+)"', text)
    assert links
    reports = {f"../{name}/quickstart/report/index.html" for name in ("a", "b")}  # not made here
    assert reports <= set(links)
    assert all((page.parent / link).exists() for link in set(links) - reports)
