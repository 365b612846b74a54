"""Files are read record by record, in memory that does not grow with them."""

import gzip
import json
import tracemalloc
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.readers import Counts, read
from orchestrator.data.records import brackets, containers, tables
from orchestrator.data.records.files import File
from orchestrator.data.records.record import RecordError
from orchestrator.errors import DataError
from tests.data.conftest import row, source

MIB = 2**20
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=6), values, max_size=4), max_size=6)


def file(path):
    return File(Path(path), Path(path).name)


def read_blocks(blocks):
    return (record for block in blocks for record in block())


@settings(max_examples=60, deadline=None)
@given(objects, st.sampled_from([1, 2, 3, 7, 64]), st.booleans(), st.sampled_from([None, 1]))
def test_an_array_gives_the_objects_of_the_json_module(
    tmp_path_factory, records, size, escape, indent
):
    path = tmp_path_factory.mktemp("array") / "a.json"
    text = json.dumps(records, ensure_ascii=escape, indent=indent)
    path.write_bytes(f" {text}\n".encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brackets, "CHUNK_BYTES", size)
        found = list(read_blocks(containers.array(file(path))))
    assert [record for _, record in found] == records
    raw = path.read_bytes()
    for place, _ in found:
        assert raw[int(str(place).rsplit(" ", 1)[1].replace(",", ""))] == ord("{")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'[{"a": 1}, {"b": "x]', r"ends at byte 20, inside the record that starts at byte 10"),
        (b'[{"a": 1}, {"b": ', r"inside the record that starts at byte 10"),
        (b'[{"a": 1}', r"inside the record that starts at byte 1:"),
        (b'[{"a": 1}}, {"b": 2}]', r"the array ends at byte 10, but not the file"),
        (b'[{"a": 1}] [{"b": 2}]', r"the array ends at byte 10, but not the file"),
    ],
)
def test_an_array_that_cannot_be_read_on_is_refused_with_the_byte(tmp_path, data, said):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=said):
        list(read_blocks(containers.array(file(path))))


def test_bad_syntax_between_the_brackets_of_a_record_costs_that_record_only(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": 1}, {"b": 2], 3, "x,y", {"c" 1}, {"d": "\\"]"}]')
    found = [record for _, record in read_blocks(containers.array(file(path)))]
    assert found[0] == {"a": 1}
    assert found[-1] == {"d": '"]'}
    assert [record.reason for record in found[1:-1]] == [
        "not JSON",
        "not an object",
        "not an object",
        "not JSON",
    ]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_an_archive_that_was_cut_is_refused_with_the_byte(tmp_path, name):
    path = tmp_path / name
    packed = gzip.compress(json.dumps([row(i) for i in range(99)]).encode())
    path.write_bytes(packed[:-30])
    with pytest.raises(DataError, match=rf"{name}: cannot be read after byte [\d,]+: Compressed"):
        list(read_blocks(containers.cut(file(path))))
    path.write_bytes(b"no archive")
    with pytest.raises(
        DataError, match=rf"{name} holds no JSON object, .* begins with 'no archive'"
    ):
        list(read_blocks(containers.cut(file(path))))


@pytest.mark.scenario("bad-bytes")
def test_a_json_file_of_lines_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
    assert [(str(p), r) for p, r in read_blocks(containers.cut(file(path)))] == [
        (f"{path}:1", {"a": 1}),
        (f"{path}:3", {"a": 2}),
    ]
    path.write_bytes(b'\xef\xbb\xbf [{"a": 1}]')
    assert [record for _, record in read_blocks(containers.cut(file(path)))] == [{"a": 1}]


@pytest.mark.scenario("bad-bytes")
def test_rows_of_parquet_that_are_not_utf8_or_too_long_cost_only_themselves(tmp_path):
    bad = pa.array([b"good", b"\xff\xfe", b"x" * 17 * MIB, b"end"], pa.binary()).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": bad}), path)
    found = [record for _, record in read_blocks(containers.cut(file(path)))]
    assert [r.reason if isinstance(r, RecordError) else r["text"] for r in found] == [
        "good",
        "invalid UTF-8",
        "longer than 16 MiB",
        "end",
    ]


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [str(i) * 50 for i in range(9999)]}), path, row_group_size=999)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: no sound Parquet file after row"):
        list(read_blocks(tables.blocks(file(path))))
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: no sound Parquet file after row 0"):
        list(read_blocks(tables.blocks(file(path))))


@pytest.mark.scenario("bad-records", "limits")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_record_that_is_too_long_is_never_held_as_a_whole(write, name):
    path = write(name, [{"a": 1}, {"a": "x" * 64 * MIB}, {"a": 2}])
    tracemalloc.start()
    (_, first), (_, long), (_, last) = read_blocks(containers.cut(file(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (first, long.reason, last) == ({"a": 1}, "longer than 16 MiB", {"a": 2})
    assert peak < 40 * MIB


@pytest.mark.scenario("limits")
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_memory_does_not_grow_with_the_file(write, suffix):
    """60 MB in records of 15 KB: what is held is a block, as text and as a table, and the ids."""
    random = Random(0)
    turns = [("human", lambda: random.randbytes(7500).hex()), ("gpt", lambda: "yes")]
    path = write(
        f"big.{suffix}",
        [{"items": [{"from": who, "value": say()} for who, say in turns]} for _ in range(4000)],
    )
    assert Path(path).stat().st_size > (60e6 if suffix != "parquet" else 30e6)
    before, arrow, number = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for table in read(source("sharegpt", path=path), Counts()):
        number += len(table)
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 4000
    assert peak < 10 * MIB
    assert arrow < 32 * MIB  # half of what the records hold


TEXT = "x" * MIB


def coded(count):
    """A text that comes so many times, and stands once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([TEXT]))


def write_table(path, columns, **options):
    table = pa.table({"id": [str(row) for row in range(len(columns))], "a": columns})
    if path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as arrow:
            arrow.write_table(table)
    else:
        pq.write_table(table, path, compression="zstd", **options)
    return file(path)


@pytest.mark.scenario("limits")
@pytest.mark.parametrize(
    ("name", "column", "options"),
    [
        ("a.parquet", lambda: [TEXT] * 256, {}),
        ("a.parquet", lambda: coded(256), {}),
        ("a.parquet", lambda: pa.ListArray.from_arrays(list(range(257)), coded(256)), {}),
        # Arrow unpacks a page at once.
        ("a.parquet", lambda: [TEXT] * 256, {"use_dictionary": False, "write_batch_size": 8}),
        (
            "a.parquet",
            lambda: [TEXT] * 256,
            {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}},
        ),
        ("a.arrow", lambda: coded(256), {}),
    ],
)
def test_texts_that_are_long_only_when_they_are_unpacked_are_unpacked_by_bytes_and_not_by_rows(
    tmp_path, name, column, options
):
    table = write_table(tmp_path / name, column(), **options)
    assert table.path.stat().st_size < 2 * MIB
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        rows = [row["a"] in (TEXT, [TEXT]) for _, row in read_blocks(tables.blocks(table))]
    finally:
        pa.set_memory_pool(before)
    assert rows == [True] * 256
    assert 0 < pool.max_memory() < 100 * MIB


@pytest.mark.scenario("limits")
def test_a_row_that_would_take_gigabytes_is_refused(tmp_path):
    table = write_table(tmp_path / "a.parquet", pa.ListArray.from_arrays([0, 2000], coded(2000)))
    assert table.path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"a\.parquet: a row of row group 1 may take 2\.0 GiB of"):
        list(read_blocks(tables.blocks(table)))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_column_of_categories_is_read_as_what_it_stands_for(tmp_path, name):
    names = pa.array(["red", "green", None, "red"]).dictionary_encode()
    nested = pa.array([[{"of": "a"}], [], None, [{"of": "b"}]])
    numbers = pa.array([7, 7, 8, 7]).dictionary_encode()
    columns = pa.StructArray.from_arrays([names, nested, numbers], ["name", "nested", "number"])
    rows = [
        row["a"] for _, row in read_blocks(tables.blocks(write_table(tmp_path / name, columns)))
    ]
    assert rows == columns.to_pylist()
