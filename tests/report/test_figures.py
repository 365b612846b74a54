"""Lines share a panel only where their values share a meaning."""

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.core.arrangements import METHODS, Method
from orchestrator.core.measures import MEASURES
from orchestrator.report.arms import group_arms
from orchestrator.report.figures import distance_panels
from orchestrator.report.measures import SHOWN, measure_panels
from orchestrator.report.read import read_study
from tests.report.conftest import ARMS, STEPS


def test_distances_of_different_meaning_have_panels_of_their_own(study_of):
    arms = {
        "near": ARMS["nearest_first"],
        "transport": {"method": "ot"},
        "rounds": {"method": "rds"},
        "by_text": {"method": "measure", "measure": "bigram_kl"},
        "by_vector": {"method": "measure", "measure": "cosine_min"},
        "folded": {"method": "folding", "measure": "cosine_min"},
        "own": {"method": "my_own"},
        "random": ARMS["random"],
    }
    panels = distance_panels(group_arms(read_study(study_of({}, arms=arms)).trials))
    assert [[line.arm.name for line in panel.lines] for panel in panels] == [
        ["near", "rounds"],
        ["transport"],
        ["by_text"],
        ["by_vector", "folded"],
        ["own"],
    ]
    assert len({panel.title for panel in panels}) == len({panel.key for panel in panels}) == 5


def test_a_method_titles_its_distances_itself_with_the_settings_that_it_names(
    study_of, monkeypatch
):
    methods = {
        "deep": Method(METHODS["random"].arrange, distance="Depth {options[depth]}"),
        "untitled": Method(METHODS["random"].arrange),
        "wrong": Method(METHODS["random"].arrange, distance="Depth {nothing}"),
    }
    for name, method in methods.items():
        monkeypatch.setitem(METHODS, name, method)
    arms = {name: {"method": name, "options": {"depth": 2}} for name in [*methods, "uninstalled"]}
    panels = distance_panels(group_arms(read_study(study_of({}, arms=arms)).trials))
    assert [panel.title for panel in panels] == [
        "Depth 2",
        "Distance of method untitled",
        "Distance of method wrong",
        "Distance of method uninstalled",
    ]


def test_measures_are_drawn_with_those_of_the_claim_first(study_of):
    arms = group_arms(read_study(study_of({})).trials)
    panels = measure_panels(arms)
    names = [panel.key.removeprefix("measure-") for panel in panels]
    assert tuple(names[:2]) == SHOWN
    assert sorted(names) == sorted(MEASURES)
    for panel in panels:
        assert [line.arm for line in panel.lines] == arms
        for line in panel.lines:
            assert line.x.tolist() == STEPS[1:]


def test_a_measure_that_no_trial_has_is_not_drawn(study_of):
    study = study_of({})
    for path in study.glob("trials/*/measures.parquet"):
        table = pq.read_table(path)
        missing = pa.nulls(len(table), pa.float64())
        index = table.schema.get_field_index("bigram_kl")
        column = table.schema.field(index)
        pq.write_table(table.set_column(index, column, missing), path)
    keys = [panel.key for panel in measure_panels(group_arms(read_study(study).trials))]
    assert "measure-bigram_kl" not in keys
    assert len(keys) == len(MEASURES) - 1
