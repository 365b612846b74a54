"""Small real files of every format, and sources that read them."""

import gzip
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from orchestrator.config.sources import Data, Source
from orchestrator.data import dataset
from orchestrator.data.readers import Counts, read
from orchestrator.data.table import instances_of


def source(reader, **options):
    return TypeAdapter(Source).validate_python({"reader": reader, **options})


def read_all(of):
    """The instances of a source, and what was counted."""
    counts = Counts()
    return [instance for table in read(of, counts) for instance in instances_of(table)], counts


def row(number, task="t", prompt=None, completion="yes"):
    prompt = f"question {number}" if prompt is None else prompt
    return {"id": f"i{number}", "task": task, "prompt": prompt, "completion": completion}


def elsewhere(function, items):
    """Calls a function as other processes would: several at once, with what pickle makes of it."""
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(pickle.loads(pickle.dumps(function)), items)


def contents(instance):
    return [message["content"] for message in instance.messages]


@pytest.fixture
def write(tmp_path):
    """Writes records as the suffix of the name says; bytes as they are. Returns the path."""

    def make(name, records):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
            return str(path)
        items = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        lines = ".jsonl" in name
        data = b"\n".join(items) + b"\n" if lines else b"[" + b",\n ".join(items) + b"]"
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return make


@pytest.fixture
def jsonl(write):
    def make(records, name="rows.jsonl", **options):
        return source("jsonl", path=write(name, records), **options)

    return make


@pytest.fixture
def make(write, tmp_path):
    """Writes the data set of a pool, beside a query set; returns its data, table and info."""
    query = {"reader": "jsonl", "path": write("query.jsonl", [row(1, "q", "what is asked")])}

    def made(pool, folder="made", mapped=map, **data):
        given = Data.model_validate({"pool": pool, "query": query} | data)
        (tmp_path / folder).mkdir()
        info = dataset.write(given, tmp_path / folder, mapped)
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["instances.parquet"]
        return given, pq.read_table(tmp_path / folder / "instances.parquet"), info

    return made
