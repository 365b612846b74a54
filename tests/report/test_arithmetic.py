"""The report names the arithmetic, and trials whose updates did not reach their weights."""

from orchestrator.report.arithmetic import arithmetic_notes
from orchestrator.report.trial import Trial


def trial(name, precision, fidelity=""):
    summary = {"trial": name, "status": "finished", "precision": precision}
    return Trial(summary | {"lowest_update_fidelity": fidelity}, {}, {}, [])


def test_one_arithmetic_is_named_and_nothing_else_is_said():
    notes = arithmetic_notes([trial("a", "bfloat16", "0.97"), trial("b", "bfloat16", "1.02")])
    assert notes == ["All trials computed in bfloat16, with float32 master weights."]


def test_trials_in_different_arithmetic_are_told_apart():
    (note,) = arithmetic_notes([trial("a", "bfloat16"), trial("b", "float32"), trial("c", "")])
    assert note.startswith("Trials computed in bfloat16 and float32: ")
    assert "Set model.precision to one of them" in note


def test_updates_that_did_not_arrive_are_told_with_what_to_do():
    notes = arithmetic_notes([trial("a", "bfloat16", "0.31"), trial("b", "bfloat16", "0.9")])
    assert len(notes) == 2
    assert "only 31% of what the optimizer had asked for had reached the weights" in notes[1]
    assert "not those of the data in a. Run again" in notes[1]
    assert "model.precision: float32" in notes[1]


def test_a_study_that_is_older_than_the_columns_is_left_without_a_note():
    assert arithmetic_notes([Trial({"trial": "a", "status": "finished"}, {}, {}, [])]) == []
