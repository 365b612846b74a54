"""System and tool turns of records in the formats that are in use, kept in order or refused."""

import json

import pytest

from orchestrator.data.dataset import embedding_text
from orchestrator.data.instance import opening_text, with_references
from orchestrator.data.leakage import TestItems
from orchestrator.data.readers import fingerprint
from orchestrator.data.records.conversation import conversation
from orchestrator.data.records.record import ExcludedRecord, RecordError
from orchestrator.data.table import first_prompts, table_of
from orchestrator.errors import DataError
from tests.data.conftest import read_all, source

CALL = '{"name": "weather", "arguments": {"city": "Oslo"}}'
TOOL_CALL = {"id": "c1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}  # fmt: skip
SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Is it warm?"},
    {"from": "function_call", "value": CALL},
    {"from": "observation", "value": "21"},
    {"from": "gpt", "value": "Yes."},
]
OPENAI = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Is it warm?"},
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "21"},
    {"role": "assistant", "content": "Yes."},
]
LLAMA = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it warm?"},
    {"role": "assistant", "content": CALL, "weight": 0},
    {"role": "ipython", "content": "21"},
    {"role": "assistant", "content": "Yes."},
]


def said(*turns):
    return [{"role": role, "content": text} for role, text in turns]


def spoken(found):
    return [(message["role"], message["content"]) for message in found.messages]


@pytest.mark.parametrize(
    ("reader", "column", "turns", "call"),
    [
        ("sharegpt", "conversations", SHAREGPT, CALL),
        ("ultrachat", "messages", OPENAI, json.dumps([TOOL_CALL])),
        ("jsonl", "messages", LLAMA, CALL),
        ("parquet", "messages", LLAMA, CALL),
    ],
)
def test_system_and_tool_turns_are_kept_in_order_and_only_the_answer_is_learned(
    write, reader, column, turns, call
):
    suffix = "parquet" if reader == "parquet" else "jsonl"
    path = write(f"rows.{suffix}", [{"id": "k", column: turns}])
    options = {"path": path, "roles": "all"}
    if reader in ("jsonl", "parquet"):
        options["fields"] = {"task": None, "messages": column}
    ((found,), counts) = read_all(source(reader, **options))
    assert spoken(found) == [
        ("system", "Be brief."), ("user", "Is it warm?"), ("assistant", call), ("tool", "21"),
        ("assistant", "Yes."),
    ]  # fmt: skip
    assert found.unlearned == (2,)
    note = (
        "answer marked weight: 0 not learned" if turns is LLAMA else "tool call kept without loss"
    )
    assert counts.notes == {note: 1}
    # What a template is not given is named, as everything that nothing reads.
    assert counts.unread == ({"messages.tool_call_id": 1} if turns is OPENAI else {})
    options |= {"roles": "pairs", "max_turns": 2}
    with pytest.raises(DataError, match=r"set roles: all on the source to keep it"):
        read_all(source(reader, **options))


def test_system_turns_stay_where_they_are_and_a_column_is_the_first_of_them(write):
    turns = said(("user", "q"), ("assistant", "a"), ("system", "Now in French."), ("user", "r"),
                 ("assistant", "b"))  # fmt: skip
    path = write("rows.jsonl", [{"id": "k", "system": "Be brief.", "messages": turns}])
    ((found,), _) = read_all(source("ultrachat", path=path, roles="all", max_turns=2))
    assert [role for role, _ in spoken(found)] == [
        "system", "user", "assistant", "system", "user", "assistant",
    ]  # fmt: skip
    assert found.messages[0]["content"] == "Be brief."
    assert found.notes == ()


def test_an_exchange_goes_on_through_its_tool_turns_and_the_next_prompt_is_beyond_it():
    two_tools = [("tool", "1"), ("tool", "2"), ("assistant", "a"), ("user", "\0")]
    turns = said(("user", "q"), ("tool_call", "f()"), *two_tools)
    found = conversation(turns, 1, roles="all")
    assert [message["role"] for message in found.messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert found.notes == ("turns beyond max_turns left off", "tool call kept without loss")
    found = conversation([*SHAREGPT, *said(("user", "q"), ("assistant", "a"))][:6], 2, roles="all")
    assert found.notes[0] == "last prompt without answer left off"


def test_a_call_beside_text_is_written_behind_it():
    answer = {"role": "assistant", "content": "I look.", "function_call": {"name": "f"}}
    turns = [*said(("user", "q")), answer, *said(("function", "1"), ("assistant", "a"))]
    found = conversation(turns, 1, roles="all")
    assert found.messages[1]["content"] == 'I look.\n{"name": "f"}'
    assert found.unlearned == (1,)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (said(("user", "q"), ("tool", "1"), ("assistant", "a")), "roles do not alternate"),
        (said(("tool", "1"), ("assistant", "a")), "roles do not alternate"),
        (said(("user", "q"), ("assistant", "a"), ("assistant", "b")), "roles do not alternate"),
        (said(("user", "q"), ("assistant", "a"), ("tool", "1"), ("user", "r")), "roles do not"),
        (said(("user", "q"), ("function_call", "f"), ("tool", "")), "tool result is empty"),
        (said(("system", "s"), ("user", "q"), ("tool_result", "1")), "roles do not alternate"),
    ],
)
def test_turns_that_do_not_follow_one_another_are_refused_with_their_place(turns, reason):
    with pytest.raises(RecordError, match=reason):
        conversation(turns, 9, roles="all")


def test_a_conversation_of_calls_alone_is_left_out_and_counted():
    with pytest.raises(ExcludedRecord, match="no answer but tool calls"):
        conversation(said(("user", "q"), ("function_call", "f"), ("tool", "1")), 1, roles="all")


def test_a_source_of_pairs_has_the_digest_that_it_had_and_one_of_all_roles_another(write):
    path = write("rows.jsonl", [{"id": "k", "conversations": SHAREGPT}])
    assert "roles" not in fingerprint(source("sharegpt", path=path))
    assert fingerprint(source("sharegpt", path=path, roles="all"))["roles"] == "all"


def test_a_conversation_with_other_turns_is_cut_behind_an_answer(write):
    path = write("rows.jsonl", [{"id": "k", "conversations": SHAREGPT}])
    options = {"path": path, "roles": "all", "too_long": "cut"}
    whole = sum(len(turn["value"]) for turn in SHAREGPT)
    ((found,), _) = read_all(source("sharegpt", **options, max_chars=whole - 1))
    assert spoken(found)[-1] == ("assistant", "Yes")
    found, counts = read_all(source("sharegpt", **options, max_chars=whole - len("Yes.")))
    assert found == []
    assert counts.dropped == {"no answer to learn within max_chars": 1}


def test_a_system_turn_counts_as_what_the_assistant_is_given():
    found = conversation(SHAREGPT, 1, roles="all").instance("k", "t")
    merged = conversation([*SHAREGPT[:2], SHAREGPT[4]], 1).instance("m", "t")
    assert embedding_text(found.messages, "prompt") == "Be brief. Is it warm? 21"
    assert embedding_text(found.messages, "answer") == f"{CALL} Yes."
    assert embedding_text(found.messages) == f"Be brief. Is it warm? {CALL} 21 Yes."
    # Whichever way it is kept, it is the same prompt to a search for leaks.
    assert opening_text(found.messages) == opening_text(merged.messages)
    other = conversation([SHAREGPT[0], *said(("user", "Else?"), ("bot", "a"))], 1, roles="all")
    tests = TestItems({"query": table_of([merged])})
    for instance, leaks in ((found, ["exact duplicate of query"]), (other.instance("o", "u"), [])):
        table = table_of([instance])
        assert tests.leaks("u", *first_prompts(table)) == leaks


@pytest.mark.parametrize("reader", ["ultrachat", "jsonl"])
def test_turns_that_are_texts_alone_are_of_user_and_assistant_in_turn(write, reader):
    path = write("rows.jsonl", [{"id": "k", "data": ["q", "a", "r", "b", "s"], "task": "t"}])
    options = {"fields": {"messages": "data"}} if reader == "jsonl" else {}
    ((found,), counts) = read_all(source(reader, path=path, max_turns=9, **options))
    assert found.id == "k"
    assert spoken(found) == [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]
    assert counts.notes == {"last prompt without answer left off": 1}


def test_a_call_of_a_tool_is_no_right_answer_beside_the_references():
    found = conversation(SHAREGPT, 1, roles="all").instance("k", "t")
    assert with_references(found, ["It is."]).references == ("Yes.", "It is.")
