"""The adapters of a target path are made of the queries, and of nothing else."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from orchestrator.config.embedding import Embedding
from orchestrator.errors import DataError
from orchestrator.models import resolve
from orchestrator.stages.target_path import follow, paths_spec
from orchestrator.stages.token_vectors import Source

SPLITS = {"pool": 4, "query": 6, "held_out": 2}
LENGTH = 9  # tokens of each row, a third of them an answer


@pytest.fixture
def table():
    """Token ids and answer marks of all rows, (rows, LENGTH)."""
    ids = np.random.default_rng(0).integers(3, 250, (sum(SPLITS.values()), LENGTH), np.int32)
    return ids, np.broadcast_to(np.arange(LENGTH) >= 6, ids.shape).copy()


@pytest.fixture
def source_of(tmp_path, store):
    """Makes a source of such a table."""

    def make(table, **settings):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        ids, answer = table
        starts = np.arange(len(ids) + 1) * LENGTH
        for name, column in (("ids", ids), ("answer", answer), ("starts", starts)):
            np.save(folder / f"{name}.npy", column.ravel())
        splits = {name: {"instances": count} for name, count in SPLITS.items()}
        section = {"steps": 2, "rank": 4, "clusters": 2, **settings}
        return Source(
            SimpleNamespace(info={"splits": splits}),
            SimpleNamespace(path=folder),
            Embedding.model_validate({"pooling": "path", "path": section}),
            resolve("random:tiny-llama", Path(store)),
            "tiny",
        )

    return make


def with_other_rows(table, rows):
    ids, answer = table
    changed = ids.copy()
    changed[rows] = np.random.default_rng(1).integers(3, 250, changed[rows].shape, np.int32)
    return changed, answer


def test_the_key_of_the_adapters_is_made_of_queries_and_not_of_pool_or_held_out_set(
    table, source_of
):
    spec = paths_spec(source_of(table))
    for rows in (slice(0, 4), slice(10, 12)):
        assert paths_spec(source_of(with_other_rows(table, rows))).digest == spec.digest
    assert paths_spec(source_of(with_other_rows(table, 7))).digest != spec.digest
    assert paths_spec(source_of(table, steps=3)).digest != spec.digest


def test_the_same_queries_leave_the_same_adapters_whatever_else_there_is(
    table, source_of, tmp_path
):
    learned = np.ones(6, bool)
    made = []
    for number, rows in enumerate((slice(0, 0), [0, 1, 2, 3, 10, 11])):
        folder = tmp_path / f"made-{number}"
        folder.mkdir()
        info = follow(source_of(with_other_rows(table, rows)), 64, 4, learned, folder)
        assert info["losses"][-1] < info["losses"][0]
        made.append(load_file(folder / "state.safetensors"))
        assert np.load(folder / "groups.npy").shape == (6,)
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])


def test_a_query_that_is_held_out_too_is_left_out_and_told(table, source_of, tmp_path):
    table[0][11] = table[0][5]
    spec = paths_spec(source_of(table))
    ((mark, told),) = spec.remarks({"left_out": 1})
    assert (mark, told) == (
        "note",
        "embeddings: 1 items of data.query are in data.held_out, too: pooling: path did not train "
        "on them",
    )
    assert spec.digest != paths_spec(source_of(with_other_rows(table, 11))).digest
    # What it says makes no difference: it is grouped, and no adapter learns from it.
    learned = np.arange(6) != 1
    info = follow(source_of(table, clusters=1), 64, 4, learned, tmp_path)
    before = load_file(tmp_path / "state.safetensors")
    again = follow(source_of(with_other_rows(table, 5), clusters=1), 64, 4, learned, tmp_path)
    after = load_file(tmp_path / "state.safetensors")
    assert info == again
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_query_whose_group_learned_nothing_has_the_nearest_group_that_did(
    table, source_of, tmp_path
):
    ids = table[0][4:10]  # the queries: three near to the first, three to the last
    ids[1:3, :-1], ids[3:5, :-1] = ids[0, :-1], ids[5, :-1]
    source, apart = source_of(table, clusters=6), np.arange(6) % 3 == 0  # two of six groups learn
    info = follow(source, 64, 4, apart, tmp_path)
    assert info["groups"] == 2
    assert np.load(tmp_path / "groups.npy").tolist() in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    state = load_file(tmp_path / "state.safetensors")
    assert all(matrices.any(axis=(1, 2)).all() for matrices in state.values())


def test_there_are_no_more_groups_than_queries(table, source_of, tmp_path):
    assert (
        1 <= follow(source_of(table, clusters=40), 64, 4, np.ones(6, bool), tmp_path)["groups"] <= 6
    )


def test_queries_without_an_answer_are_refused(table, source_of):
    table[1][4:10] = False
    with pytest.raises(DataError, match=r"path trains on the answers of data\.query, and no item"):
        paths_spec(source_of(table))
