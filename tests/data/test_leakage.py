"""Test items in the pool are found by task and by text, and refused, dropped or counted."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.sources import Data
from orchestrator.data import dataset
from orchestrator.data.instance import UNLABELLED, single_turn
from orchestrator.data.leakage import TestItems, normalised, without_leaks
from orchestrator.data.table import WORDS, table_of
from orchestrator.errors import DataError
from tests.data.conftest import row


def leaks_of(pool, policy="allow", **tests):
    """The leaks of a pool by kind, and of which kinds rows were left out."""
    test_items = TestItems({name: table_of(items) for name, items in tests.items()})
    found = pa.array(
        [test_items.leaks(one.task, one.messages[0]["content"]) for one in pool], WORDS
    )
    leaks, dropped = Counter(), Counter()
    kept = without_leaks(iter([table_of(pool, leaks=found)]), policy, dropped, leaks)
    assert sum(map(len, kept)) == len(pool) - dropped.total()
    return leaks, dropped


@pytest.mark.scenario("leakage")
@pytest.mark.parametrize("policy", ["error", "drop", "allow"])
def test_test_items_in_the_pool_are_refused_dropped_or_counted(jsonl, tmp_path, policy):
    pool = jsonl(
        [
            row(0, "a"),
            row(1, "shared"),
            row(2, "a", "Same  QUESTION?"),
            row(3, "a", "same question"),
        ],
        "pool.jsonl",
    )
    query = jsonl([row(5, "shared"), row(6, "b", "same question")], "query.jsonl")
    data = Data(pool=pool, query=query, leakage=policy)
    if policy == "error":
        with pytest.raises(DataError, match=r"the first is 'i1' .*data\.leakage: drop"):
            dataset.write(data, tmp_path)
        return
    info = dataset.write(data, tmp_path)
    kinds = {
        "task shared with query": 1,
        "exact duplicate of query": 1,
        "normalised duplicate of query": 1,
    }
    assert info["leakage"] == kinds
    assert info["splits"]["pool"]["dropped"] == (kinds if policy == "drop" else {})
    kept = pq.read_table(tmp_path / "instances.parquet").to_pandas()
    pool_ids = kept["id"][kept["split"] == "pool"].tolist()
    assert pool_ids == (["i0"] if policy == "drop" else ["i0", "i1", "i2", "i3"])
    assert kept["row"].tolist() == list(range(len(kept)))


@pytest.mark.scenario("leakage")
def test_a_row_is_counted_for_every_test_set_and_dropped_once():
    leak = single_turn("p", "t", "Which?", "a")
    tests = {
        "query": [single_turn("q", "t", "which", "b")],
        "held_out": [single_turn("h", "u", "Which?", "c")],
    }
    leaks, dropped = leaks_of([leak], "drop", **tests)
    assert leaks == {
        "task shared with query": 1,
        "normalised duplicate of query": 1,
        "exact duplicate of held_out": 1,
    }
    assert dropped == {"task shared with query": 1}


def test_instances_without_tasks_share_none():
    pool = [single_turn("p", UNLABELLED, "one", "a")]
    assert leaks_of(pool, query=[single_turn("q", UNLABELLED, "two", "a")])[0] == {}


@pytest.mark.scenario("leakage")
@settings(deadline=None)
@given(st.text(max_size=30))
def test_case_width_space_and_punctuation_of_sentences_make_no_other_prompt(text):
    shouted = "  " + text.replace(" ", " \n\u00a0") + " ?!"
    assert normalised(shouted) == normalised(text)
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3 + 4?", "What is 3 * 4?"),
        ("What is 3 - 4?", "What is 3 4?"),
        ("Evaluate a[1:]", "Evaluate a[:1]"),
        ("किताब", "कताब"),  # vowel signs are no letters to a pattern of word characters
        ("résumé", "resume"),
    ],
)
def test_what_changes_the_question_makes_another_prompt(one, other):
    assert normalised(one) != normalised(other)
    assert normalised("Ｗhat’s “it”…") == normalised("what's 'it'.")


def test_what_was_left_out_and_what_was_changed_is_told_for_each_split(jsonl, tmp_path):
    turns = [("user", "q"), ("assistant", "a" * 9), ("user", "more?")]
    chat = {"id": "c", "task": "chat", "m": [{"role": r, "content": c} for r, c in turns]}
    fields = {"messages": "m"}
    pool = jsonl([chat, b"{"], "pool.jsonl", fields=fields, bad_records="skip")
    query = jsonl([row(0)], "query.jsonl")
    info = dataset.write(Data(pool=pool, query=query), tmp_path)
    assert info["splits"] == {
        "pool": {
            "instances": 1,
            "tasks": 1,
            "repeated": 0,
            "dropped": {"not JSON": 1},
            "notes": {"turns beyond max_turns left off": 1},
            "unread": {},
            "metadata": {},
        },
        "query": {
            "instances": 1, "tasks": 1, "repeated": 0, "dropped": {}, "notes": {}, "unread": {},
            "metadata": {},
        },
    }  # fmt: skip
    data = Data(pool=pool, query=query.model_copy(update={"max_chars": 1}))
    said = r"data\.query \(jsonl .*query\.jsonl\) gives no instances \(dropped: 1 longer than max"
    with pytest.raises(DataError, match=said):
        dataset.write(data, tmp_path)
