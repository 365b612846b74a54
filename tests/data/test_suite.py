"""The built-in suite: its promises on size, order and distinctness, and its answers recomputed."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import itertools
import os
import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from string import Formatter

import pytest

from orchestrator.data.instance import Instance
from orchestrator.data.suite import INSTANCES_PER_TASK, SUITE, read
from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import CATEGORIES

TASKS = {t.name: t for tasks in SUITE.values() for t in tasks}
SPLITS = {split: list(read(split)) for split in SUITE}
EVERYTHING = [instance for instances in SPLITS.values() for instance in instances]


def prompt_answer(instance: Instance) -> tuple[str, str]:
    user, assistant = instance.messages
    return user["content"], assistant["content"]


def normalised(text: str) -> str:
    return " ".join(text.lower().split())


def parse(phrasing: str, prompt: str) -> dict[str, str] | None:
    """The fields that fill the phrasing to give the prompt; None if it is another phrasing."""
    pattern, seen = "", set()
    for literal, field, _, _ in Formatter().parse(phrasing):
        pattern += re.escape(literal)
        if field:
            pattern += f"(?P={field})" if field in seen else f"(?P<{field}>.+?)"
            seen.add(field)
    match = re.fullmatch(pattern, prompt, flags=re.DOTALL)
    return match and match.groupdict()


# --- what the suite holds ---------------------------------------------------------------------


def test_the_splits_have_the_promised_numbers_of_tasks_and_instances():
    tasks = {s: Counter(i.task for i in instances) for s, instances in SPLITS.items()}
    assert {s: len(c) for s, c in tasks.items()} == {
        "pool": 50, "query": 10, "held_out": 4, "off_target": 4,
    }  # fmt: skip
    assert all(set(c.values()) == {INSTANCES_PER_TASK[s]} for s, c in tasks.items())
    assert INSTANCES_PER_TASK == {"pool": 24, "query": 8, "held_out": 8, "off_target": 8}


def test_no_task_is_in_two_splits():
    names = [t.name for tasks in SUITE.values() for t in tasks]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("split", SUITE)
def test_the_instances_of_a_task_follow_one_another_in_the_suites_order(split):
    groups = [name for name, _ in itertools.groupby(SPLITS[split], key=lambda i: i.task)]
    assert groups == [t.name for t in SUITE[split]]


def test_ids_name_the_task_and_count_its_instances():
    assert [i.id for i in SPLITS["query"][7:9]] == ["discount_price-07", "count_vowels-00"]
    assert len({i.id for i in EVERYTHING}) == len(EVERYTHING)


def test_no_two_instances_of_the_suite_have_the_same_text():
    texts = Counter(normalised(" ".join(prompt_answer(i))) for i in EVERYTHING)
    assert [text for text, count in texts.items() if count > 1] == []


def test_no_prompt_has_two_answers_and_none_is_shared_with_the_pool():
    prompts = Counter(normalised(prompt_answer(i)[0]) for i in EVERYTHING)
    assert [prompt for prompt, count in prompts.items() if count > 1] == []


def test_texts_are_stripped_and_never_empty():
    assert all(text and text == text.strip() for i in EVERYTHING for text in prompt_answer(i))


def test_every_task_is_asked_in_three_phrasings_or_more():
    for name, instances in itertools.groupby(EVERYTHING, key=lambda i: i.task):
        prompts = [prompt_answer(i)[0] for i in instances]
        phrasings = set(TASKS[name].phrasings)
        used = [p for p in phrasings if any(parse(p, prompt) for prompt in prompts)]
        assert len(used) == len(phrasings) >= 3, name


def test_instances_are_short_enough_for_a_cpu():
    # Pieces of words, numbers and signs: a proxy of tokens that needs no tokenizer.
    texts = [" ".join(prompt_answer(i)) for i in EVERYTHING]
    lengths = [len(re.findall(r"\w{1,6}|[^\w\s]|\n", text)) for text in texts]
    assert 35 <= statistics.median(lengths) <= 60
    assert max(lengths) <= 100


def test_answers_are_short():
    assert max(len(prompt_answer(i)[1].split()) for i in EVERYTHING) <= 8


def test_no_task_can_be_answered_by_one_constant():
    for name, instances in itertools.groupby(EVERYTHING, key=lambda i: i.task):
        assert len({prompt_answer(i)[1] for i in instances}) >= 2, name


# --- determinism and errors -------------------------------------------------------------------

DIGEST = (
    "import hashlib; from orchestrator.data.suite import SUITE, read; "
    "print(hashlib.sha256(repr([i for s in SUITE for i in read(s)]).encode()).hexdigest())"
)


def test_another_process_with_another_hash_seed_reads_the_same_suite():
    here = hashlib.sha256(repr(EVERYTHING).encode()).hexdigest()
    for seed in ("1", "2"):
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        run = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, check=True
        )
        assert run.stdout.decode().strip() == here


def test_reading_neither_uses_nor_moves_the_global_random_state():
    random.seed(1)
    state = random.getstate()
    assert list(read("query")) == SPLITS["query"]
    assert random.getstate() == state


def test_fewer_examples_are_the_first_of_more():
    assert all(t.examples(3) == t.examples(8)[:3] for t in TASKS.values())


def test_an_unknown_split_is_refused_at_once_with_the_options():
    with pytest.raises(ValueError, match=r"'test'.*pool, query, held_out, off_target"):
        read("test")


def test_a_task_with_too_few_cases_says_so():
    @task("Say {side}.")
    def coin(rng: random.Random) -> Case:
        side = rng.choice(("heads", "tails"))
        return {"side": side}, side

    assert sorted(answer for _, answer in coin.examples(2)) == ["heads", "tails"]
    with pytest.raises(ValueError, match=r"task coin: .* 2 distinct cases where 3 are needed"):
        coin.examples(3)


# --- answers, recomputed from what the prompt says --------------------------------------------


def run_python(code: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    return output.getvalue().strip()


def table_rows(table: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"(\w+) \| (\d+)", table)}


def day_after(f: dict[str, str]) -> str:
    monday = datetime.date(2024, 1, 1)
    days = (monday + datetime.timedelta(i) for i in range(7))
    start = next(day for day in days if day.strftime("%A") == f["day"])
    return (start + datetime.timedelta(int(f["count"]))).strftime("%A")


def clock_after(f: dict[str, str]) -> str:
    start = datetime.datetime.strptime(f["start"], "%H:%M")
    return (start + datetime.timedelta(minutes=int(f["minutes"]))).strftime("%H:%M")


def fits_no_other_kind(f: dict[str, str]) -> str:
    kinds = {item: kind for kind, items in CATEGORIES.items() for item in items}
    items = f["items"].split(", ")
    [odd] = [a for a in items if all(kinds[a] != kinds[b] for b in items if b != a)]
    return odd


def rook_attacks(f: dict[str, str]) -> str:
    return "yes" if set(f["rook"]) & set(f["king"]) else "no"


def follows(f: dict[str, str]) -> str:
    return {"All": "yes", "No": "no", "Some": "unknown"}[f["statements"].split()[0]]


def common(f: dict[str, str]) -> str:
    [shared] = set(f["first"].split(", ")) & set(f["second"].split(", "))
    return shared


ORACLES: dict[str, Callable[[dict[str, str]], object]] = {
    "shopping_total": lambda f: f"${int(f['price']) * int(f['count']) + int(f['fee'])}",
    "change_due": lambda f: f"${int(f['paid']) - int(f['price'])}",
    "discount_price": lambda f: f"${int(f['price']) * (1 - int(f['percent']) / 100):g}",
    "split_bill": lambda f: f"${int(f['bill']) / (int(f['others']) + 1):g}",
    "average_score": lambda f: f"{sum(int(f[k]) for k in ('first', 'second', 'third')) / 3:g}",
    "round_to_ten": lambda f: round(int(f["number"]), -1),
    "count_vowels": lambda f: len(re.findall("[aeiou]", f["word"])),
    "count_consonants": lambda f: len(re.findall("[^aeiou]", f["word"])),
    "count_letter": lambda f: len(f["word"].split(f["letter"])) - 1,
    "spell_backwards": lambda f: "".join(reversed(f["word"])),
    "replace_letter": lambda f: re.sub(f["old"], f["new"], f["word"]),
    "sort_words": lambda f: ", ".join(sorted(f["words"].split(", "))),
    "common_item": common,
    "arrival_time": clock_after,
    "weekday_after": day_after,
    "iso_date": lambda f: datetime.datetime.strptime(
        f"{f['day']} {f['month']} {f['year']}", "%d %B %Y"
    ).strftime("%Y-%m-%d"),
    "table_lookup": lambda f: table_rows(f["table"])[f["name"]],
    "table_total": lambda f: sum(table_rows(f["table"]).values()),
    "table_highest": lambda f: sorted((n, w) for w, n in table_rows(f["table"]).items())[-1][1],
    "python_arithmetic": lambda f: run_python(f["code"]),
    "python_string": lambda f: run_python(f["code"]),
    "python_branch": lambda f: run_python(f["code"]),
    "python_slice": lambda f: run_python(f["code"]),
    "odd_one_out": fits_no_other_kind,
    "syllogism": follows,
    "rook_check": rook_attacks,
    "dna_complement": lambda f: "".join(dict(["AT", "TA", "CG", "GC"])[b] for b in f["strand"]),
}


@pytest.mark.parametrize("name", ORACLES)
def test_the_answer_follows_from_the_prompt_alone(name):
    for instance in (i for i in EVERYTHING if i.task == name):
        prompt, answer = prompt_answer(instance)
        fields = next(filter(None, (parse(p, prompt) for p in TASKS[name].phrasings)))
        assert answer == str(ORACLES[name](fields)), prompt
