"""Conversations become alternating pairs, or are refused with a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.records.conversation import conversation
from orchestrator.data.records.record import RecordError
from orchestrator.data.records.tracked import ROLES


def said(*pairs):
    return [{"role": role, "content": text} for role, text in pairs]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ROLES["user"]), st.sampled_from(ROLES["assistant"]))))
def test_every_known_name_of_a_role_is_read_as_user_or_assistant(names):
    turns = [{"from": name.title(), "value": f"{name}!"} for pair in names for name in pair]
    if not turns:
        with pytest.raises(RecordError, match="no messages"):
            conversation(turns, 100)
        return
    messages, notes, *_ = conversation(turns, 100)
    assert [m["role"] for m in messages] == ["user", "assistant"] * len(names)
    assert [m["content"] for m in messages] == [turn["value"] for turn in turns]
    assert notes == ()


def test_a_system_message_goes_before_the_first_prompt_and_is_noted():
    messages, notes, *_ = conversation(
        said(("system", "Be brief."), ("user", "q"), ("bot", "a")), 9
    )
    assert [m["content"] for m in messages] == ["Be brief.\n\nq", "a"]
    assert notes == ("system message put before the prompt",)
    messages, notes, *_ = conversation(said(("system", ""), ("user", "q"), ("bot", "a")), 9)
    assert [m["content"] for m in messages] == ["q", "a"]
    assert notes == ()


def test_a_last_prompt_without_answer_is_left_off_and_noted():
    messages, notes, *_ = conversation(said(("user", "q"), ("bot", "a"), ("user", "and?")), 9)
    assert [m["content"] for m in messages] == ["q", "a"]
    assert notes == ("last prompt without answer left off",)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ("text", "no messages"),
        (None, "no messages"),
        ([], "no messages"),
        ([3], "a message is not an object"),
        (["q", {"role": "assistant", "content": "a"}], "a message is not an object"),
        (["q", ""], "answer is empty"),
        (said(("user", "q"), ("tool", "r"), ("assistant", "a")), "a tool turn"),
        (said(("user", "q"), ("function_call", "{}"), ("assistant", "a")), "a tool turn"),
        (said(("critic", "x")), "unknown role"),
        (said((None, "x")), "unknown role"),
        (said(("user", "q")), "answer is missing"),
        (said(("system", "s")), "answer is missing"),
        (said(("assistant", "a"), ("user", "q")), "roles do not alternate"),
        (said(("user", "q"), ("user", "r")), "roles do not alternate"),
        (said(("user", "q"), ("system", "s"), ("assistant", "a")), "roles do not alternate"),
        (said(("user", "q"), ("assistant", "")), "answer is empty"),
        (said(("user", "q"), ("assistant", 1)), "answer is not text"),
        (said(("user", "q\0"), ("assistant", "a")), "prompt holds a NUL"),
    ],
)
def test_what_is_no_conversation_is_refused_with_a_reason(turns, reason):
    with pytest.raises(RecordError) as error:
        conversation(turns, 100)
    assert error.value.reason == reason


def test_turns_beyond_the_limit_are_left_off_and_not_looked_at():
    turns = said(("user", "q"), ("bot", "a"), ("user", ""), ("user", "\0"))
    messages, notes, *_ = conversation(turns, 1)
    assert [message["content"] for message in messages] == ["q", "a"]
    assert notes == ("turns beyond max_turns left off",)
