"""A file is what its first bytes say: read where a library can, else named for what it is."""

import bz2
import gzip
import json
import lzma
import os

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data.records import brackets
from orchestrator.errors import DataError
from orchestrator.storage.lfs import SIGNATURE
from tests.data.conftest import contents, read_all, row, source

ROWS = [row(0), row(1, completion='a "quoted" } bracket ]\n\u2028'), row(2)]
LINES = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in ROWS)
POINTER = SIGNATURE + b"v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def gzipped(data):
    """Without the time, which would stand in the names of tests, another one in each process."""
    return gzip.compress(data, mtime=0)


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def arrow(kind):
    table, sink = pa.Table.from_pylist(ROWS), pa.BufferOutputStream()
    with getattr(pa.ipc, f"new_{kind}")(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


def tarred():
    return b"rows.jsonl".ljust(257, b"\0") + b"ustar\0" + bytes(249)


FORMS = {
    "an array": json.dumps(ROWS).encode(),
    "an array over lines": json.dumps(ROWS, indent=1).encode(),
    "objects over lines": "\n".join(json.dumps(each, indent=2) for each in ROWS).encode(),
    "objects on one line": " ".join(json.dumps(each) for each in ROWS).encode(),
    "lines": LINES.encode(),
    "gzip": gzipped(LINES.encode()),
    "gzip in two members": gzipped(LINES[:50].encode()) + gzipped(LINES[50:].encode()),
    "bzip2": bz2.compress(LINES.encode()),
    "xz": lzma.compress(LINES.encode()),
    "zstd": zstd(LINES.encode()),
    "zstd in two frames": zstd(LINES[:50].encode()) + zstd(LINES[50:].encode()),
    "zstd behind a frame to skip": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(LINES.encode()),
    "an array in xz": lzma.compress(json.dumps(ROWS, indent=1).encode()),
    "a mark of UTF-8": b"\xef\xbb\xbf" + LINES.encode(),
    "UTF-16": LINES.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + LINES.encode("utf-16-be"),
    "UTF-16 without a mark": LINES.encode("utf-16-le"),
    "an array in UTF-16": json.dumps(ROWS, indent=1).encode("utf-16"),
    "UTF-16 in gzip": gzipped(LINES.encode("utf-16")),
    "UTF-32": LINES.encode("utf-32"),
    "Parquet": parquet(),
    "an Arrow file": arrow("file"),
    "an Arrow stream": arrow("stream"),
}


@pytest.mark.parametrize("reader", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "name", ["rows.json", "rows.jsonl", "rows.jsonl.gz", "rows.parquet", "rows"]
)
@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_come_from_every_form_under_every_name(tmp_path, form, name, reader):
    (tmp_path / name).write_bytes(FORMS[form])
    found, counts = read_all(source(reader, path=str(tmp_path / name)))
    assert [(i.id, *contents(i)) for i in found] == [
        (each["id"], each["prompt"], each["completion"]) for each in ROWS
    ]
    assert not counts.dropped


@pytest.mark.parametrize("reader", ["sharegpt", "no_robots", "ultrachat", "flan_mini", "p3"])
def test_every_reader_of_files_reads_objects_over_lines(tmp_path, reader):
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    one = {"id": "x", "conversations": turns, "messages": turns, "source": "s", "category": "c"}
    one |= {"inputs_pretokenized": "Q", "targets_pretokenized": "A"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(one, indent=4))
    ((found,), _) = read_all(source(reader, path=str(path)))
    assert contents(found) == ["Q", "A"]


def test_a_task_file_may_be_packed_or_have_a_mark(tmp_path):
    task = {"Definition": ["Say it."], "Instances": [{"id": "x", "input": "in", "output": ["out"]}]}
    text = json.dumps(task)
    (tmp_path / "task1.json").write_text(text, encoding="utf-16")
    (tmp_path / "task2.json.gz").write_bytes(
        gzipped(text.replace('"x"', '"y"').encode("utf-8-sig"))
    )
    found, _ = read_all(source("niv2", path=str(tmp_path)))
    assert [(i.id, i.task) for i in found] == [("x", "task1"), ("y", "task2")]


@pytest.mark.scenario("bad-bytes", "no-pickles")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (POINTER, "is a Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04....", "is a ZIP archive: unpack it"),
        (gzipped(tarred()), "is a tar archive: unpack it"),
        (gzipped(parquet()), "holds Parquet, packed with gzip: unpack it"),
        (gzipped(lzma.compress(b"{}")), "something packed with xz, packed with gzip"),
        (b"\x80\x04\x95", "is a pickle, which can run code"),
        (b"<!DOCTYPE html><html>", "is a web page or XML"),
        (
            b"prompt,completion\nq,a\n",
            r"begins with 'prompt,completion.*alone in a folder, "
            r"named train\.csv, and read by {reader: hf, name: FOLDER",
        ),
        (b"plain words\nand more\n", r"'plain words.*\. Give a file of JSON Lines, JSON, Parquet"),
        (LINES.replace("}\n", "},\n").encode(), r"a comma behind each line, .*type sed 's/,\$//' "),
        (json.dumps({"data": ROWS}).encode(), "the records are a list under data: write the rec"),
        (json.dumps({"version": {"of": 1}, "rows": ROWS}, indent=1).encode(), "a list under rows"),
        (
            json.dumps({"prompt": {"0": "q"}, "completion": {"0": "a"}}).encode(),
            r"each column is one value \(prompt, completion\), as pandas writes",
        ),
        (json.dumps({"prompt": ["q", "r"], "completion": ["a", "b"]}).encode(), "as pandas writes"),
        (b"\x00\x01\x02\x03 something", "holds no JSON object"),
        (LINES.encode("utf-16")[:-1], "cannot be read after byte"),
        (zstd(LINES.encode())[:-5], "cannot be read after byte 0: Truncated"),
        (lzma.compress(LINES.encode())[:-9], "cannot be read after byte"),
        (arrow("file")[:-90], "no sound Arrow file after"),
        (arrow("stream")[:-200], "no sound Arrow stream"),
        (FORMS["objects over lines"][:-5], "inside the record that starts at byte"),
    ],
)
@pytest.mark.parametrize("reader", ["jsonl", "parquet"])
def test_what_cannot_be_read_is_named_and_no_record_is_blamed(tmp_path, reader, data, said):
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=said) as refused:
        read_all(source(reader, path=str(tmp_path / "rows.jsonl")))
    assert "Mend the record" not in str(refused.value)


def test_a_conversation_alone_in_its_file_is_no_list_of_records(tmp_path):
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    (tmp_path / "rows.json").write_text(json.dumps({"messages": turns}))
    fields = {"messages": "messages", "id": None, "task": None}
    made = source("jsonl", path=str(tmp_path / "rows.json"), fields=fields)
    ((found,), _) = read_all(made)
    assert contents(found) == ["Q", "A"]


@pytest.mark.scenario("bad-bytes")
def test_a_file_in_latin_1_is_told_with_what_to_type(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(json.dumps(row(0)).replace("yes", "é").encode("latin1"))
    with pytest.raises(DataError, match=r"invalid UTF-8 .*iconv -f latin1 -t utf-8 FILE"):
        read_all(source("jsonl", path=str(tmp_path / "rows.jsonl")))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            parquet(),
            r"is a table \(Parquet\), where a task file .*or read it with {reader: parquet}",
        ),
        (arrow("file"), r"is a table \(Arrow file\)"),
        (b"id,input\n1,a\n", "holds no JSON, it begins with 'id,input"),
        (b" \n", "is empty: fetch it again, or leave it out"),
    ],
)
def test_a_task_file_of_another_form_is_named_and_no_record_is_blamed(tmp_path, data, said):
    (tmp_path / "task1.json").write_bytes(data)
    with pytest.raises(DataError, match=said) as refused:
        read_all(source("niv2", path=str(tmp_path)))
    assert "Mend the record" not in str(refused.value)


@pytest.mark.parametrize("chunk", [4, 7, 2**18])
def test_an_object_over_lines_that_is_damaged_costs_itself_only(tmp_path, monkeypatch, chunk):
    pretty = [json.dumps(each, indent=2) for each in ROWS]
    pretty[1] = pretty[1].replace(",", " ", 1)
    (tmp_path / "rows.json").write_text("\n".join(pretty))
    made = source("jsonl", path=str(tmp_path / "rows.json"))
    with pytest.raises(DataError, match=r"rows\.json record 2 at byte \d+: not JSON"):
        read_all(made)
    (_, start), *_ = _objects(tmp_path / "rows.json")
    assert start == 0
    monkeypatch.setattr(brackets, "CHUNK_BYTES", chunk)
    found = [item for _, item in brackets.objects((tmp_path / "rows.json").open("rb"), "")]
    assert [item.decode().strip() for item in found] == pretty


def _objects(path):
    with path.open("rb") as stream:
        return [(item, start) for start, item in brackets.objects(stream, path)]


def test_a_first_line_that_is_damaged_is_a_record_with_its_place(tmp_path):
    for first in ("{not json", '"a": 1}', '{"a": 1} trailing', "[1, 2]"):
        (tmp_path / "rows.jsonl").write_text(f"{first}\n{LINES}")
        with pytest.raises(DataError, match=r"rows\.jsonl:1: not"):
            read_all(source("jsonl", path=str(tmp_path / "rows.jsonl")))
        skipping = source("jsonl", path=str(tmp_path / "rows.jsonl"), bad_records="skip")
        assert len(read_all(skipping)[0]) == 3


@pytest.mark.scenario("limits")
def test_what_is_small_only_while_it_is_packed_is_a_record_too_long(tmp_path):
    bomb = json.dumps(row(9, completion="x" * 40_000_000)).encode()
    (tmp_path / "rows.jsonl.xz").write_bytes(lzma.compress(LINES.encode() + bomb + b"\n", preset=0))
    skipping = source("jsonl", path=str(tmp_path), bad_records="skip")
    found, counts = read_all(skipping)
    assert (len(found), counts.dropped) == (3, {"longer than 16 MiB": 1})


@pytest.mark.parametrize("reader", ["hf", "jsonl", "parquet"])
def test_a_data_set_that_was_saved_is_read(tmp_path, reader):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    where = (
        {"name": str(tmp_path / "saved")} if reader == "hf" else {"path": str(tmp_path / "saved")}
    )
    found, _ = read_all(source(reader, **where))
    assert [i.id for i in found] == ["i0", "i1", "i2"]


def test_the_splits_of_a_saved_dictionary_are_told_apart(tmp_path):
    parts = {"train": ROWS[:2], "test": ROWS[2:]}
    saved = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})
    saved.save_to_disk(tmp_path / "saved")
    name = str(tmp_path / "saved")
    assert [i.id for i in read_all(source("hf", name=name))[0]] == ["i0", "i1"]
    assert [i.id for i in read_all(source("hf", name=name, split="test"))[0]] == ["i2"]
    assert [i.id for i in read_all(source("parquet", path=f"{name}/test"))[0]] == ["i2"]
    with pytest.raises(DataError, match="holds no split dev: set split to one of train, test"):
        read_all(source("hf", name=name, split="dev"))
    for reader in ("jsonl", "parquet"):
        with pytest.raises(DataError, match=r"saved holds the splits test, train .*saved/train$"):
            read_all(source(reader, path=name))


def test_one_split_of_the_authors_folders_is_read_as_prompts_and_answers_of_its_tasks(tmp_path):
    made = {split: [{"data": [f"{split}?", "yes"], "task": "t"}] for split in ("train", "test")}
    saved = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in made.items()})
    saved.save_to_disk(tmp_path / "saved")
    fields = {"id": None, "messages": "data"}
    for split in made:
        of = source("hf", name=str(tmp_path / "saved"), split=split, fields=fields)
        ((found,), _) = read_all(of)
        assert (found.id, found.task) == (f"{split}-1", "t")
        assert contents(found) == [f"{split}?", "yes"]


@pytest.mark.parametrize("reader", ["hf", "jsonl", "parquet"])
def test_a_saved_data_set_that_lacks_a_file_is_refused(tmp_path, reader):
    folder = tmp_path / "saved"
    datasets.Dataset.from_list(ROWS).save_to_disk(folder, num_shards=3)
    (folder / "data-00001-of-00003.arrow").unlink()
    where = {"name": str(folder)} if reader == "hf" else {"path": str(folder)}
    with pytest.raises(DataError, match=r"lacks data-00001-of-00003\.arrow, 1 of the 3 files that"):
        read_all(source(reader, **where))


def test_a_pointer_in_a_folder_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(POINTER)
    for made in (source("hf", name=str(tmp_path)), source("parquet", path=str(tmp_path))):
        with pytest.raises(DataError, match=r"train\.parquet is a Git LFS pointer"):
            read_all(made)


def test_arrays_of_numpy_are_named(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros(3))
    os.rename(tmp_path / "rows.npy", tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="is an array of NumPy"):
        read_all(source("jsonl", path=str(tmp_path / "rows.jsonl")))
