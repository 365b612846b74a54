"""`orchestrator show` prints rows as the model will see them, without an engine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator import models
from orchestrator.config import Study
from orchestrator.errors import ConfigError, ResourceError
from orchestrator.study.show import show_rows
from tests.waiting import PATIENCE


def line(number, prompt, answer, task="t"):
    return {"id": f"i{number}", "task": task, "prompt": prompt, "completion": answer}


@pytest.fixture
def study(tmp_path, store, monkeypatch):
    """A study over two files in the working folder, with some settings changed."""
    monkeypatch.chdir(tmp_path)
    models.resolve("random:tiny-llama", Path(store))  # what making it logs is not looked at

    def make(pool, **changes):
        for name, rows in {"pool": pool, "query": [line(9, "Query?", "yes", "u")]}.items():
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        return Study.model_validate(
            {
                "study": "small",
                "store": store,
                "data": {
                    name: {"reader": "jsonl", "path": f"{name}.jsonl"} for name in ("pool", "query")
                },
                "embedding": {"model": "random:tiny-bert"},
                "arrangement": {"rows": 2, "arm": "min"},
                "model": {"name": "random:tiny-llama"},
            }
            | changes
        )

    return make


def test_rows_of_each_set_are_printed_with_what_carries_loss_between_marks(study, capfd):
    assert show_rows(study([line(i, f"Ask {i}?", f"Reply {i}") for i in range(10)]), 2)
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    read, fetched, *rows = shown.out.splitlines()
    assert "pool 10, query 1" in read
    assert "model random:tiny-llama" in fetched
    assert rows == [
        "model random:tiny-llama, template 'user_assistant': [[what carries loss]]",
        "",
        "data.pool, instance 'i0': 33 tokens, 8 learned",
        "<s>User: Ask 0?",
        "Assistant: [[Reply 0</s>]]",
        "",
        "data.pool, instance 'i5': 33 tokens, 8 learned",
        "<s>User: Ask 5?",
        "Assistant: [[Reply 5</s>]]",
        "",
        "data.query, instance 'i9': 29 tokens, 4 learned",
        "<s>User: Query?",
        "Assistant: [[yes</s>]]",
    ]


def test_what_is_cut_away_is_told_and_control_characters_are_spelled(study, capfd):
    model = {"name": "random:tiny-llama", "max_length": 25}
    assert show_rows(study([line(0, "Ask \x1b[31m?", "Reply")], model=model), 1)
    shown = capfd.readouterr().out
    assert r"<s>User: Ask \x1b[31m?" in shown
    assert "cut to model.max_length: 25, 0 learned; no answer is left, the row has no loss" in shown
    assert "... (cut)" in shown


def test_test_items_are_shown_at_their_own_length(study, capfd):
    changes = {"evaluation": {"max_length": 25}}
    assert show_rows(study([line(0, "Ask?", "Reply " * 9)], **changes), 1)
    pool, query = capfd.readouterr().out.split("data.query")
    assert "cut to" not in pool
    assert "cut to evaluation.max_length: 25, 0 learned" in query


def test_each_template_of_a_sweep_is_shown_below_its_setting_once(study, capfd):
    grids = {"model.template": ["user_assistant", "Q{prompt}A{answer}Z"], "seed": [0, 1]}
    sweep = {"parameters": {key: {"grid": values} for key, values in grids.items()}}
    assert show_rows(study([line(0, "Ask?", "Reply")], sweep=sweep), 1)
    shown = capfd.readouterr().out
    first, second = shown.split("model.template: ")[1:]
    assert first.startswith('"user_assistant"\n')
    assert "Assistant: [[Reply</s>]]" in first
    assert second.startswith('"Q{prompt}A{answer}Z"\n')
    assert "<s>QAsk?A[[ReplyZ</s>]]" in second


def test_a_model_that_cannot_be_fed_and_a_place_that_is_a_file_are_told_first(study, tmp_path):
    resolved = models.resolve("random:tiny-llama", tmp_path / "store")
    shutil.copytree(resolved, tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text("{broken")
    rows = [line(0, "Ask?", "Reply")]
    with pytest.raises(ConfigError, match=r"model.name: the tokenizer in .* cannot be read"):
        show_rows(study(rows, model={"name": "./m"}), 1)
    (tmp_path / "afile").write_text("")
    with pytest.raises(ResourceError, match=r"afile cannot be written \(is a file\): give another"):
        show_rows(study(rows, output="afile"), 1)


@pytest.mark.slow
def test_no_engine_is_imported(study, tmp_path):
    shown = study([line(0, "Ask?", "Reply")])
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(shown.model_dump(mode="json")))
    code = "import sys, orchestrator.cli as c; sys.argv[0] = 'orchestrator'\ntry: c.main()\n"
    code += "finally: print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, "show", "study.yaml"],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "[[Reply</s>]]" in ended.stdout
    assert not {"ray", "deepspeed", "mlflow"} & set(ended.stdout.splitlines()[-1].split())
