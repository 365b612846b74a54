"""System and tool turns reach the model in their places and carry no loss, or are refused."""

import re

import pytest

from orchestrator.errors import DataError
from orchestrator.models.presets import byte_tokenizer
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import make_template
from orchestrator.training.tokens import tokenised, write
from tests.training.chat_templates import TEMPLATES

CHATML = TEMPLATES["smollm2"].template
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is it warm?"},
    {"role": "assistant", "content": "weather()"},
    {"role": "tool", "content": "21"},
    {"role": "assistant", "content": "Yes."},
    {"role": "system", "content": "In French."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Oui."},
]
# Writes tool turns in a turn of the user, as Qwen's do, and a system turn inside of the prompt.
WRAPS = (
    "{% for m in messages %}{% if m.role == 'tool' %}<s>user\n<result>{{ m.content }}</result></s>"
    "{% else %}<s>{{ m.role }}\n{{ m.content }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
TWO_SPEAKERS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}A:{{ m.content }}</s>"
    "{% else %}U:{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)


def chat(template):
    tokenizer = byte_tokenizer(2048)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    "template", [CHATML.replace("im_end|", "/s").replace("<|/s>", "</s>"), WRAPS]
)
def test_a_chat_template_writes_every_turn_in_order_and_only_learned_answers_carry_loss(template):
    tokenizer = chat(template)
    encoder = Encoder(tokenizer, make_template("chat", tokenizer), Prover(tokenizer))
    ((ids, marks),) = encoder.rows([MESSAGES], [(2,)])
    assert not encoder.refused
    text = tokenizer.decode(ids)
    assert text == tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    places = [text.index(message["content"]) for message in MESSAGES]
    assert places == sorted(places)
    learned = tokenizer.decode([id for id, mark in zip(ids, marks, strict=True) if mark])
    assert learned.replace("\n", "") == "Yes.</s>Oui.</s>"


@pytest.mark.parametrize("name", ["user_assistant", "Q {prompt} A {answer}"])
def test_a_template_of_pairs_says_which_turn_it_has_no_place_for_and_what_to_type(name, tmp_path):
    tokenizer = byte_tokenizer(2048)
    encoder = Encoder(tokenizer, make_template(name, tokenizer), Prover(tokenizer))
    rows = [MESSAGES[1:3], MESSAGES[:3], MESSAGES]
    table = tokenised(encoder, rows, 99)
    said = re.escape(
        f"row 1: template: {name} has no place for the system turn of message 1 of 3, "
        "'Be brief.'. Take template: chat with a model whose chat template has one, or set roles: "
        "pairs on the source"
    )
    with pytest.raises(DataError, match=said + r".*1 more rows are refused: row 2"):
        write([table], tmp_path)
    with pytest.raises(DataError, match=r"tool turn of message 3 of 4.*bad_records: skip"):
        make_template(name, tokenizer).pieces(MESSAGES[1:5])


@pytest.mark.parametrize(
    ("template", "messages", "said"),
    [
        (TEMPLATES["gemma"].template, MESSAGES[:3],
         r"refuses a conversation with turns of system \(Conversation roles must alternate"),
        (TEMPLATES["zephyr"].template, MESSAGES[:3],
         "leaves out or rewrites the system turn of message 1 of 3"),
        (TEMPLATES["qwen3"].template, MESSAGES[1:5],
         "leaves out or rewrites the tool turn of message 3 of 4"),
        (TWO_SPEAKERS, MESSAGES[1:5],
         "no place for the tool turn of message 3 of 4: it writes it as one of the user"),
        (TWO_SPEAKERS, MESSAGES[:3],
         "no place for the system turn of message 1 of 3: it writes it as one of the user"),
    ],
)  # fmt: skip
def test_a_chat_template_that_cannot_hold_a_turn_says_which(template, messages, said):
    made = make_template("chat", chat(template))
    assert made.pieces(MESSAGES[1:3])
    with pytest.raises(DataError, match=said) as error:
        made.pieces(messages)
    assert "Take template: chat with a model whose chat template has one" in str(error.value)
    assert "user_assistant" not in str(error.value)
