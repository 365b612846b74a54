"""Natural Instructions: which files are read, what prompts are made of, and which answers count."""

import json
import re

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.config.sources import Data
from orchestrator.data import dataset, references
from orchestrator.data.readers import fingerprint
from orchestrator.errors import DataError
from orchestrator.models.presets import byte_tokenizer
from tests.data.conftest import contents, read_all, source

NIV2_TASK = {
    "Definition": ["Add one. "],
    "Positive Examples": [
        {"input": "1", "output": "2", "explanation": "e"},
        {"input": "2", "output": "3", "explanation": "e"},
        {"input": "3", "output": "4", "explanation": "e"},
    ],
    "Negative Examples": [],
    "Instances": [
        {"id": "t1-a", "input": " 7\n", "output": ["8", "eight"]},
        {"input": "", "output": ["9"]},
    ],
}
NIV2_PROMPT = """Definition: Add one.

 Positive Example 1 -
Input: 1
 Output: 2

 Positive Example 2 -
Input: 2
 Output: 3

Now complete the following example -
Input: 7
Output: """


@pytest.fixture
def niv2(tmp_path):
    tasks, splits = tmp_path / "niv2" / "tasks", tmp_path / "niv2" / "splits" / "default"
    tasks.mkdir(parents=True)
    splits.mkdir(parents=True)
    (tasks / "task1_add.json").write_text(json.dumps(NIV2_TASK))
    text = {**NIV2_TASK, "Definition": "Add two.", "Positive Examples": []}
    (tasks / "task2_add.json").write_text(
        json.dumps({**text, "Instances": NIV2_TASK["Instances"][1:]})
    )
    (splits / "train_tasks.txt").write_text("task1_add\n\n")
    (splits / "test_tasks.txt").write_text("task2_add\n")
    return tmp_path / "niv2"


def test_niv2_prompts_have_the_form_of_tk_instruct(niv2):
    found, _ = read_all(source("niv2", path=str(niv2)))
    assert [i.id for i in found] == ["t1-a", "task1_add-2", "task2_add-1"]
    assert [i.task for i in found] == ["task1_add", "task1_add", "task2_add"]
    assert contents(found[0]) == [NIV2_PROMPT, "8"]
    assert contents(found[2])[0].startswith("Definition: Add two.\n\nNow complete")
    ((first, *_), _) = read_all(source("niv2", path=str(niv2), examples=0))
    assert "Positive" not in contents(first)[0]


def test_niv2_reads_the_tasks_of_its_split_list(niv2):
    for split, number in {"train": 1, "test": 2}.items():
        made = source("niv2", path=str(niv2), split=split)
        assert {i.task for i in read_all(made)[0]} == {f"task{number}_add"}
    before = fingerprint(made)
    (niv2 / "splits/default/test_tasks.txt").write_text("task2_add\n\n")
    assert fingerprint(made) != before
    with (niv2 / "splits/default/test_tasks.txt").open("a") as file:
        file.write("task3_gone\n")
    with pytest.raises(DataError, match=r"1 of the 2 tasks of split test.*task3_gone"):
        read_all(made)
    (niv2 / "tasks/task3_gone.json").write_text(json.dumps(NIV2_TASK))
    assert {i.task for i in read_all(made)[0]} == {"task2_add", "task3_gone"}


@pytest.mark.scenario("bad-bytes")
def test_a_bad_byte_in_a_niv2_file_costs_one_instance_and_a_bad_file_is_one_record(niv2):
    path = niv2 / "tasks/task1_add.json"
    path.write_bytes(path.read_bytes().replace(b"eight", b"eight\xff").replace(b'"8"', b'"\xff"'))
    (niv2 / "tasks/task0_torn.json").write_text('{"Definition": "x"')
    found, counts = read_all(source("niv2", path=str(niv2), bad_records="skip"))
    assert [i.id for i in found] == ["task1_add-2", "task2_add-1"]
    assert counts.dropped == {"not JSON": 1, "answer holds a lone surrogate": 1}
    (niv2 / "tasks/task0_torn.json").unlink()
    with pytest.raises(DataError, match=r"task1_add\.json instance 1: answer holds a lone surr"):
        read_all(source("niv2", path=str(niv2)))


FULL_TASK = {
    "Definition": "Say whether it is a fruit",
    "Positive Examples": [
        {"input": "pear", "output": ["yes", "Yes"], "explanation": "It grows on a tree."},
        {"input": "Is a plum?", "output": "yes"},
    ],
    "Negative Examples": [
        {"input": "stone", "output": "yes", "explanation": "Nobody eats it"},
        {"input": "fig", "output": "no", "explanation": "It is one"},
    ],
    "Instances": [{"input": "date", "output": ["yes"]}, {"input": " ", "output": ["no"]}],
}
FULL_PROMPT = """task3_fruit. Definition: Say whether it is a fruit.

 Positive Example 1 -
Input: pear.
 Output: yes.
 Explanation: It grows on a tree.

 Positive Example 2 -
Input: Is a plum?
 Output: yes.

 Negative Example 1 -
Input: stone.
 Output: yes.
 Explanation: Nobody eats it.

Now complete the following example -
Input: date.
Output: """
EVERYTHING = {
    "negative_examples": 1, "explanations": True, "task_name": True, "full_stops": True,
}  # fmt: skip


@pytest.fixture
def full(tmp_path):
    path = tmp_path / "task3_fruit.json"
    path.write_text(json.dumps(FULL_TASK))
    return str(path)


def test_a_niv2_prompt_has_all_that_tk_instruct_can_put_into_it(full):
    found, _ = read_all(source("niv2", path=full, **EVERYTHING))
    assert contents(found[0]) == [FULL_PROMPT, "yes"]
    assert "Input: .\nOutput: " in contents(found[1])[0]  # as the authors end an empty input
    plain, _ = read_all(source("niv2", path=full))
    assert contents(plain[0])[0].startswith("Definition: Say whether it is a fruit\n\n Positive")
    assert "Explanation" not in contents(plain[0])[0]
    assert "Negative" not in contents(plain[0])[0]


def test_examples_are_put_in_while_the_prompt_fits_and_the_positive_ones_first(full, tmp_path):
    byte_tokenizer(4096).save_pretrained(tmp_path / "model")
    options = {"path": full, "tokenizer": str(tmp_path / "model"), **EVERYTHING}
    head, first, second, third, asked = re.split(
        r"(?= (?:Positive|Negative) Example)|(?=Now complete)", FULL_PROMPT
    )
    # The authors do not count the name of the task, and count a space between examples of a kind.
    head = head.removeprefix("task3_fruit. ")
    whole = [head + asked, head + first + asked, head + first + second + asked]
    whole.append(head + first + " " + second + third + asked)
    for number, counted in enumerate(whole):
        for tokens, kept in ((len(counted), number), (len(counted) - 1, number - 1)):
            made = source("niv2", **options, max_prompt_tokens=tokens)
            prompt = contents(read_all(made)[0][0])[0]
            assert prompt.count("Positive Example") == min(max(kept, 0), 2)
            assert number < 3 or ("Negative Example" in prompt) == (kept == 3)
    found, _ = read_all(source("niv2", **options, max_prompt_tokens=4096))
    assert contents(found[0])[0] == FULL_PROMPT


def test_the_tokenizer_of_niv2_counts_by_its_content_and_not_by_its_place(full, tmp_path):
    byte_tokenizer(4096).save_pretrained(tmp_path / "a")
    made = source("niv2", path=full, tokenizer=str(tmp_path / "a"), max_prompt_tokens=99)
    before = fingerprint(made)
    (tmp_path / "a").rename(tmp_path / "b")
    file = tmp_path / "b" / "tokenizer.json"
    moved = made.model_copy(update={"tokenizer": str(file)})
    assert fingerprint(moved) == before
    file.write_text(file.read_text() + " ")
    assert fingerprint(moved) != before
    with pytest.raises(DataError, match=r"a/tokenizer\.json|/a is not there: set tokenizer to a"):
        read_all(made)
    file.write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer\.json"):
        read_all(moved)
    with pytest.raises(ValidationError, match="counted by tokenizer: set both"):
        source("niv2", path=full, max_prompt_tokens=99)


def test_options_at_their_defaults_leave_the_digest_of_a_niv2_source_as_it_was(full):
    key = fingerprint(source("niv2", path=full))
    assert set(key) - {"content"} == {
        "max_per_task", "seed", "max_turns", "max_chars", "too_long", "tasks", "bad_records",
        "reader", "split", "examples",
    }  # fmt: skip
    assert fingerprint(source("niv2", path=full, **EVERYTHING)).keys() - key.keys() == {*EVERYTHING}


def test_an_instance_keeps_each_of_its_outputs_as_a_reference(niv2):
    path = niv2 / "tasks/task1_add.json"
    outputs = [["8", " eight ", "8", "", 3], ["9", "9"], "10"]
    instances = [{"input": "7", "output": output} for output in outputs]
    path.write_text(json.dumps({**NIV2_TASK, "Instances": instances}))
    found, counts = read_all(source("niv2", path=str(path)))
    assert [contents(each)[1] for each in found] == ["8", "9", "10"]
    assert [each.references for each in found] == [("8", "eight"), (), ()]
    assert counts.notes == {"further outputs left off": 1}


def test_references_stand_beside_the_dataset_by_its_rows_and_leave_it_as_it_is(niv2, tmp_path):
    pool = {"reader": "niv2", "path": str(niv2), "split": "train"}
    held_out = {**pool, "path": str(niv2 / "tasks/task1_add.json"), "split": None}
    made = {"pool": {**pool, "split": "test"}, "query": pool, "held_out": held_out}
    data = Data.model_validate({**made, "leakage": "allow"})
    info = dataset.write(data, tmp_path)
    assert references.has_references(data, info["splits"])
    assert references.write(data, info["splits"], tmp_path) == 2
    rows = np.arange(5)
    answers = [turns[1]["content"] for turns in dataset.load_messages(tmp_path)]
    found = references.load(tmp_path, rows, answers)
    assert found == [("9",), ("8", "eight"), ("9",), ("8", "eight"), ("9",)]
    assert references.load(None, rows, answers) == [(answer,) for answer in answers]
    alone = {**made, "query": made["pool"], "held_out": None}
    info = dataset.write(Data.model_validate({**alone, "leakage": "allow"}), tmp_path)
    assert not references.has_references(data, info["splits"])
