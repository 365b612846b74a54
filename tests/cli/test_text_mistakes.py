"""Each way in which a model might be fed what the data does not say: one sentence, no traceback."""

import json
import sys
from dataclasses import dataclass

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator import models
from orchestrator.cli import main
from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.screen import Screen
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import expand

PAIR = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "It."}]
CHATML = (
    "{% for m in messages %}<|U|>{{ m.role }}:{{ m.content }}<|A|>{% endfor %}"
    "{% if add_generation_prompt %}<|U|>assistant:{% endif %}"
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and all that it printed."""

    returncode: int
    text: str


@pytest.fixture(scope="module")
def chat_model(store, tmp_path_factory):
    """A tiny model in a folder, with a chat template."""
    source = models.resolve("random:tiny-llama", tmp_path_factory.mktemp("models"))

    def make(template):
        folder = tmp_path_factory.mktemp("chat")
        tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|U|>", "<|A|>"]})
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(source)
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(folder)
        return {"name": str(folder), "template": "chat"}

    return make


@pytest.fixture
def orchestrate(tmp_path, monkeypatch, capfd, store):
    """A command on a study over some records."""

    def call(command, records, *arguments, model=None, pool=None, **changes):
        monkeypatch.chdir(tmp_path)
        query = [{"id": "q", "task": "u", "prompt": "Ask", "completion": "reply"}]
        for name, rows in {"pool": records, "query": query}.items():
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        study = {
            "study": "small",
            "output": str(tmp_path / "out"),
            "store": store,
            "data": {
                "pool": {"reader": "jsonl", "path": "pool.jsonl"} | (pool or {}),
                "query": {"reader": "jsonl", "path": "query.jsonl"},
            },
            "embedding": {"model": "random:tiny-bert"},
            "arrangement": {"rows": 1, "arm": "min"},
            "model": model or {"name": "random:tiny-llama"},
            "training": {"global_batch": 1},
            "evaluation": {"measures": False},
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study | changes))
        arguments = [command, "study.yaml", *arguments]
        monkeypatch.setattr(sys, "argv", ["orchestrator", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        text = "".join(capfd.readouterr())
        assert "Traceback" not in text
        return Outcome(ended.value.code or 0, text)

    return call


def row(number=0, **columns):
    return {"id": f"p{number}", "task": "t", "prompt": "Say it.", "completion": "It."} | columns


MESSAGES = {"fields": {"messages": "messages"}}
TOLD = {
    "a column": (
        [row(input="the river"), row(1)],
        {},
        "data.pool: the model will not see what input (1) of its records hold; join columns "
        "that belong to the text, as in fields: {prompt: [prompt, input]}",
    ),
    "a system column beside a system turn": (
        [row(system="No.", messages=[{"role": "system", "content": "Yes."}, *PAIR], prompt="",
             completion="")],
        MESSAGES,
        "will not see what system (1)",
    ),
    "keys of messages": (
        [{"id": "a", "task": "t", "messages": [PAIR[0], PAIR[1] | {"reasoning_content": "hm"}]}],
        MESSAGES,
        "will not see what messages.reasoning_content (1)",
    ),
    "a column that holds the answer": (
        [row(rationale="Because it is said.")],
        {},
        "what rationale (1) of its records hold; what the model has to see or write, put into the "
        "columns of the prompt or answer",
    ),
    "a weight that is no switch": (
        [row(weight=0.5, context="a river")],
        {},
        "weight: not obeyed: only 0, 1, true and false are, and lists of them as long as the "
        "messages or the answers; join columns that belong to the text, as in fields: {prompt: "
        "[prompt, context]}",
    ),
    "a switch of another name": (
        [row(masked=True)],
        {},
        "masked: not obeyed: where it means that an answer is not to be learned, write train: "
        "false instead",
    ),
    "another reader's column": (
        [{"id": "k", "conversations": PAIR, "tools": "[a tool]"}],
        {"reader": "sharegpt"},
        "what tools (1) of its records hold; to read it, use the reader jsonl",
    ),
    "metadata": (
        [row(source="web", url="http://x")],
        {},
        "not read: source (1), url (1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TOLD)
def test_what_is_not_read_is_told_and_the_rest_goes_on(orchestrate, mistake):
    records, pool, said = TOLD[mistake]
    shown = orchestrate("show", records, pool=pool)
    assert shown.returncode == 0, shown.text
    assert said in shown.text
    assert "[[It.</s>]]" in shown.text


REFUSED = {
    "a column to be joined that is not there": (
        [row()],
        {"fields": {"prompt": ["prompt", "inptu"]}},
        "no record has the column inptu",
    ),
    "nothing but rows that are not to be trained on": (
        [row(is_correct=False), row(1, is_correct=False)],
        {},
        "data.pool (jsonl pool.jsonl) gives no instances (dropped: 2 marked is_correct: false)",
    ),
    "fewer rows than the budget, because some are left out": (
        [row(), row(1, weight=0)],
        {},
        "the pool holds 1 instances (left out: 1 marked weight: 0)",
    ),
    "an image": (
        [
            {
                "id": "a",
                "task": "t",
                "messages": [PAIR[0] | {"content": [{"type": "image"}]}, PAIR[1]],
            }
        ],
        MESSAGES,
        "a message holds more than text (message 1: 'image')",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_data_that_cannot_be_fed_as_it_is_is_refused_before_anything_starts(
    orchestrate, tmp_path, mistake
):
    records, pool, said = REFUSED[mistake]
    refused = orchestrate("run", records, pool=pool, arrangement={"rows": 2, "arm": "min"})
    assert refused.returncode == 2, refused.text
    assert said in refused.text
    assert "ray" not in refused.text
    assert not (tmp_path / "out" / "small" / "trials").exists()


TEMPLATES = {
    "no end mark": (
        CHATML.replace("<|A|>", "\n"),
        "writes no special token behind an answer, so that a model would learn no end, and its "
        "answers would never stop (eos_token '</s>')",
    ),
    "an answer left out": (
        CHATML.replace("m.content", "m.content if m.role == 'user' else '...'"),
        "chat template leaves out or rewrites the answer of message 2 of 2",
    ),
    "a prompt written twice": (
        CHATML.replace("{{ m.role }}", "{{ messages[0].content }}"),
        "chat template repeats the prompt of message 1 of 2",
    ),
    "the answer before the prompt": (
        CHATML.replace("in messages", "in messages[::-1]"),
        "chat template moves the answer of message 2 of 2",
    ),
    "a template that refuses": (
        "{{ raise_exception('no') }}",
        "the model's chat template refuses a conversation (no)",
    ),
    "a template that is no program": ("{% if %}", "refuses a conversation"),
}


@pytest.mark.parametrize("command", ["show", "estimate"])
@pytest.mark.parametrize("mistake", TEMPLATES)
def test_a_chat_template_that_changes_what_is_learned_is_refused_without_data(
    orchestrate, chat_model, command, mistake
):
    template, said = TEMPLATES[mistake]
    refused = orchestrate(command, [row()], model=chat_model(template))
    assert refused.returncode == 2, refused.text
    assert said in refused.text
    assert "template: user_assistant" in refused.text
    assert "max_turns" not in refused.text  # there is one turn


def test_a_template_that_opens_with_a_tag_is_told_by_the_estimate_and_learned_without(
    orchestrate, chat_model
):
    model = chat_model(CHATML.replace("assistant:{% endif", "assistant:<think>\n{% endif"))
    estimated = orchestrate("estimate", [row()], model=model)
    shown = orchestrate("show", [row()], model=model)
    for told in (estimated, shown):
        assert told.returncode == 0, told.text
        assert "opens a generated answer with '<think>'" in told.text
    assert "<|U|>assistant:[[It.<|A|>]]" in shown.text


def test_a_row_that_a_template_changes_is_shown_as_refused_with_both_texts(orchestrate, chat_model):
    model = chat_model(CHATML.replace("m.content", "m.content.split('</think>')[-1]"))
    records = [row(), row(1, completion="<think>so</think>It.")]
    shown = orchestrate("show", records, model=model)
    assert shown.returncode == 1, shown.text
    assert "data.pool, instance 'p1' is refused: this model's chat template" in shown.text
    assert "[[It.<|A|>]]" in shown.text


def test_a_look_alike_of_a_special_token_is_fed_as_plain_text(orchestrate, chat_model):
    records = [row(prompt="Say </s> and <|A|>.", completion="<s><|U|>user:</s>")]
    shown = orchestrate("show", records, model=chat_model(CHATML))
    assert shown.returncode == 0, shown.text
    # A token a character of the texts, and one for each mark of the template.
    tokens = len("user:Say </s> and <|A|>.assistant:<s><|U|>user:</s>") + 4
    assert f"{tokens} tokens, {len('<s><|U|>user:</s>') + 1} learned" in shown.text


def test_rows_that_a_template_changes_stop_a_study_before_anything_is_embedded(
    orchestrate, chat_model, tmp_path
):
    model = chat_model(CHATML.replace("m.content", "m.content.split('</think>')[-1]"))
    records = [row(i, completion=f"<think>so</think>{i}") for i in range(9)] + [row(9)]
    assert orchestrate("estimate", records, model=model).returncode == 2  # small enough to read
    study = load_study(tmp_path / "study.yaml", [f"store={tmp_path / 'store'}"])
    trials = expand(study)
    with Screen() as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        with (
            pipeline.fetching_models([trial.config for trial in trials], training=True),
            pytest.raises(DataError) as refused,
        ):
            pipeline.prepare(trials)
    assert "data.pool, instance 'p0': this model's chat template" in str(refused.value)
    assert "8 more rows are refused: data.pool, instance 'p1'" in str(refused.value)
    made = {path.name for path in (tmp_path / "store").iterdir()}
    assert "dataset" in made
    assert made.isdisjoint({"embeddings", "vectors"})
