"""Nothing that a record holds is lost without a word, and marks are obeyed."""

import json

import numpy as np
import pytest

from orchestrator.config.sources import Data
from orchestrator.data import dataset
from orchestrator.data.records.conversation import conversation
from orchestrator.data.records.record import ExcludedRecord, RecordError
from orchestrator.data.records.tracked import (
    TrackedRecord,
    carries_meaning,
    repeats,
    untrained_mark,
)
from orchestrator.errors import DataError
from tests.data.conftest import contents, read_all, row, source

PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
CHAT = {"fields": {"messages": "messages"}}
NO_TASKS = {"id": None, "task": None}


def test_columns_that_no_field_reads_are_counted_and_what_describes_records_apart(jsonl):
    records = [
        {**row(0), "input": "a river", "source": "web", "n": 3, "context": ""},
        {**row(1), "input": "a stone", "source": "web", "context": "  "},
        {**row(2), "input": None, "level": "hard", "tokens": [1, 2]},
    ]
    found, counts = read_all(jsonl(records))
    assert len(found) == 3
    assert counts.unread == {"input": 2}
    assert counts.metadata == {"source": 2, "n": 1, "level": 1, "tokens": 1}


def test_a_column_that_once_holds_text_is_warned_of_for_all_its_records(jsonl):
    records = [{**row(0), "remark": 3}, {**row(1), "remark": "a word"}]
    _, counts = read_all(jsonl(records))
    assert counts.unread == {"remark": 2}
    assert counts.metadata == {}


def test_a_copy_of_a_message_beside_the_messages_is_nothing_lost(write):
    record = {"prompt": " q ", "prompt_id": "x", "messages": PAIR, "category": "Open QA"}
    _, counts = read_all(source("no_robots", path=write("rows.jsonl", [record])))
    assert counts.unread == counts.metadata == {}
    assert not repeats("the", ({"role": "user", "content": "the river"},))


def test_keys_of_messages_that_nothing_reads_are_named(jsonl):
    turns = [PAIR[0] | {"name": "Ann", "images": ["x.png"], "tool_calls": []},
             PAIR[1] | {"reasoning_content": "hm", "odd": 0.5}]  # fmt: skip
    _, counts = read_all(jsonl([{**row(0), "messages": turns, "prompt": "q"}], **CHAT))
    unread = {"messages.images", "messages.reasoning_content", "messages.odd", "completion"}
    assert set(counts.unread) == unread
    assert counts.metadata == {"messages.name": 1}


@pytest.mark.parametrize(
    ("mark", "said"),
    [({"is_correct": False}, "is_correct: false"), ({"train": False}, "train: false"),
     ({"weight": 0.0}, "weight: 0"), ({"loss": False}, "loss: false")],
)  # fmt: skip
def test_a_record_that_is_marked_not_to_be_trained_on_is_left_out_and_counted(jsonl, mark, said):
    found, counts = read_all(jsonl([row(0) | mark, row(1)]))
    assert [instance.id for instance in found] == ["i1"]
    assert counts.dropped == {f"marked {said}": 1}


@pytest.mark.parametrize("mark", [{"is_correct": True}, {"train": True}, {"weight": 1.0}])
def test_a_mark_that_says_train_is_read_and_one_of_another_value_is_named(jsonl, mark):
    (name,) = mark
    _, counts = read_all(jsonl([row(0) | mark]))
    assert counts.unread == counts.metadata == {}
    assert untrained_mark(TrackedRecord({name: 0.5})) == ""
    assert "loss" in TrackedRecord({"loss": 0.0}).unread()


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}])
def test_an_answer_that_is_marked_stays_as_context_and_is_not_learned(mark):
    turns = [PAIR[0], PAIR[1] | mark, *PAIR]
    found = conversation(turns, 9)
    assert len(found.messages) == 4
    assert found.unlearned == (1,)
    assert found.unread == ()
    with pytest.raises(ExcludedRecord, match="marked"):
        conversation(turns, 1)


def test_what_is_not_learned_is_kept_with_the_data_set(jsonl, tmp_path):
    turns = [PAIR[0], PAIR[1] | {"weight": 0}, *PAIR]
    chat = {"id": "c", "task": "chat", "messages": turns}
    pool = jsonl([chat], "pool.jsonl", max_turns=2, **CHAT)
    cut = jsonl([chat | {"id": "d"}], "cut.jsonl", max_turns=2, max_chars=2, too_long="cut", **CHAT)
    assert read_all(cut)[1].dropped == {"no answer to learn within max_chars": 1}
    info = dataset.write(Data(pool=pool, query=jsonl([row(0)], "query.jsonl")), tmp_path)
    assert dataset.load_unlearned_of(tmp_path, np.arange(2)) == [[1], []]
    assert info["splits"]["pool"]["notes"] == {"answer marked weight: 0 not learned": 1}


@pytest.mark.parametrize(
    ("reader", "column"),
    [("sharegpt", "conversations"), ("sharegpt", "items"), ("ultrachat", "messages")],
)
def test_a_system_column_is_a_system_turn(write, reader, column):
    record = {"id": "k", "system": "In French.", column: PAIR}
    (found,), counts = read_all(source(reader, path=write("rows.json", [record])))
    assert contents(found) == ["In French.\n\nq", "a"]
    assert found.notes == ("system message put before the prompt",)
    assert counts.unread == {}


def test_a_system_column_beside_a_system_turn_is_named(jsonl):
    turns = [{"role": "system", "content": "Be brief."}, *PAIR]
    records = [{"id": "k", "task": "t", "system": "In French.", "messages": turns}]
    (found,), counts = read_all(jsonl(records, **CHAT))
    assert contents(found) == ["Be brief.\n\nq", "a"]
    assert counts.unread == {"system": 1}


def test_columns_are_joined_by_a_blank_line_and_empty_ones_left_out(jsonl):
    records = [{"instruction": "Say.", "input": "river", "output": "a"},
               {"instruction": "Sing.", "input": " ", "output": "b"},
               {"instruction": "Go.", "output": "c"}]  # fmt: skip
    fields = {**NO_TASKS, "prompt": ["instruction", "input"], "completion": "output"}
    found, counts = read_all(jsonl(records, fields=fields))
    assert [contents(one) for one in found] == [
        ["Say.\n\nriver", "a"],
        ["Sing.", "b"],
        ["Go.", "c"],
    ]
    assert counts.unread == {}
    stated, _ = read_all(jsonl(records, fields={**fields, "separator": " | "}))
    assert contents(stated[0]) == ["Say. | river", "a"]


def test_a_column_to_be_joined_that_no_record_has_is_a_mistake(jsonl):
    fields = {**NO_TASKS, "prompt": ["instruction", "inptu"], "completion": "output"}
    with pytest.raises(DataError, match="no record has the column inptu"):
        read_all(jsonl([{"instruction": "Say.", "input": "x", "output": "a"}], fields=fields))


def test_text_in_parts_is_joined_and_other_parts_are_refused(jsonl):
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    turns = [{"role": "user", "content": parts}, PAIR[1]]
    assert conversation(turns, 1).messages[0]["content"] == "one two"
    turns[0]["content"] = [*parts, {"type": "image_url", "image_url": "x"}]
    with pytest.raises(DataError, match=r"a message holds more than text .*image_url"):
        read_all(jsonl([{"id": "a", "task": "t", "messages": turns}], **CHAT))


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [("input", "x", True), ("Context", "x", True), ("doc_id", "two words", False),
     ("level", "hard", False), ("remark", "two words", True), ("inputs", [1, 2], False),
     ("other", ["two words"], True), ("other", {"a": 1}, False), ("tools", {"a": 1}, True),
     ("other", b"picture", True), ("style", "as a pirate", False),
     ("extra", "the answer must be in French, and all of it", True),
     ("other", {"text": ["x", "y"], "label": ["A", "B"]}, True), ("options", {"A": "x"}, True),
     ("meta", {"site": "web"}, False), ("meta", {"a": ["words " * 9]}, True),
     ("masked", True, True), ("exclude", False, True), ("valid", True, True), ("bus", True, False),
     ("tree_state", "ready", False), ("openai_moderation", [{"categories": {"x": "y"}}], False),
     ("loss_mask", [0, 1, 1], True)],
)  # fmt: skip
def test_what_a_model_would_have_to_see_is_told_from_what_describes_it(name, value, means):
    assert carries_meaning(name, value) is means


TWO = [PAIR[0], PAIR[1] | {"content": "one"}, PAIR[0], PAIR[1] | {"content": "two"}]


@pytest.mark.parametrize(
    ("marks", "unlearned", "unread"),
    [
        ({"loss_mask": [0, 1]}, (1,), {}),
        ({"train": [False, False, False, True]}, (1,), {}),
        ({"weights": [1, 0.0]}, (3,), {}),
        ({"train": ["yes", "no"]}, (3,), {}),
        ({"loss_mask": [1, 1]}, (), {}),
        ({"loss_mask": [0, 1, 1]}, (), {"loss_mask": 1}),
        ({"weights": [0.5, 1]}, (), {"weights": 1}),
        ({"is_correct": [1, 0, 1]}, (), {"is_correct": 1}),
    ],
)
def test_marks_in_a_list_beside_the_messages_are_obeyed_or_named(jsonl, marks, unlearned, unread):
    (found,), counts = read_all(jsonl([{**row(0), "messages": TWO} | marks], max_turns=9, **CHAT))
    assert found.unlearned == unlearned
    assert {name: counts.unread[name] for name in marks if counts.unread[name]} == unread
    assert not counts.metadata


def test_a_list_of_marks_is_of_the_turns_with_their_system_message(write):
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"},
             {"from": "gpt", "value": "a"}, {"from": "human", "value": "r"},
             {"from": "gpt", "value": "b"}]  # fmt: skip
    record = {"conversations": turns, "loss_mask": [0, 0, 0, 0, 1]}
    path = write("rows.jsonl", [record])
    (found,), counts = read_all(source("sharegpt", path=path, max_turns=9))
    assert found.unlearned == (1,)
    assert not counts.unread


@pytest.mark.parametrize(
    ("mark", "said"),
    [({"weight": "0"}, "weight: 0"), ({"train": "False"}, "train: false"),
     ({"is_correct": "no"}, "is_correct: no"), ({"weight": -1}, "weight: -1")],
)  # fmt: skip
def test_marks_in_words_and_weights_below_zero_are_obeyed(jsonl, mark, said):
    _, counts = read_all(jsonl([row(0) | mark, row(1)]))
    assert counts.dropped == {f"marked {said}": 1}


def test_a_column_that_the_study_names_is_no_mark(jsonl):
    fields = {"completion": "is_correct"}
    (found,), _ = read_all(jsonl([row(0) | {"is_correct": "no"}], fields=fields))
    assert found.messages[1]["content"] == "no"


def test_a_developer_turn_is_a_system_turn_and_an_empty_one_hides_no_column(jsonl):
    turns = [{"role": "developer", "content": "Be brief."}, *PAIR]
    assert conversation(turns, 1).messages[0]["content"] == "Be brief.\n\nq"
    turns = [{"role": "system", "content": ""}, *PAIR]
    records = [{"id": "k", "task": "t", "system": "In French.", "messages": turns}]
    (found,), counts = read_all(jsonl(records, **CHAT))
    assert contents(found) == ["In French.\n\nq", "a"]
    assert counts.unread == {}


def test_a_message_that_is_a_tool_call_without_text_is_called_so():
    turns = [PAIR[0], {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]
    said = r"tool call without text \(message 2: tool_calls: set roles: all"
    with pytest.raises(RecordError, match=said):
        conversation(turns, 1)


def test_keys_of_parts_that_nothing_reads_are_named():
    parts = [{"type": "text", "text": "one", "weight": 0, "id": "x"}]
    found = conversation([PAIR[0], PAIR[1] | {"content": parts}], 1)
    assert found.unread == ("messages.content.weight",)
    assert found.metadata == ("messages.content.id",)


def test_a_copy_of_a_short_prompt_behind_its_system_message_is_a_repeat(write):
    turns = [{"role": "system", "content": "Be brief."}, *PAIR]
    record = {"prompt": "q", "prompt_id": "x", "messages": turns, "category": "Chat"}
    _, counts = read_all(source("no_robots", path=write("rows.jsonl", [record])))
    assert counts.unread == counts.metadata == {}


def test_a_column_that_holds_all_messages_is_a_repeat(jsonl):
    whole = "Below is an instruction.\n### Instruction:\n{}\n### Input:\n{}\n### Response:\n{}"
    said = ("Name it.", "It flows.", "A river.")
    record = dict(zip(("instruction", "input", "output"), said, strict=True))
    fields = {**NO_TASKS, "prompt": ["instruction", "input"], "completion": "output"}
    _, counts = read_all(jsonl([record | {"text": whole.format(*said)}], fields=fields))
    assert counts.unread == {}
    _, counts = read_all(
        jsonl([record | {"text": whole.format("Other.", *said[1:])}], fields=fields)
    )
    assert counts.unread == {"text": 1}


def test_an_instance_of_natural_instructions_is_watched_and_its_marks_are_obeyed(tmp_path):
    task = {
        "Definition": ["Do it"],
        "Instances": [
            {"id": "1", "input": "i", "output": ["o"], "is_correct": False},
            {"id": "2", "input": "j", "output": ["o"], "context": "a river", "source": "web"},
        ],
    }
    (tmp_path / "task1.json").write_text(json.dumps(task))
    found, counts = read_all(source("niv2", path=str(tmp_path), split=None))
    assert [instance.id for instance in found] == ["2"]
    assert counts.dropped == {"marked is_correct: false": 1}
    assert counts.unread == {"context": 1}
    assert counts.metadata == {"source": 1}
