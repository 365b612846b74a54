"""Options keep what they say, whatever the order of the source, and count the rest."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.sources import SourceOptions, Tasks
from orchestrator.data.instance import Instance, single_turn
from orchestrator.data.limits import cut, fitted, within
from orchestrator.data.table import instances_of, table_of

texts = st.text(min_size=1, max_size=12).filter(str.strip)
conversations = st.lists(st.tuples(texts, texts), min_size=1, max_size=4).map(
    lambda pairs: tuple(
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    )
)
sources = st.dictionaries(st.integers(0, 999), st.sampled_from("abc"), max_size=60).map(
    lambda tasks: [single_turn(str(number), task, "q", "a") for number, task in tasks.items()]
)


def kept(instances, **options):
    """What the options keep of instances that come in two tables, and what they leave out."""
    source, dropped = SourceOptions(**options), Counter()
    fitting = [fitted(source, instance) for instance in instances]
    dropped.update(reason for reason in fitting if isinstance(reason, str))
    fitting = [instance for instance in fitting if isinstance(instance, Instance)]
    tables = (table_of(part) for part in (fitting[:7], fitting[7:]))
    found = [one for table in within(source, tables, dropped) for one in instances_of(table)]
    return found, +dropped


def joined(messages):
    return "".join(message["content"] for message in messages)


@settings(deadline=None)
@given(sources, st.integers(1, 9), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_the_sample_is_the_same_set_in_any_order_of_the_source(instances, size, seed, random):
    found, dropped = kept(instances, max_per_task=size, seed=seed)
    held = Counter(instance.task for instance in instances)
    assert Counter(i.task for i in found) == {task: min(n, size) for task, n in held.items()}
    assert found == [instance for instance in instances if instance in found]
    assert dropped.total() == len(instances) - len(found)
    shuffled = random.sample(instances, len(instances))
    again, _ = kept(shuffled, max_per_task=size, seed=seed)
    assert {i.id for i in again} == {i.id for i in found}


@settings(deadline=None)
@given(sources, st.integers(1, 9))
def test_a_sample_grows_by_instances_only(instances, size):
    small, large = (kept(instances, max_per_task=n, seed=1)[0] for n in (size, size + 1))
    assert {i.id for i in small} <= {i.id for i in large}


def test_seeds_draw_different_samples_and_no_seed_takes_the_first():
    instances = [single_turn(str(number), "t", "q", "a") for number in range(200)]
    draws = [tuple(i.id for i in kept(instances, max_per_task=20, seed=s)[0]) for s in range(20)]
    assert len(set(draws)) == 20
    drawn = Counter(id for draw in draws for id in draw)
    assert len(drawn) > 150  # 20 draws of a tenth leave out 12% of the instances: 24
    first, dropped = kept(instances, max_per_task=20)
    assert first == instances[:20]
    assert dropped == {"beyond max_per_task": 180}


@settings(deadline=None)
@given(conversations, st.integers(1, 120))
def test_a_cut_is_the_longest_start_that_ends_in_an_answer(messages, characters):
    found = cut(messages, characters)
    assert [m["role"] for m in found] == [m["role"] for m in messages[: len(found)]]
    assert len(found) % 2 == 0
    assert joined(messages).startswith(joined(found))
    assert all(message["content"].strip() for message in found)
    whole = joined(messages)
    assert len(joined(found)) <= min(characters, len(whole))
    if len(found) == len(messages):
        assert len(joined(found)) == min(characters, len(whole))
    else:  # nothing of the next answer was within reach
        left = characters - len(joined(found)) - len(messages[len(found)]["content"])
        answer = messages[len(found) + 1]["content"]
        assert left <= 0 or not answer[:left].strip()


@settings(deadline=None)
@given(conversations, st.integers(1, 60))
def test_too_long_drops_or_cuts_exactly_what_is_longer(messages, characters):
    instance = Instance("x", "t", messages)
    long = len(joined(messages)) > characters
    found, dropped = kept([instance], max_turns=4, max_chars=characters)
    assert found == ([] if long else [instance])
    assert dropped == ({"longer than max_chars": 1} if long else {})
    found, dropped = kept([instance], max_turns=4, max_chars=characters, too_long="cut")
    assert len(found) + dropped["no answer within max_chars"] == 1
    assert [i.notes for i in found] == [("cut at max_chars",) if long else ()] * len(found)


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (["*"], [], ["ag_news", "imdb", "IMDB"]),
        (["i*"], [], ["imdb"]),
        (["*"], ["*news", "i?db"], ["IMDB"]),
        (["[ai]*"], ["imdb"], ["ag_news"]),
    ],
)
def test_tasks_are_chosen_by_patterns(include, exclude, names):
    instances = [single_turn(task, task, "q", "a") for task in ("ag_news", "imdb", "IMDB")]
    found, dropped = kept(instances, tasks=Tasks(include=include, exclude=exclude))
    assert [i.task for i in found] == names
    assert dropped["task excluded"] == 3 - len(names)
