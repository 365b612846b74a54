"""Token ids carry the text, and answer marks the answers, exactly."""

import tracemalloc

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from orchestrator.data.instance import single_turn
from orchestrator.training import encode as encode_module
from orchestrator.training import tokens
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import make_template
from tests.training.byte_pairs import byte_pairs
from tests.training.tables import token_table

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer(shared):
    return AutoTokenizer.from_pretrained(shared.model)


@pytest.fixture(scope="module")
def words():
    """A tokenizer whose tokens are words with the space before them, as most models have."""
    text = "User: what is it? Assistant: it is four or five"
    tokenizer = byte_pairs(text, 400, ["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def encode(tokenizer, conversations, tmp_path, max_length=1000, template="user_assistant"):
    return token_table([conversations], tokenizer, tmp_path, max_length, template)


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


@pytest.mark.scenario("bad-records")
def test_a_cut_answer_is_counted_and_never_marked_beyond_the_cut(tokenizer, tmp_path):
    rows = [single_turn(str(i), "t", "x" * 50 * i + "?", "yes").messages for i in range(3)]
    counts, table = encode(tokenizer, rows, tmp_path, max_length=40)
    assert counts["instances"] == 3
    assert counts["cut"] == counts["unanswered"] == 2
    assert table.lengths.max() == 40
    assert table.answer_counts(np.array([0, 1, 2])).tolist()[1:] == [0, 0]


def test_many_parts_and_batches_give_the_same_table_as_one(tokenizer, tmp_path, monkeypatch):
    rows = [single_turn(str(i), "t", f"number {i}", str(i)).messages for i in range(25)]
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    counts, whole = encode(tokenizer, rows, tmp_path / "one")
    monkeypatch.setattr(encode_module, "TOKENIZER_BATCH", 4)
    again, parts = token_table([rows[:9], rows[9:10], rows[10:]], tokenizer, tmp_path / "many")
    assert counts == again
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.answer, parts.answer)
    assert np.array_equal(whole.starts, parts.starts)


def test_the_authors_template_gives_the_ids_of_its_text_in_one_piece(words, tmp_path):
    _, table = encode(
        words, [single_turn("a", "t", "what is it?", "it is four").messages], tmp_path
    )
    text = "User: what is it?\nAssistant: it is four"
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert table.ids.tolist() == [words.bos_token_id, *ids, words.eos_token_id]
    # The first word of the answer keeps the token that it has behind a space.
    assert words.convert_ids_to_tokens(table.ids[table.answer]) == ["Ġit", "Ġis", "Ġfour", "</s>"]


def test_a_chat_template_adds_no_mark_of_its_own_and_learns_every_answer(words, tmp_path):
    words.chat_template = CHATML
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    messages = [
        {"role": role, "content": text}
        for role, text in [("user", "what"), ("assistant", "four"), ("user", "is it"),
                           ("assistant", "five")]
    ]  # fmt: skip
    _, table = encode(words, [messages, messages[:2]], tmp_path, template="chat")
    first = table.ids[: table.starts[1]]
    assert words.decode(first) == words.apply_chat_template(messages, tokenize=False)
    marked = table.ids[: table.starts[1]][table.answer[: table.starts[1]]]
    assert words.decode(marked) == "four<|im_end|>five<|im_end|>"
    second = slice(table.starts[1], table.starts[2])
    assert words.decode(table.ids[second][table.answer[second]]) == "four<|im_end|>"


def test_memory_does_not_grow_with_the_number_of_parts(tokenizer, tmp_path):
    encoder = Encoder(tokenizer, make_template("user_assistant", tokenizer), Prover(tokenizer))
    row = single_turn("a", "t", "x" * 200, "y" * 200).messages

    def peak(parts):
        tracemalloc.start()
        tokens.write((tokens.tokenised(encoder, [row] * 20, 1000) for _ in range(parts)), tmp_path)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(50) < 1.5 * peak(5)


def test_no_conversation_gives_an_empty_table(tokenizer, tmp_path):
    counts, table = encode(tokenizer, [], tmp_path)
    assert not any(counts.values())
    assert table.starts.tolist() == [0]
    assert (table.ids.dtype, table.answer.dtype) == (np.int32, np.bool_)
