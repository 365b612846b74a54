"""Under twenty-odd chat templates, a model is fed what hostile data says, or the row is refused."""

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)
from transformers import PreTrainedTokenizerFast

from orchestrator.errors import ModelError
from orchestrator.stages.dataset import changed_remarks
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import check_template, make_template
from tests.training.byte_pairs import byte_pairs
from tests.training.chat_templates import TEMPLATES
from tests.training.tables import token_table

SPECIAL = sorted({token for shipped in TEMPLATES.values() for token in shipped.special})
ROLES = ["user", "assistant", "<|user|>", "<|assistant|>", "User:", "ASSISTANT:", "[INST]",
         "[/INST]", "### Response:\n", "<|im_start|>assistant\n", "system"]  # fmt: skip
FRAGMENTS = ["{{ eos_token }}", "{% endfor %}", "{{", "{prompt}", "{answer}", "<think>",
             "</think>", "<think>\n\n</think>\n\n", "<think>\nso\n</think>\n\n", "WordOf1Told",
             "<tool_response>", "\\n", "GPT4 Correct"]  # fmt: skip
BLANKS = [" ", "\n", "\n\n", "\t", "\u00a0", "\u2028", "\r\n", "\x1f"]
hostile = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from([*SPECIAL, *ROLES, *FRAGMENTS, *BLANKS]),
        st.sampled_from(["river", "stone", ":", "e\u0301", "👩‍👩‍👧", "ﬁ", "▁", "Ġ", "é", "中文"]),
        st.sampled_from(SPECIAL).map(lambda token: token[:-1]),
    ),
    max_size=5,
).map("".join)
conversations = st.lists(st.tuples(hostile, hostile), min_size=1, max_size=2)


@pytest.fixture(scope="module")
def plain_tokenizer():
    """Words with the space before them as one token, every byte as another."""
    text = "user assistant: a river, stone and stones :: é éé\n\n### Response:\n[/INST] <think>"
    return byte_pairs(text, 500).to_str()


@pytest.fixture(scope="module")
def encoders(plain_tokenizer):
    """By the name of a template: what encodes conversations under it."""

    def make(name):
        template, special, _ = TEMPLATES[name]
        made = Tokenizer.from_str(plain_tokenizer)
        made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token=special[0], eos_token=special[-1]
        )
        tokenizer.chat_template = template
        return Encoder(tokenizer, make_template("chat", tokenizer), Prover(tokenizer))

    return {name: make(name) for name in TEMPLATES}


def turns(pairs):
    return [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(text for pair in pairs for text in pair)
    ]


def plain(text):
    return "".join(unicodedata.normalize("NFKC", text).split())


def answers(ids, marks):
    """The runs of marked ids."""
    runs, open_ = [], False
    for id, mark in zip(ids, marks, strict=True):
        if mark and not open_:
            runs.append([])
        if mark:
            runs[-1].append(id)
        open_ = mark
    return runs


def special_count(ids, tokenizer):
    return sum(id in tokenizer.added_tokens_decoder for id in ids)


def assert_proved(encoder, messages, ids, marks):
    """By decoding alone: all messages in order, answers and end marks learned, no mark forged."""
    tokenizer = encoder.tokenizer
    whole, at = plain(tokenizer.decode(ids)), 0
    for message in messages:
        found = whole.find(plain(message["content"]), at)
        assert found >= 0, (message, whole[at:])
        at = found + len(plain(message["content"]))
    said = [plain(message["content"]) for message in messages[1::2]]
    runs = answers(ids, marks)
    assert len(runs) == len(said)
    for run, answer in zip(runs, said, strict=True):
        ends = [id for id in run if id in tokenizer.added_tokens_decoder]
        assert run[-1] in ends, "an answer without an end"
        text = tokenizer.decode([id for id in run if id not in ends])
        assert plain(text) == answer
    fresh = Encoder(tokenizer, encoder.template, encoder.prover)
    harmless = [message | {"content": "w"} for message in messages]
    if any("</think>" in message["content"] for message in messages):
        return  # another frame
    ((expected, _),) = fresh.rows([harmless], [()])
    assert special_count(ids, tokenizer) == special_count(expected, tokenizer)


@pytest.mark.scenario("bad-bytes")
@pytest.mark.parametrize("name", TEMPLATES)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pairs=conversations)
def test_hostile_text_is_fed_as_it_is_or_refused(encoders, name, pairs):
    encoder, messages = encoders[name], turns(pairs)
    ((ids, marks),) = encoder.rows([messages], [()])
    if encoder.refused:
        assert ids == []
    else:
        assert_proved(encoder, messages, ids, marks)


@pytest.mark.parametrize("name", TEMPLATES)
def test_ordinary_text_is_learned_under_every_template_that_ends_its_answers(encoders, name):
    encoder = encoders[name]
    look_alike = TEMPLATES[name].special[-1]
    pairs = [("What flows?", "A river."), (" Is it\nlong? ", f" Type {look_alike} or { {1: 2} }")]
    rows = [turns(pairs[:1]), turns(pairs[1:])]
    made = list(encoder.rows(rows, [(), ()]))
    assert bool(encoder.refused) is not TEMPLATES[name].learnable
    if TEMPLATES[name].learnable:
        for messages, (ids, marks) in zip(rows, made, strict=True):
            assert_proved(encoder, messages, ids, marks)
        check_template("chat", encoder.tokenizer)
    else:
        with pytest.raises(ModelError, match=r"would learn no end.*eos_token"):
            check_template("chat", encoder.tokenizer)


def sentence_piece(prepends):
    """A tokenizer as SentencePiece makes them: spaces are `▁`, unknown characters are bytes."""
    letters = "▁abcdefghijklmnopqrstuvwxyzAU[]/:?.,<>"
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁a"]
    vocabulary = {name: id for id, name in enumerate(names)}
    made = Tokenizer(
        models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    if prepends:
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in ("<s>", "</s>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("prepends", [True, False])
@pytest.mark.parametrize("template", ["user_assistant", "chat"])
def test_a_look_alike_is_plain_text_with_no_space_put_into_it(prepends, template):
    tokenizer = sentence_piece(prepends)
    tokenizer.chat_template = TEMPLATES["llama-2"].template
    encoder = Encoder(tokenizer, make_template(template, tokenizer), Prover(tokenizer))
    messages = turns([("see </s> 😀 é", "a <s>x</s> <unk>")])
    ((ids, marks),) = encoder.rows([messages], [()])
    assert not encoder.refused
    assert not encoder.changed
    learned = [id for id, mark in zip(ids, marks, strict=True) if mark]
    assert tokenizer.decode(learned[:-1]).strip() == "a <s>x</s> <unk>"
    assert learned.count(tokenizer.eos_token_id) == 1
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_character_that_the_tokenizer_turns_into_another_is_refused_with_both_texts():
    tokenizer = sentence_piece(prepends=True)
    encoder = Encoder(tokenizer, make_template("user_assistant", tokenizer), Prover(tokenizer))
    assert list(encoder.rows([turns([("x▁y", "a")])], [()])) == [([], [])]
    assert "'User:x▁yAssistant:a'; the model would be fed: 'User:xyA" in str(encoder.refused[0])


def test_a_row_of_which_a_character_is_unknown_is_refused(plain_tokenizer):
    made = Tokenizer(models.BPE({"<unk>": 0, "a": 1, "</s>": 2}, [], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")
    encoder = Encoder(tokenizer, make_template("{prompt}{answer}", tokenizer), Prover(tokenizer))
    made_rows = list(encoder.rows([turns([("a", "a")]), turns([("a", "ab")])], [(), ()]))
    assert made_rows[0] == ([1, 1, 2], [False, True, True])
    assert list(encoder.refused) == [1]
    assert "a special token of text of the data" in str(encoder.refused[1])


def test_of_many_rows_a_share_is_proved_and_no_row_is_left_out(encoders, monkeypatch):
    from orchestrator.training import encode

    monkeypatch.setattr(encode, "PROVED_ROWS", 10)
    monkeypatch.setattr(encode, "PROVED_SHARE", 0.2)
    encoder = encoders["smollm2"]
    before = encoder.proved
    made = list(encoder.rows([turns([("a", "b")])] * 110, [()] * 110))
    assert all(row == made[0] for row in made)
    assert 10 + 5 < encoder.proved - before < 10 + 40


def test_an_answer_that_is_not_to_be_learned_carries_no_loss_and_stays(encoders):
    encoder = encoders["smollm2"]
    messages = turns([("q", "one"), ("r", "two")])
    ((ids, marks), (same, some)) = encoder.rows([messages, messages], [(), (1,)])
    assert ids == same
    decode = encoder.tokenizer.decode
    assert [decode(run) for run in answers(ids, marks)] == ["one<|im_end|>", "two<|im_end|>"]
    assert [decode(run) for run in answers(ids, some)] == ["two<|im_end|>"]


@pytest.mark.parametrize(
    ("name", "answer", "learned"),
    [
        ("qwen3", "two", "two<|im_end|>"),  # without the empty reasoning that the template adds
        ("qwen3", "<think>\nso\n</think>\n\ntwo", "<think>\nso\n</think>\n\ntwo<|im_end|>"),
        ("qwen3", "<think>\n\nso</think>two", "<think>\nso\n</think>\n\ntwo<|im_end|>"),
        ("deepseek-r1", "two", "two<｜end▁of▁sentence｜>"),
        ("nemotron-3", "two", "two<|im_end|>"),
        ("phi-3", "two", "two<|end|>\n<|endoftext|>"),
        ("llama-3.2-vision", "two", "two<|eot_id|>"),
        ("llama-2", "two", " two </s>"),
    ],
)
def test_an_answer_is_learned_with_its_end_and_without_what_the_template_opens(
    encoders, name, answer, learned
):
    encoder = encoders[name]
    ((ids, marks),) = encoder.rows([turns([("one", answer)])], [()])
    assert [encoder.tokenizer.decode(run) for run in answers(ids, marks)] == [learned]


def test_reasoning_that_a_template_leaves_out_is_refused(encoders):
    for name, pairs in [
        ("deepseek-r1", [("q", "<think>\nso\n</think>\n\ntwo")]),
        ("qwen3", [("q", "<think>\nso\n</think>\n\ntwo"), ("r", "three")]),
    ]:
        encoder = encoders[name]
        list(encoder.rows([turns(pairs)], [()]))
        assert "leaves out or rewrites the answer with its reasoning" in str(encoder.refused[0])


def test_a_template_that_opens_its_prompt_with_a_tag_is_told(encoders):
    told = check_template("chat", encoders["deepseek-r1"].tokenizer)
    assert "opens a generated answer with '<think>'" in told
    assert check_template("chat", encoders["qwen3"].tokenizer) == ""


def words_tokenizer(plain_tokenizer, normalizer=None, special=("</s>",), added=(), template=None):
    made = Tokenizer.from_str(plain_tokenizer)
    if normalizer:
        made.normalizer = normalizer
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    made.add_tokens([AddedToken(token, normalized=False) for token in added])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=special[-1])
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("normalizer", "answer", "kind", "data", "fed"),
    [
        (normalizers.Replace(Regex(r"\s+"), " "), "def f():\n    if x:", "white space",
         "'def f():\\n    if x:'", "'def f(): if x:'"),
        (normalizers.NFKC(), "2³", "forms of characters", "'2³'", "'23'"),
    ],
)  # fmt: skip
def test_text_whose_blanks_or_forms_the_tokenizer_changes_is_fed_and_told_with_both_texts(
    plain_tokenizer, tmp_path, normalizer, answer, kind, data, fed
):
    tokenizer = words_tokenizer(plain_tokenizer, normalizer)
    rows = [turns([("q", "a")]), turns([("q", answer)]), turns([(" q\n", answer + "\n\n")])]
    info, _ = token_table([rows], tokenizer, tmp_path, 99)
    assert info["changed"] == {kind: 2}
    ((mark, told),) = changed_remarks(info)
    assert mark == "warning"
    assert (
        f"{kind} in 2 of 3 proved rows, such as the data: {data}; the model is fed: {fed}" in told
    )


def test_text_in_another_form_of_the_same_characters_is_not_changed(plain_tokenizer, tmp_path):
    tokenizer = words_tokenizer(plain_tokenizer, normalizers.NFC())
    row = turns([("e\u0301  é", "a\n\tb")])
    info, _ = token_table([[row]], tokenizer, tmp_path, 99)
    assert info["changed"] == info["examples"] == {}


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_token_that_the_template_writes_is_plain_text_in_the_data_though_it_is_not_special(
    plain_tokenizer,
):
    tokenizer = words_tokenizer(
        plain_tokenizer, None, ["<|im_end|>"], ["<|im_start|>", "<tool_call>"], CHATML
    )
    encoder = Encoder(tokenizer, make_template("chat", tokenizer), Prover(tokenizer))
    rows = [turns([("a <|im_start|>system\nb", "<tool_call> <|im_start|>")])]
    ((ids, _),) = encoder.rows(rows, [()])
    assert not encoder.refused
    assert [ids.count(tokenizer.convert_tokens_to_ids(name))
            for name in ("<|im_start|>", "<tool_call>")] == [2, 1]  # fmt: skip


def test_reasoning_tags_of_an_answer_stay_tokens_where_the_template_writes_them_too(
    plain_tokenizer,
):
    template = CHATML.replace("{{ m.content", "{% if m.role == 'assistant' and '<think>' not in "
                              "m.content %}<think></think>{% endif %}{{ m.content")  # fmt: skip
    tokenizer = words_tokenizer(
        plain_tokenizer, None, ["<|im_start|>", "<|im_end|>"], ["<think>", "</think>"], template
    )
    encoder = Encoder(tokenizer, make_template("chat", tokenizer), Prover(tokenizer))
    rows = [turns([("a <think>", "b"), ("c", "<think>\nd\n</think>\n\ne")])]
    ((ids, _),) = encoder.rows(rows, [()])
    assert not encoder.refused
    assert ids.count(tokenizer.convert_tokens_to_ids("<think>")) == 2


def test_an_end_mark_that_is_not_special_is_named_with_what_to_do(plain_tokenizer):
    tokenizer = words_tokenizer(
        plain_tokenizer, None, ["</s>"], ["<|im_start|>", "<|im_end|>"], CHATML
    )
    with pytest.raises(ModelError, match=r"writes '<\|im_end\|>' behind.*mark it special"):
        check_template("chat", tokenizer)
    encoder = Encoder(tokenizer, make_template("chat", tokenizer), Prover(tokenizer))
    list(encoder.rows([turns([("a", "b")])], [()]))
    assert "'<|im_end|>' behind an answer" in encoder.refused[0]
