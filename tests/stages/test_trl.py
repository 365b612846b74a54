"""TRL, given an export as its users give it, is fed the rows of the plan, step by step."""

import json
import os
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from orchestrator import models
from orchestrator.stages.exports import write_order
from tests.stages.orders import conversation, make_order

TEMPLATE = (
    "{% for message in messages %}{{ message.role + ': ' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + eos_token }}{% endgeneration %}"
    "{% else %}{{ message.content + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# Whether the first of two answers carries loss -> a pool, of rows that differ in length.
POOLS = {
    first: [
        conversation(("one", "two", first), (f"question {at}", f"answer {at}" * (at + 1), True))
        for at in range(9)
    ]
    for first in (False, True)
}
ROWS = [7, 2, 8, 0, 5, 1, 3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The tokenizer, and what TRL was fed in two steps of each pool."""
    base = tmp_path_factory.mktemp("trl")
    model = models.resolve("random:tiny-llama", base / "store")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    folders = []
    for first, pool in POOLS.items():
        (base / str(first)).mkdir()
        folders.append(write_order("trl", make_order(base / str(first), pool, ROWS, batch=4)))
    # Other tests of this process are ranks, and say so in its environment.
    ours = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DS_ACCELERATOR")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    subprocess.run(
        [sys.executable, "-m", "tests.stages.feed_trl", str(model), *map(str, folders)],
        env=environment | {"HF_DATASETS_CACHE": str(base / "cache")},
        check=True,
    )
    fed = [json.loads((folder / "fed.json").read_text()) for folder in folders]
    return tokenizer, dict(zip(POOLS, fed, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("first", POOLS)
def test_two_steps_of_trl_are_fed_the_rows_of_the_plan(trained, first):
    tokenizer, fed = trained[0], trained[1][first]
    plain = [
        [{key: each[key] for key in ("role", "content")} for each in row] for row in POOLS[first]
    ]
    written = {row: tokenizer.apply_chat_template(plain[row])["input_ids"] for row in ROWS}
    assert len(set(map(tuple, written.values()))) == len(ROWS)
    # Four rows a step in two micro-batches; three are left for the second one.
    assert fed["steps"] == 2
    assert [[ids for ids, _ in batch] for batch in fed["micro_batches"]] == [
        [written[row] for row in batch] for batch in (ROWS[:2], ROWS[2:4], ROWS[4:6], ROWS[6:])
    ]


@pytest.mark.slow
@pytest.mark.parametrize("first", POOLS)
def test_trl_learns_the_answers_that_carry_loss(trained, first):
    tokenizer, fed = trained[0], trained[1][first]
    rows = [row for batch in fed["micro_batches"] for row in batch]
    for (_, learned), row in zip(rows, ROWS, strict=True):
        answers = [message["content"] for message in POOLS[first][row] if message.get("weight")]
        assert len(answers) == 1 + first
        assert tokenizer.decode(learned) == "".join(answer + "</s>" for answer in answers)
