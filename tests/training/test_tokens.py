"""Token ids carry the text, and answer marks the answers, exactly."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from orchestrator.data.instance import single_turn
from orchestrator.training import tokens


@pytest.fixture
def tokenizer(shared):
    return AutoTokenizer.from_pretrained(shared.model)


def encode(tokenizer, conversations, tmp_path, max_length=1000):
    counts = tokens.write(conversations, tokenizer, max_length, tmp_path)
    return counts, tokens.load(tmp_path)


def test_a_row_decodes_to_the_template_and_its_marks_to_the_answer_and_end(tokenizer, tmp_path):
    instance = single_turn("a", "t", "What is 2 + 2?\nThink.", "It is four.")
    _, table = encode(tokenizer, [instance.messages], tmp_path)
    expected = "User: What is 2 + 2?\nThink.\nAssistant: It is four."
    assert table.ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(table.ids[1:-1]) == expected
    marked = table.ids[table.answer]
    assert tokenizer.decode(marked[:-1]).strip() == "It is four."
    assert marked[-1] == tokenizer.eos_token_id


def test_every_turn_of_a_conversation_has_its_answer_marked(tokenizer, tmp_path):
    messages = [
        {"role": role, "content": text}
        for role, text in [("user", "hi"), ("assistant", "one"), ("user", "more"),
                           ("assistant", "two")]
    ]  # fmt: skip
    _, table = encode(tokenizer, [messages], tmp_path)
    marked = tokenizer.decode(table.ids[table.answer], skip_special_tokens=True)
    assert marked.split() in (["one", "two"], ["onetwo"])
    assert (table.ids[table.answer] == tokenizer.eos_token_id).sum() == 2


def test_a_cut_answer_is_counted_and_never_marked_beyond_the_cut(tokenizer, tmp_path):
    rows = [single_turn(str(i), "t", "x" * 50 * i + "?", "yes").messages for i in range(3)]
    counts, table = encode(tokenizer, rows, tmp_path, max_length=40)
    assert counts["instances"] == 3
    assert counts["cut"] == counts["unanswered"] == 2
    assert table.lengths.max() == 40
    assert table.answer_counts(np.array([0, 1, 2])).tolist()[1:] == [0, 0]


def test_many_batches_give_the_same_table_as_one(tokenizer, tmp_path, monkeypatch):
    rows = [single_turn(str(i), "t", f"number {i}", str(i)).messages for i in range(25)]
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    _, whole = encode(tokenizer, rows, tmp_path / "one")
    monkeypatch.setattr(tokens, "TOKENIZER_BATCH", 4)
    _, parts = encode(tokenizer, rows, tmp_path / "many")
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.answer, parts.answer)
    assert np.array_equal(whole.starts, parts.starts)
