"""`orchestrator init` writes a study of somebody's own data from options or answers."""

import io
import json
import sys
from pathlib import Path

import pytest

from orchestrator import models
from orchestrator.cli import main
from orchestrator.config import load_study
from orchestrator.trials import expand


@pytest.fixture
def init(tmp_path, store, monkeypatch, capfd):
    """The command in a folder with a pool and test items, with answers on its standard input."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "store").symlink_to(store)
    models.resolve("random:tiny-llama", tmp_path / "outputs" / "store")
    for name, tasks in {"train": "ab", "test": "cd"}.items():
        rows = [
            {"question": f"{task} {n}?", "answer": f"{n} it is", "category": task}
            for task in tasks
            for n in range(30)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def call(*arguments, answers=""):
        monkeypatch.setattr(sys, "argv", ["orchestrator", "init", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


DATA = ("--pool", "train.jsonl", "--queries", "test.jsonl")


def test_options_give_a_study_that_expands_and_a_row_as_the_model_sees_it(init):
    compare = "granularity,turns,seeds"
    Path("deeper").mkdir()
    Path("deeper/test.jsonl").write_text("another file of that name")
    file = "deeper/my.yaml"  # a study looks beside itself first
    code, out, err = init(file, *DATA, "--model", "random:tiny-llama", "--compare", compare)
    assert (code, err) == (0, "")
    assert "training rows: 60 rows of 2 tasks" in out
    assert "<s>User: a 0?\nAssistant: [[0 it is</s>]]" in out
    assert "12 trials" in out
    study = load_study(Path(file))
    assert study.data.query.path == "test.jsonl"
    assert (study.study, len(expand(study))) == ("my", 12)
    assert study.data.pool.fields.prompt == "question"
    assert (
        "description"
        in json.loads(Path("deeper/study.schema.json").read_text())["properties"]["seed"]
    )


def test_what_no_option_says_is_asked_until_it_can_be_used(init):
    answers = "trian.jsonl\ntrain.jsonl\ntest.jsonl\nrandom:tiny-llama\ncolours\norder\n"
    code, out, _ = init(answers=answers)
    assert code == 0
    assert "trian.jsonl: no such file" in out
    assert "colours cannot be compared: the keys here are order, selection" in out
    orders = {trial.config.arrangement.order for trial in expand(load_study(Path("study.yaml")))}
    assert orders == {"nearest_first", "random", "farthest_first"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train.jsonl", *DATA), "train.jsonl exists: name another file"),
        (DATA[:2], "nobody answers: give test items"),
        ((*DATA, "--model", "smolm2-135m"), "Did you mean smollm2-135m?"),
        ((*DATA, "--model", "random:tiny-llama", "--compare", "ordr"), "did you mean order?"),
        ((*DATA, "--fields", "question"), "--fields names columns"),
        ((*DATA, "--fields", "{promt: question}"), "did you mean prompt?"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(init, tmp_path, arguments, said):
    code, _, err = init(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "study.yaml").exists()
