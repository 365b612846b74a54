"""Vectors made elsewhere: matched to instances and scaled, or refused with all that is wrong."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.embedding import Embedding
from orchestrator.data import dataset
from orchestrator.errors import DataError
from orchestrator.stages.own_vectors import (
    describe_own_vectors,
    file_faults,
    own_vectors_bytes,
    own_vectors_spec,
)
from orchestrator.storage.artifacts import file_digest
from orchestrator.storage.lfs import SIGNATURE
from orchestrator.storage.remote import ArtifactStore
from tests.core.pools import unit_rows
from tests.stages.making import made

IDS = {
    "pool": [f"pool-{number}" for number in range(7)],
    "query": ["q b", "q a", "q c"],
    "held_out": ["7", "ü"],
    "off_target": ["other"],
}
DROPPED = {"pool": {"beyond max_per_task": 2}}


def make_dataset(folder):
    rows = [(split, name) for split, ids in IDS.items() for name in ids]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    table = [
        {"row": row, "id": name, "task": "t", "split": split, "messages": turns, "unlearned": []}
        for row, (split, name) in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table, schema=dataset.SCHEMA), folder / "instances.parquet")
    splits = {
        split: {"instances": len(ids), "tasks": 1, "dropped": DROPPED.get(split, {})}
        for split, ids in IDS.items()
    }
    return {"splits": splits, "leakage": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def instances(store):
    return store.build("dataset", 1, make_dataset)


@pytest.fixture
def files(tmp_path):
    """The section of vectors of pool and query set row by row, whose files may be written anew."""
    section = {}
    for key, split in (("vectors", "pool"), ("query_vectors", "query")):
        section[key] = str(tmp_path / f"{split}.npy")
        np.save(section[key], unit_rows(np.random.default_rng(len(split)), len(IDS[split])))
    return section


def write_ids(path, ids):
    match path.suffix:
        case ".txt":
            path.write_text("\n".join(ids) + "\n", encoding="utf-8")
        case ".jsonl":
            lines = [json.dumps({"id": name, "task": 1}) + "\n" for name in ids]
            path.write_text("".join(lines), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.table({"id": ids}), path)
        case ".npy":
            np.save(path, np.array(ids))
    return str(path)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "npy"])
def test_ids_find_the_vector_of_each_instance_in_a_larger_set_in_any_order(
    instances, store, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr("orchestrator.stages.mapped.BLOCK_ROWS", 3)
    rng = np.random.default_rng(0)
    section, expected = {}, []
    for split in ("pool", "query", "held_out"):
        prefix = "" if split == "pool" else f"{split}_"
        names = rng.permutation([*IDS[split], *(f"unused {n}" for n in range(5))]).tolist()
        vectors = 3 * unit_rows(rng, len(names)).astype(np.float64)
        vectors[names.index("unused 2")] = np.nan  # no instance's
        np.save(tmp_path / f"{split}.npy", vectors)
        section[f"{prefix}vectors"] = str(tmp_path / f"{split}.npy")
        section[f"{prefix}ids"] = write_ids(tmp_path / f"{split}-ids.{kind}", names)
        expected += [vectors[names.index(name)] / 3 for name in IDS[split]]
    artifact = made(own_vectors_spec(instances, Embedding(**section)), store)
    found = np.load(artifact.path / "vectors.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert artifact.info["splits"] == {"pool": 7, "query": 3, "held_out": 2}
    assert artifact.info["texts"] == 12
    assert describe_own_vectors(artifact.info) == (
        "12 vectors of your own (pool by id among 12, query by id among 8, held-out by id among "
        "7), 8 dimensions"
    )


@settings(deadline=None, max_examples=30)
@given(
    dtype=st.sampled_from([np.float16, np.float32, np.float64, ">f4"]),
    scale=st.sampled_from([1, 1e-3, 40.0]),
    fortran=st.booleans(),
)
def test_without_ids_row_i_is_instance_i_as_float32_of_length_one(
    instances, store, tmp_path_factory, dtype, scale, fortran
):
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(1)
    plain = [(unit_rows(rng, len(IDS[split])) * scale).astype(dtype) for split in ("pool", "query")]
    for name, vectors in zip(("a.npy", "b.npy"), plain, strict=True):
        np.save(folder / name, np.asfortranarray(vectors) if fortran else vectors)
    section = Embedding(vectors=str(folder / "a.npy"), query_vectors=str(folder / "b.npy"))
    found = np.load(made(own_vectors_spec(instances, section), store).path / "vectors.npy")
    stacked = np.concatenate(plain).astype(np.float64)
    unit = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit, atol=1e-7)
    if dtype == np.float32 and scale == 1:
        assert np.array_equal(found, np.concatenate(plain))  # not a bit is changed
    own = own_vectors_spec(instances, section)
    digest = file_digest(folder / "a.npy")
    assert made(own, store).info["own"]["pool"] == {"rows": 7, "matched": "row", "sha256": digest}
    assert own_vectors_bytes(instances, section) == found.nbytes
    assert made(own, store).reused


def test_the_content_of_the_files_is_the_artifact_and_not_their_place(instances, files, tmp_path):
    digest = own_vectors_spec(instances, Embedding(**files)).digest
    moved = {key: f"{path}.moved.npy" for key, path in files.items()}
    for key, path in files.items():
        np.save(moved[key], np.load(path))
    assert own_vectors_spec(instances, Embedding(**moved)).digest == digest
    named = {"ids": write_ids(tmp_path / "ids.txt", IDS["pool"])}
    by_id = own_vectors_spec(instances, Embedding(**files, **named)).digest
    assert by_id != digest
    write_ids(tmp_path / "ids.txt", IDS["pool"][::-1])
    assert own_vectors_spec(instances, Embedding(**files, **named)).digest != by_id
    changed = np.load(files["query_vectors"])
    changed[0, 0] += 1e-3
    np.save(files["query_vectors"], changed)
    assert own_vectors_spec(instances, Embedding(**files)).digest != digest


def test_what_is_taken_by_its_row_and_what_is_not_there_is_told(instances, store, files, tmp_path):
    spec = own_vectors_spec(instances, Embedding(**files))
    trusted, lacking = spec.remarks(made(spec, store).info)
    assert trusted == (
        "warning",
        f"embeddings: row i of {files['vectors']} is taken as the vector of the i-th instance of "
        "data.pool that is kept (left out: 2 beyond max_per_task): where it is not, name the "
        "vectors by embedding.ids",
    )
    assert lacking[0] == "note"
    assert "no vectors of data.held_out, so that its near duplicates are not" in lacking[1]
    np.save(tmp_path / "held.npy", unit_rows(np.random.default_rng(2), 2))
    files |= {"ids": write_ids(tmp_path / "ids.txt", IDS["pool"])}
    files |= {"held_out_vectors": str(tmp_path / "held.npy")}
    spec = own_vectors_spec(instances, Embedding(**files))
    assert not list(spec.remarks(made(spec, store).info))


POOL = unit_rows(np.random.default_rng(4), 7)
BAD = POOL.copy()
BAD[[0, 1, 5]], BAD[2, 3], BAD[4, 0], BAD[6] = 0, np.nan, -np.inf, np.nan
NAMES = IDS["pool"]


@pytest.mark.parametrize(
    ("pool", "ids", "said"),
    [
        (
            POOL[:5],
            None,
            ["embedding.vectors: .*pool.npy has 5 rows, data.pool holds 7 instances \\(left out: 2 "
             "beyond max_per_task\\): .* Name the vectors by embedding.ids, a file"],
        ),
        (
            BAD,
            None,
            ["pool.npy: row 0 \\('pool-0'\\), 1 .*, 5 \\('pool-5'\\) and 1 more, "
             "counted from 0, is zero, infinite or not a number: .* leave the instance out of "],
        ),
        (BAD, NAMES[::-1], ["row 6 \\('pool-0'\\), 5 .*, 1 \\('pool-5'\\) and 1 more"]),
        (
            POOL,
            ["x", *NAMES[1:5], "pool-3"],
            ["embedding.ids: .*ids.txt does not name the vectors:\n",
             "  - 1 named before: line 6 'pool-3' \\(first in line 4\\)\n",
             "  - 6 ids, and .*pool.npy has 7 rows: give the id of each",
             "  - 3 of the 7 instances of data.pool not named, 'pool-0', 'pool-5', 'pool-6': "],
        ),
        (POOL, [], ["embedding.ids: /[^:]*ids.txt names no id: write one a line"]),
    ],
)  # fmt: skip
def test_what_does_not_belong_to_the_instances_is_refused_all_of_it_at_once(
    instances, store, files, tmp_path, monkeypatch, pool, ids, said
):
    monkeypatch.setattr("orchestrator.stages.mapped.BLOCK_ROWS", 3)
    np.save(files["vectors"], pool)
    if ids is not None:
        files["ids"] = write_ids(tmp_path / "ids.txt", ids)
    files["query_ids"] = write_ids(tmp_path / "query.txt", ["q a", "q b"])
    before = {path.name for path in store.path.glob("embeddings/*")}
    with pytest.raises(DataError) as caught:
        made(own_vectors_spec(instances, Embedding(**files)), store)
    message = str(caught.value)
    for sentence in [*said, "  - 1 of the 3 instances of data.query not named, 'q c': embed"]:
        assert re.search(sentence, message), message
    assert {path.name for path in store.path.glob("embeddings/*")} == before


def test_files_that_cannot_be_what_they_are_for_are_told_before_any_data_is_read(files, tmp_path):
    assert file_faults(Embedding(**files)) == []
    np.save(files["query_vectors"], POOL[:, :5])
    held, pointer = tmp_path / "held.npy", tmp_path / "pointer.npy"
    held.write_text("1.0 2.0\n")
    faults = file_faults(
        Embedding(**files, held_out_vectors=str(held), held_out_ids="none.txt", ids="no.txt")
    )
    assert [fault.split(": ")[0] for fault in faults] == [
        "embedding.ids", "embedding.held_out_vectors", "embedding.held_out_ids",
        "embedding.query_vectors",
    ]  # fmt: skip
    assert "write it with numpy.save" in faults[1]
    assert "has 5 dimensions" in faults[3]
    assert f"{files['vectors']} 8: embed both with the same model" in faults[3]
    pointer.write_bytes(SIGNATURE + b"v1\noid sha256:0\nsize 9\n")
    (fault,) = file_faults(Embedding(**files | {"query_vectors": str(pointer)}))
    assert "is a Git LFS pointer" in fault
    np.save(files["query_vectors"], np.zeros((3, 8), int))
    (fault,) = file_faults(Embedding(**files))
    assert "holds int64 of shape (3, 8): give floating-point numbers" in fault


@pytest.mark.scenario("no-pickles")
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.array([{}] * 7, dtype=object), r"cannot be read \(.*\): write the ids with numpy.save"),
        (np.zeros((7, 1), dtype="U3"), r"holds <U3 of shape \(7, 1\): write the ids with"),
        (np.zeros(7), "holds float64 of shape"),
    ],
)
def test_an_array_that_holds_no_ids_is_refused(instances, store, files, tmp_path, ids, said):
    np.save(tmp_path / "ids.npy", ids, allow_pickle=True)
    with pytest.raises(DataError, match=f"embedding.ids: .*ids.npy {said}"):
        made(own_vectors_spec(instances, Embedding(**files, ids=str(tmp_path / "ids.npy"))), store)


def test_records_without_an_id_are_named(instances, store, files, tmp_path):
    path = tmp_path / "ids.jsonl"
    lines = [json.dumps({"id": name}) for name in NAMES]
    lines[2], lines[5] = '{"name": "pool-2"}', "[]"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="  - 2 without an id: line 3, line 6"):
        made(own_vectors_spec(instances, Embedding(**files, ids=str(path))), store)


def test_whole_numbers_of_an_array_are_ids_as_text(store, tmp_path):
    def numbered(folder):
        info = make_dataset(folder)
        table = pq.read_table(folder / "instances.parquet")
        ids = pa.array([str(10 - row) for row in range(len(table))])
        pq.write_table(table.set_column(1, "id", ids), folder / "instances.parquet")
        return info

    instances = store.build("dataset", 2, numbered)
    np.save(tmp_path / "p.npy", POOL)
    np.save(tmp_path / "q.npy", POOL[:3])
    np.save(tmp_path / "ids.npy", np.arange(4, 11))
    section = {name: str(tmp_path / file) for name, file in (
        ("vectors", "p.npy"), ("ids", "ids.npy"), ("query_vectors", "q.npy"))}  # fmt: skip
    artifact = made(own_vectors_spec(instances, Embedding(**section)), store)
    assert np.array_equal(np.load(artifact.path / "vectors.npy")[:7], POOL[::-1])
