"""What MLflow says of a study in words: the answer first, and nothing that is private."""

import shlex
from pathlib import Path

from orchestrator.config import load_study
from orchestrator.report.arms import Arm
from orchestrator.report.trial import Trial
from orchestrator.study.description import description
from orchestrator.study.facts import provenance_tags
from orchestrator.study.summary_rows import best_metrics
from orchestrator.trials import expand
from tests.studies import write_study

SWEPT = {
    "parameters": {
        "seed": {"grid": [0, 1]},
        "arrangement.order": {"grid": ["nearest_first", "random"]},
    }
}


def test_a_description_is_the_answer_then_how_to_run_it_again_then_what_was_set(tmp_path):
    pool = {"reader": "jsonl", "path": str(Path.home() / "secret" / "train.jsonl")}
    query = {"reader": "builtin", "split": "query"}
    claim = {"question": "Does order matter?", "arms": ["nearest_first", "random"]}
    changes = {"data": {"pool": pool, "query": query}, "sweep": SWEPT, "claim": claim}
    study = load_study(write_study(tmp_path, **changes))
    command = "orchestrator run study.yaml --set 'sweep={a: b --c}' --output out"
    text = description(study, expand(study), command, "random is ahead.", "random")
    answer, question, best, *_ = text.split("\n\n")
    assert (answer, question) == ("random is ahead.", "*Does order matter?*")
    assert "best_arm" in best
    assert "**random**" in best
    again, swept, settings = (part.strip("\n") for part in text.split("```")[1::2])
    assert shlex.split(again.replace("\\\n", "")) == shlex.split(command)
    assert len(again.splitlines()) == 3
    assert swept.splitlines() == ["seed: 0, 1", "arrangement.order: nearest_first, random"]
    assert "training.learning_rate: 0.001" in settings.splitlines()
    assert "data.pool.path: train.jsonl" in settings.splitlines()
    assert "model.adapter" not in settings, "what has its default is left out"
    assert str(Path.home()) not in text
    assert "seed: 0" not in settings.splitlines()


def test_the_run_of_a_study_names_its_source_under_mlflows_names(tmp_path):
    tags = provenance_tags(tmp_path)
    assert tags["mlflow.source.name"].endswith("study.yaml")
    assert tags["mlflow.source.type"] == "LOCAL"
    assert "git_commit" not in tags, "it is mlflow.source.git.commit"


def test_the_best_arm_has_the_means_of_what_all_its_trials_measured(tmp_path):
    trials = [Trial({"trial": name, "status": "finished"}, {}, {}, []) for name in "ab"]
    measured = {"a": {"loss": 1.0, "area": 2.0}, "b": {"loss": 3.0}, "c": {"loss": 9.0}}
    assert best_metrics(Arm(0, "best", trials), measured) == {"best_arm/loss": 2.0}
    assert best_metrics(None, measured) == {}
