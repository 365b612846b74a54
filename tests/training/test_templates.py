"""A template writes what the model reads, and points at what it learns."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.config.training import Model
from orchestrator.errors import DataError, ModelError
from orchestrator.models.presets import byte_tokenizer
from orchestrator.training.templates import make_template, text_after_answer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
BYTES = byte_tokenizer(2048)
texts = st.text(max_size=20)


def conversation(*texts):
    return [
        {"role": "user" if i % 2 == 0 else "assistant", "content": text}
        for i, text in enumerate(texts)
    ]


def tokenizer(chat_template=None):
    made = byte_tokenizer(2048)
    made.chat_template = chat_template
    return made


def learned(piece):
    return [piece.text[begin:end] for begin, end in piece.answers]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_the_authors_template_writes_each_pair_apart_and_points_at_its_answer(pairs):
    template = make_template("user_assistant", BYTES)
    pieces = template.pieces(conversation(*[text for pair in pairs for text in pair]))
    assert template.marked
    assert [piece.text for piece in pieces] == [f"User: {p}\nAssistant: {a}" for p, a in pairs]
    assert [learned(piece) for piece in pieces] == [[answer] for _, answer in pairs]


@settings(deadline=None, max_examples=50)
@given(texts, texts)
def test_a_text_template_keeps_its_other_braces_and_those_of_the_data(prompt, answer):
    template = make_template('{"q": {prompt}, {x} "a": {answer}}', BYTES)
    (piece,) = template.pieces(conversation(prompt + "{answer}{", answer + "{prompt}"))
    assert piece.text == f'{{"q": {prompt}{{answer}}{{, {{x}} "a": {answer}{{prompt}}}}'
    # What has to be written behind the answer is learned with it.
    assert learned(piece) == [f"{answer}{{prompt}}}}"]


@pytest.mark.parametrize(
    ("chat_template", "expected"),
    [
        (CHATML, ["one<|im_end|>", "two \n<|im_end|>"]),
        (LLAMA_2, [" one </s>", " two \n </s>"]),
    ],
)
def test_a_chat_template_is_learned_at_every_answer_up_to_its_end_mark(chat_template, expected):
    chat = tokenizer(chat_template)
    messages = conversation("hi", "one", "one", "two \n")
    template = make_template("chat", chat)
    (piece,) = template.pieces(messages)
    assert not template.marked
    assert piece.text == chat.apply_chat_template(messages, tokenize=False)
    assert learned(piece) == expected


def test_a_chat_template_that_prints_the_date_writes_the_same_every_day():
    template = make_template("chat", tokenizer("{{ strftime_now('%d %b %Y') }}" + CHATML))
    (piece,) = template.pieces(conversation("hi", "one"))
    assert piece.text.startswith("26 Jul 2024<|im_start|>user")


def test_a_chat_template_that_rewrites_earlier_turns_is_refused_with_what_to_type():
    hides = CHATML.replace(
        "{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else '...' }}"
    )
    template = make_template("chat", tokenizer(hides))
    assert learned(template.pieces(conversation("hi", "one"))[0]) == ["one<|im_end|>"]
    with pytest.raises(DataError, match="max_turns: 1"):
        template.pieces(conversation("hi", "one", "more", "two"))


def test_a_conversation_that_the_chat_template_refuses_is_named():
    template = make_template("chat", tokenizer("{{ raise_exception('no such role') }}"))
    with pytest.raises(DataError, match=r"no such role.*'tell me'"):
        template.pieces(conversation("tell me", "no"))


def test_a_tokenizer_that_lacks_what_a_template_needs_is_refused_with_what_to_type():
    with pytest.raises(ModelError, match="template: user_assistant"):
        make_template("chat", tokenizer())
    endless = tokenizer(CHATML)
    endless.eos_token = None
    with pytest.raises(ModelError, match="template: chat"):
        make_template("user_assistant", endless)
    make_template("chat", endless)


@pytest.mark.parametrize(
    "template",
    ["user-assistant", "{prompt}", "{answer}{prompt}", "{prompt}{prompt}{answer}",
     "{prompt} {answer}{eos}", ""],
)  # fmt: skip
def test_a_template_that_is_no_name_and_lacks_a_place_is_refused(template):
    Model(template="Q: {prompt} A: {answer}")
    with pytest.raises(ValidationError, match="template"):
        Model(template=template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("user_assistant", ""),
        ("chat", ""),
        ("Q: {prompt}\nA: {answer} END", "END"),
        ("{prompt} -> {answer}\n\n", ""),
    ],
)
def test_what_a_template_writes_behind_an_answer_ends_a_generated_one(template, text):
    assert text_after_answer(template) == text


@pytest.mark.parametrize(
    ("template", "named"),
    [("<s>{prompt}\n{answer}</s>", "'<s>' and '</s>'"), ("{prompt}\n{answer} </s>\n", "'</s>'"),
     (" <s>{prompt}{answer}", "'<s>'")],
)  # fmt: skip
def test_marks_that_are_put_there_are_refused_in_a_template(template, named):
    with pytest.raises(ModelError, match=f"writes {named}, which would .* leave them out"):
        make_template(template, BYTES)
    make_template("{prompt}</s> <s>{answer}", BYTES)
