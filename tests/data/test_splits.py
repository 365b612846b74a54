"""A pool of several sources holds of each what is asked for, and says where each row comes from."""

import re

import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from orchestrator.config.faults import explain
from orchestrator.config.schema import Study
from orchestrator.errors import DataError
from orchestrator.stages.dataset import dataset_spec, describe_dataset, unread_remarks
from tests.data.conftest import elsewhere, row


@pytest.fixture
def sources(write):
    """A table, packed lines and P3 records, 20, 30 and 50 of them, with ids that collide."""
    other = [{"id": f"i{n}", "inputs_pretokenized": f"p3 {n}", "targets_pretokenized": "a"}
             for n in range(50)]  # fmt: skip
    return [
        {"reader": "parquet", "path": write("flan.parquet", [row(n, "a") for n in range(20)])},
        {
            "reader": "jsonl",
            "path": write("own rows.jsonl.gz", [row(n, "b", f"own {n}") for n in range(30)]),
        },
        {"reader": "p3", "path": write("p3/ag_news.jsonl", other)},
    ]


def asked(sources, *amounts):
    return [source | amount for source, amount in zip(sources, amounts, strict=True)]


def pool_of(table, column):
    return table.filter(pc.equal(table["split"], "pool"))[column].to_pylist()


def held(table):
    """How many rows of the pool come from each source."""
    return {name: pool_of(table, "source").count(name) for name in ("flan", "own-rows", "ag_news")}


@pytest.mark.scenario("duplicates")
def test_sources_follow_one_another_and_colliding_ids_are_told_apart_by_their_source(make, sources):
    sources[2] |= {"source": "p3", "max_per_task": 3}
    _, table, info = make(sources)
    ids = pool_of(table, "id")
    assert ids[:2] == ["flan/i0", "flan/i1"]
    assert len(set(ids)) == len(ids) == 53
    assert [id.partition("/")[0] for id in ids] == pool_of(table, "source")
    assert table.schema.names[-1] == "source"
    assert table.to_pylist()[-1]["source"] is None  # of the query set
    assert table.to_pylist()[-1]["id"] == "i1"
    told = info["splits"]["pool"]
    assert told["instances"] == 53
    assert told["dropped"] == told["sources"]["p3"]["dropped"] == {"beyond max_per_task": 47}
    assert told["sources"]["flan"]["instances"] == 20
    assert "sources" not in info["splits"]["query"]
    line = describe_dataset(info)
    assert line == "pool 53 = 20 flan + 30 own-rows + 3 p3 (47 beyond max_per_task), query 1"


def test_a_pool_that_is_no_list_has_the_table_and_the_key_it_always_had(make, sources):
    data, table, info = make(sources[0])
    assert "source" not in table.schema.names
    assert pool_of(table, "id")[0] == "i0"
    assert info["splits"]["pool"].keys() == {
        "instances", "tasks", "repeated", "dropped", "notes", "unread", "metadata"
    }  # fmt: skip
    key = dataset_spec(data).key["sources"]["pool"]
    assert not {"source", "share", "weight", "rows"} & (
        key.keys() | data.model_dump()["pool"].keys()
    )
    listed, *_ = make([sources[0]], "listed")
    assert dataset_spec(listed).key["sources"]["pool"] == [key | {"source": "flan"}]


@pytest.mark.parametrize(
    ("amounts", "counts"),
    [
        ([{"share": 0.2}, {"share": 0.3}, {"share": 0.5}], (20, 30, 50)),
        ([{"share": 0.5}, {"share": 0.25}, {"share": 0.25}], (20, 10, 10)),
        ([{"weight": 2}, {"weight": 1}, {"weight": 1}], (20, 10, 10)),
        ([{"share": 0.5}, {"weight": 1}, {"weight": 1.5}], (20, 8, 12)),
        ([{"rows": 7}, {"rows": 30}, {}], (7, 30, 50)),
        ([{"rows": 6}, {"rows": 18}, {"share": 0.25}], (6, 18, 8)),
        ([{"share": 0.2}, {}, {"share": 0.5}], (20, 30, 50)),
        ([{"share": 0.1}, {"share": 0.2}, {"share": 0.7}], (7, 14, 50)),
    ],
)
def test_shares_weights_and_rows_say_how_much_is_taken(make, sources, amounts, counts):
    _, table, info = make(asked(sources, *amounts))
    assert tuple(held(table).values()) == counts
    left = 100 - sum(counts)
    assert info["splits"]["pool"]["dropped"] == ({"not drawn": left} if left else {})


def test_what_is_drawn_is_seeded_in_the_order_of_the_file_and_the_same_in_many_processes(
    make, sources
):
    part = [{"rows": 9}, {"rows": 9}, {"rows": 9, "seed": 1}]
    _, first, info = make(asked(sources, *part), "first")
    _, again, told = make(asked(sources, *part), "again", elsewhere)
    assert first.equals(again)
    assert info == told
    numbers = [int(id.partition("/i")[2]) for id in pool_of(first, "id")]
    stretches = [numbers[at : at + 9] for at in (0, 9, 18)]
    assert stretches == [sorted(stretch) for stretch in stretches]
    assert stretches[0] != list(range(9))
    _, more, _ = make(asked(sources, {"rows": 10}, {"rows": 9, "seed": 2}, {"rows": 9}), "more")
    drawn, grown = pool_of(first, "id"), pool_of(more, "id")
    assert set(drawn[:9]) < set(grown[:10])  # a larger sample holds the smaller one
    assert drawn[9:18] != grown[10:19]
    assert drawn[18:] != grown[19:]
    _, alone, _ = make([sources[0] | {"rows": 9}], "alone")
    assert pool_of(alone, "id") == drawn[:9]  # whatever the other sources are


def test_a_draw_after_max_per_task_with_the_same_seed_does_not_favour_the_large_tasks(make, write):
    rows = [row(n, "large" if n < 900 else "small") for n in range(1000)]
    source = {"reader": "jsonl", "path": write("two.jsonl", rows), "seed": 5, "max_per_task": 100}
    _, table, _ = make([source | {"rows": 100}])
    # Of 100 rows of each, 50 are expected, with a spread of 3.6.
    assert 35 <= pool_of(table, "task").count("large") <= 65


def test_a_column_that_nothing_reads_is_warned_of_by_its_source(make, write, sources):
    unread = [row(n) | {"context": "text"} for n in range(3)]
    pool = [sources[0], {"reader": "jsonl", "path": write("more.jsonl", unread)}]
    data, _, info = make(pool)
    assert info["splits"]["pool"]["unread"] == {"context": 3}
    ((kind, text),) = unread_remarks(info, data)
    assert kind == "warning"
    assert text.startswith("data.pool, source more: the model will not see what context (3) of")


def test_rows_are_counted_after_leaks_are_dropped_and_only_what_is_drawn_can_leak(
    make, write, sources
):
    leaking = [row(n, "a", "what is asked" if n else "fine") for n in range(5)]
    pool = [sources[0], {"reader": "jsonl", "path": write("leaky.jsonl", leaking), "rows": 1}]
    _, table, info = make(pool, leakage="drop")
    assert pool_of(table, "id")[20:] == ["leaky/i0"]
    assert info["splits"]["pool"]["sources"]["leaky"]["dropped"] == {"exact duplicate of query": 4}
    with pytest.raises(DataError, match="1 exact duplicate of query; the first is 'leaky/i"):
        make(pool, "refused")


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        (
            [{"rows": 21}, {}, {}],
            "data.pool, source flan: rows is 21, and it gives 20: set rows to 20 or fewer",
        ),
        (
            [{"share": 0.5}, {"rows": 30}, {"rows": 10}],
            "source flan: a share of 0.5 beside 40 rows of other sources is 40 rows, and it gives "
            "20: set its share to 0.3333 or less, or take 20 or fewer rows of the others",
        ),
        (
            [{"share": 0.001}, {"share": 0.499}, {"share": 0.5}],
            "source flan: it gives 20 rows, and its share of 0.001 of a pool of 60 is none of them",
        ),
        ([{}, {}, {"tasks": {"exclude": ["*"]}}], "source ag_news .* gives no instances"),
        ([{}, {"rows": 2}, {"tasks": {"exclude": ["*"]}}], "source ag_news .* gives no instances"),
    ],
)
def test_more_than_a_source_gives_is_refused_with_what_would_fit(make, sources, amounts, message):
    with pytest.raises(DataError, match=message):
        make(asked(sources, *amounts))


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ([{"share": 0.7}, {"share": 0.4}], "the shares of pool sum to 1.1, more than the pool"),
        ([{"share": 0.7}, {"share": 0.2}], "sum to 0.9, and no other source fills the rest"),
        ([{"share": 0.7}, {"share": 0.3}, {}], "leave nothing for the sources without one"),
        ([{"share": 0.7}, {"share": 0.3}, {"weight": 1}], "leave nothing for the sources without"),
        ([{"weight": 0.7}, {"rows": 3}], "weight divides what shares leave, and b has neither"),
        ([{"weight": 0.7, "rows": 3}, {}], "source a, has weight and rows: give one of them"),
        ([{}, {"source": "a"}], "pool has two sources called a: give each a name of its own"),
        ([{"source": "a/b"}], "give letters, digits, _ or -, a letter or digit first"),
        ([{"share": 0}], "share is 0: give a number above 0 and up to 1"),
        ([], "data.pool is \\[\\]: give .* or a list of 1 or more"),
        ({"rows": 3}, "pool.rows is 3, and only sources in a list .*: put the source into a list"),
        ([{"shar": 1}], "data.pool.0.shar is not a key: did you mean share"),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused_before_any_is_read(pool, message):
    def named(given, path):
        return {"reader": "jsonl", "path": path} | given

    several = isinstance(pool, list)
    given = [named(one, path) for one, path in zip(pool, "abc", strict=False)] if several else None
    raw = {"pool": given if several else named(pool, "a"), "query": named({}, "q")}
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({"study": "mixed", "data": raw})
    ((_, sentence),) = explain(caught.value, Study)
    assert re.search(message, sentence)
