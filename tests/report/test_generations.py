"""Scores of generated answers are drawn as they were measured, and only where there are any."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.report.arms import group_arms
from orchestrator.report.build import build_report
from orchestrator.report.generations import generation_panels
from orchestrator.report.trial import Trial
from orchestrator.storage.files import GENERATIONS_SCHEMA

STEPS, ITEMS = (0, 10, 50), 4


def answers(scores, metric="rougeL", test_set="query"):
    """A table of answers from scores (steps, items); other metrics were not asked for."""
    rows = [
        {"step": step, "set": test_set, "id": str(item), "task": "t", metric: score}
        for step, by_item in zip(STEPS, scores, strict=True)
        for item, score in enumerate(by_item)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATIONS_SCHEMA)


def trial_of(table, name="a", seed=0):
    summary = {"trial": f"{name}-{seed}", "arm": name, "status": "finished"}
    return Trial(summary, {"seed": seed}, {} if table is None else {"generations": table}, [])


def test_a_line_is_the_mean_over_items_and_then_over_seeds_at_the_generated_steps():
    scores = np.random.default_rng(0).random((2, len(STEPS), ITEMS))
    seeds = [trial_of(answers(part), seed=seed) for seed, part in enumerate(scores)]
    (panel,) = generation_panels(group_arms(seeds))
    (line,) = panel.lines
    assert line.x.tolist() == list(STEPS)
    np.testing.assert_allclose(line.y, scores.mean(axis=(0, 2)))
    np.testing.assert_allclose(line.band[1], scores.mean(axis=2).max(axis=0))


def test_each_metric_and_set_has_a_panel_of_its_own():
    scores = np.arange(12.0).reshape(len(STEPS), ITEMS)
    tables = [answers(scores, "rouge1"), answers(scores, "reward", "held_out")]
    panels = generation_panels(group_arms([trial_of(pa.concat_tables(tables))]))
    titles = [panel.title for panel in panels]
    assert titles == ["ROUGE-1, query set", "Reward-model score, held-out set"]


def test_an_answer_without_a_score_is_left_out():
    scores = [[1.0, None, None, None], [0.5, 0.5, 0.5, None], [None] * 4]
    (panel,) = generation_panels(group_arms([trial_of(answers(scores))]))
    assert (panel.lines[0].x.tolist(), panel.lines[0].y.tolist()) == ([0, 10], [1.0, 0.5])


def test_arms_without_answers_have_no_line():
    arms = group_arms([trial_of(answers(np.ones((3, ITEMS)))), trial_of(None, name="b")])
    (panel,) = generation_panels(arms)
    assert [line.arm.name for line in panel.lines] == ["a"]


@pytest.mark.parametrize("generated", [True, False])
def test_the_page_has_the_section_only_where_answers_were_generated(study_of, generated):
    study = study_of({})
    if generated:
        scores = answers(np.ones((3, ITEMS)), "exact_match")
        pq.write_table(scores, study / "trials" / "random" / "generations.parquet")
    page = build_report(study).read_text(encoding="utf-8")
    assert ("Generated answers" in page) == generated
    assert ('id="generations-exact_match-query"' in page) == generated
    assert (study / "report" / "figures" / "generations.png").is_file() == generated
