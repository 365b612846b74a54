"""The commented study that `orchestrator init` writes."""

from itertools import chain, combinations

import pytest

from orchestrator.config import load_study
from orchestrator.config.json_schema import LINE
from orchestrator.data.detect import find_source, look
from orchestrator.data.leakage import TestItems
from orchestrator.study.draft import COMPARED, Wish, write_draft
from orchestrator.trials import expand

ARMS = {"order": 3, "selection": 3, "granularity": 2, "turns": 3, "seeds": 2}


@pytest.fixture(scope="module")
def builtin():
    """The task suite, and what was counted of it."""
    queries = look(find_source("builtin", "query", {}))
    tests = TestItems({"query": queries[1].table})
    return look(find_source("builtin", "pool", {}), tests), queries


@pytest.fixture
def drafted(tmp_path, builtin):
    def draft(*compare, model="random:tiny-llama"):
        (tmp_path / "mine.yaml").write_text(write_draft(Wish("mine", *builtin, model, compare)))
        return load_study(tmp_path / "mine.yaml")

    return draft


@pytest.mark.parametrize(
    "compare",
    chain.from_iterable(combinations(COMPARED, size) for size in range(1, 6)),
    ids="_".join,
)
def test_whatever_is_compared_gives_a_trial_for_each_combination(drafted, compare):
    arms = ARMS | ({"selection": 2} if "turns" in compare else {})  # turns of random rows are none
    expected = 1
    for name in compare:
        expected *= arms[name]
    assert len(expand(drafted(*compare))) == expected


def test_it_names_the_schema_and_what_the_data_holds(drafted, tmp_path):
    study = drafted("granularity", "seeds", model="no: name # of it")
    first, *lines = (tmp_path / "mine.yaml").read_text().splitlines()
    assert first == LINE
    assert max(map(len, lines)) <= 100
    assert any("1,200 rows of 50 tasks" in line for line in lines)
    assert study.model.name == "no: name # of it"
    assert study.data.leakage == "error"


def test_draws_by_seed_leave_rows_out_and_a_first_look_has_few_steps(drafted):
    data = drafted("turns", "seeds").data
    assert data.pool.max_per_task == 1_200 // 2 // 50
    study = drafted("order")
    assert study.data.pool.max_per_task is None
    assert study.arrangement.rows / study.training.global_batch == 8
