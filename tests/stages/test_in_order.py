"""Data that several processes read in blocks is the data that one reads in one piece."""

import gzip
import json
import os
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from orchestrator import models
from orchestrator.config.sources import Data
from orchestrator.data import dataset
from orchestrator.data.records import containers
from orchestrator.errors import DataError, ResourceError
from orchestrator.host.share import cores
from orchestrator.stages.in_order import AHEAD, in_order
from orchestrator.training import tokens

ROWS = 2_000


@pytest.fixture(scope="module", params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def spread(request):
    """Works on the first item here and on all others in processes, or in tasks of Ray."""
    if request.param == "ray":
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield partial(in_order, here=1)
    ray.shutdown()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(containers, "BLOCK_BYTES", 9_000)  # some hundred rows


def line(number):
    """A row; one of each fifty has something odd to it."""
    row = {"id": f"i{number}", "task": f"t{number % 7}", "prompt": f"What is {number}?"}
    odd = {
        7: {"id": f"i{number // 3}"},
        11: {"prompt": "WHAT  is it"},
        13: {"prompt": " "},
        17: {"source": "web"},
        19: {"train": False},
        23: {"task": "other"},
    }
    return json.dumps({**row, "completion": "é " * (number % 90 + 1), **odd.get(number % 50, {})})


def data_of(folder, lines, **options):
    """A pool of lines, and a query set that three rows of it are of."""
    (folder / "pool.jsonl").write_text("\n".join(lines) + "\n")
    query = {"id": "q", "task": "other", "prompt": "what is it?", "completion": "so"}
    (folder / "query.jsonl").write_text(json.dumps(query))
    pool = {"reader": "jsonl", "path": str(folder / "pool.jsonl"), **options}
    query = {"reader": "jsonl", "path": str(folder / "query.jsonl")}
    return Data.model_validate({"pool": pool, "query": query, "leakage": "drop"})


def written(data, folder, *in_order):
    info = dataset.write(data, folder, *in_order)
    return info, (folder / "instances.parquet").read_bytes()


@pytest.mark.parametrize(
    "options", [{}, {"max_per_task": 40}, {"max_per_task": 40, "seed": 3}, {"max_chars": 90}]
)
def test_a_dataset_made_in_blocks_is_that_made_in_one_piece_byte_for_byte(
    tmp_path, monkeypatch, spread, options
):
    data = data_of(tmp_path, map(line, range(ROWS)), bad_records="skip", **options)
    whole = written(data, tmp_path)
    dropped = whole[0]["splits"]["pool"]["dropped"]
    assert {"id comes twice", "prompt is empty", "marked train: false"} <= dropped.keys()
    monkeypatch.setattr(containers, "BLOCK_BYTES", 9_000)
    assert written(data, tmp_path, spread) == whole


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("packed", [False, True])
def test_the_first_of_all_faults_is_told_with_its_line_though_its_block_is_a_late_one(
    tmp_path, spread, packed
):
    lines = [json.dumps({**json.loads(line(n)), "id": f"{n}", "prompt": "q"}) for n in range(ROWS)]
    lines[1_800] = "{"
    lines[1_801] = lines[3]
    data = data_of(tmp_path, lines)
    if packed:  # and the archive was cut: what cannot be read on comes behind what can
        path = tmp_path / "pool.jsonl.gz"
        path.write_bytes(gzip.compress((tmp_path / "pool.jsonl").read_bytes())[:-30])
        data = data.model_copy(update={"pool": data.pool.model_copy(update={"path": str(path)})})
    with pytest.raises(DataError, match=r"pool\.jsonl(\.gz)?:1801: not JSON"):
        dataset.write(data, tmp_path, spread)


@pytest.mark.usefixtures("small_blocks")
def test_an_id_that_comes_again_in_another_block_is_refused_where_it_comes_again(tmp_path, spread):
    lines = [json.dumps({**json.loads(line(n)), "id": f"{n}", "prompt": "q"}) for n in range(ROWS)]
    lines[1_700] = lines[5]
    data = data_of(tmp_path, lines)
    with pytest.raises(DataError, match=r"pool\.jsonl:1701: id comes twice \('5'\)"):
        dataset.write(data, tmp_path, spread)


def test_tokens_of_parts_made_by_several_processes_are_those_made_here(tmp_path, spread, store):
    data = data_of(tmp_path, map(line, range(ROWS)), bad_records="skip")
    dataset.write(data, tmp_path)
    model = models.resolve("random:tiny-llama", Path(store))
    tokeniser = tokens.Tokeniser(tmp_path, model, "user_assistant", 40)

    def written(name, in_order, rows):
        folder = tmp_path / name
        folder.mkdir()
        info = tokens.write(in_order(tokeniser, dataset.parts(tmp_path, rows)), folder)
        return info, [path.read_bytes() for path in sorted(folder.iterdir())]

    whole = written("whole", map, 9_000)
    assert whole[0]["proved"] == whole[0]["instances"] > whole[0]["cut"] > 0
    assert written("parts", spread, 150) == whole


def test_a_table_of_the_test_sets_has_their_rows_at_their_places_and_none_of_the_pool(
    tmp_path, store
):
    dataset.write(data_of(tmp_path, map(line, range(ROWS)), bad_records="skip"), tmp_path)
    splits = pq.read_table(tmp_path / "instances.parquet", columns=["split"])["split"].to_pylist()
    pool = splits.count("pool")
    model = models.resolve("random:tiny-llama", Path(store))
    made = {}
    for name, skipped in {"all": 0, "tests": pool}.items():
        (tmp_path / name).mkdir()
        tokeniser = tokens.Tokeniser(tmp_path, model, "user_assistant", 30)
        parts = dataset.parts(tmp_path, 150, skipped)
        info = tokens.write(map(tokeniser, parts), tmp_path / name, skipped=skipped)
        assert info["instances"] == len(splits) - skipped
        made[name] = tokens.load(tmp_path / name)
    assert not made["tests"].lengths[:pool].any()
    assert (made["tests"].lengths[pool:] == made["all"].lengths[pool:]).all()
    start = made["all"].starts[pool]
    assert made["tests"].ids.tolist() == made["all"].ids[start:].tolist()
    assert made["tests"].answer.tolist() == made["all"].answer[start:].tolist()


@pytest.mark.usefixtures("spread")  # Ray runs, or does not
def test_a_process_that_dies_is_told_in_a_sentence():
    with pytest.raises(ResourceError, match=r"a process .* died, most likely .* out of memory"):
        list(in_order(os._exit, [1], here=0))


def test_no_more_items_are_taken_than_are_under_way(spread):
    taken = []

    def items():
        for number in range(600):
            taken.append(number)
            yield number

    results = spread(str, items())
    for done, result in enumerate(results):
        assert result == str(done)
        assert len(taken) <= done + 1 + AHEAD * max(2, cores())
