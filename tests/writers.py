"""Every place that writes files of a study, small enough to be disturbed again and again."""

import json
import shutil
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import api, models
from orchestrator.cli.commands import app
from orchestrator.config.arrangement import Arrangement
from orchestrator.models.node_copy import on_this_node
from orchestrator.report.drawing import save_png
from orchestrator.report.figures import Panel
from orchestrator.stages.exports import FORMATS, write_order
from orchestrator.stages.vector_cache import VectorCache
from orchestrator.storage.artifacts import build, write_json
from orchestrator.storage.ledger import append_once
from orchestrator.storage.lock import locked
from orchestrator.storage.sealed import write_sealed
from orchestrator.study.arrays import ArraySettings, arrange_arrays
from orchestrator.training.journal import Journal, read_journal
from orchestrator.training.outcome import mark_finished
from tests.stages.orders import conversation, make_order
from tests.storage.test_ledger import entry

TABLE = pa.table({"step": pa.array(range(9000), pa.int32()), "row": np.arange(9000) ** 2})
DIGESTS = np.array([bytes([n]) * 16 for n in range(1, 200)], "S16")
MOST = 24  # writes, or amounts of room, of one place that are tried
FEW = 3  # of one that takes seconds


def nothing(folder):
    pass


class Writer(NamedTuple):
    """A place that writes.

    Attributes:
        write: called with a folder; called again, it finishes what it left.
        prepare: what is in the folder before.
        tries: how many moments to fail at.
        mapped: whether garbage may keep files mapped that are gone, and so their room.
    """

    write: object
    prepare: object = nothing
    tries: int = MOST
    mapped: bool = False


def artifact(folder):
    def make(into):
        np.save(into / "ids.npy", np.arange(9000))
        pq.write_table(TABLE, into / "table.parquet")

    build(folder, "kind", {"of": "a test"}, make)


def cached_vectors(folder):
    cache, many = VectorCache(folder / "vectors"), np.ones((len(DIGESTS), 64), np.float32)
    if not cache.held(DIGESTS).all():
        cache.add(DIGESTS, many, np.zeros(len(many), bool), np.zeros((len(many), 2), np.int64))
    cache.flush()
    return cache


def gathered_vectors(folder):
    def make(into):
        VectorCache(folder / "vectors").gather(DIGESTS, into / "vectors.npy")

    build(folder, "embeddings", {"of": "a test"}, make)


def journal(folder):
    kept = read_journal(folder)
    writer = Journal(folder, kept_to=len(kept))
    for step in range(len(kept) + 1, 40):
        writer.write("step", step, note="x" * 500)


def result(folder):
    mark_finished(folder, {"losses.parquet": TABLE, "realised.parquet": TABLE}, {"key": "k"}, [])


def ledger(folder):
    append_once(folder, [entry(number) for number in range(40)])


def forecast(folder):
    path = folder / "forecasts" / "distance.json"
    if not path.exists():
        write_sealed(path, {"arms": {str(n): 0.5 for n in range(900)}})


def make_model(folder):
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(bytes(40_000))


def model_copy(folder):
    model = folder / "model"
    on_this_node(model, models.fingerprint(model), str(folder / "disk"))


def make_arrays(folder):
    for name, rows in {"train": 3000, "test": 3}.items():
        np.save(folder / f"{name}.npy", np.random.default_rng(0).random((rows, 4)))


def plan_of_arrays(folder):
    settings = ArraySettings(arrangement=Arrangement(arm="min", rows=2000))
    given = folder / "train.npy", folder / "test.npy"
    arrange_arrays(*given, None, settings, folder / "made" / "plan.parquet", "jsonl")


def plan_from_python(folder):
    rows, ids = np.arange(3000), [str(row) for row in range(3000)]
    plan = api.Plan(rows, rows, rows, np.zeros(3000), rows, ids, [None] * 3000)
    plan.save(folder / "made" / "plan.parquet")


def make_conversations(folder):
    rows = [conversation((f"question {n}", "yes" * 99, True)) for n in range(99)]
    ORDERS.append(make_order(folder, rows, rows=list(range(99))))


def export(form):
    def write(folder):
        order = ORDERS[-1]
        dataset = replace(order.dataset, path=folder)
        write_order(form, replace(order, plan=folder / "plan.parquet", dataset=dataset))

    return write


def make_rows(folder):
    for name in ("train", "test"):
        rows = [{"prompt": f"{name} {n}?", "completion": "it is", "task": name} for n in range(9)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def draft(folder):
    (folder / "study.yaml").unlink(missing_ok=True)  # none is written over
    given = ["--pool", str(folder / "train.jsonl"), "--queries", str(folder / "test.jsonl")]
    told = ["--model", "random:tiny-llama", "--compare", "order"]
    app(["init", str(folder / "study.yaml"), *given, *told], standalone_mode=False)


def figure(folder):
    save_png([Panel("losses", "query", "step", "loss", [])], folder / "losses.png")


def lock(folder):
    with locked(folder):
        pass


ORDERS = []
WRITERS = {
    "run.json": Writer(lambda folder: write_json(folder / "run.json", list(range(5000)))),
    "artifact": Writer(artifact),
    "vectors": Writer(cached_vectors),
    "embeddings": Writer(gathered_vectors, cached_vectors),
    "model": Writer(lambda folder: models.resolve("random:tiny-llama", folder), tries=FEW),
    "model copy": Writer(model_copy, make_model),
    "journal": Writer(journal),
    "result": Writer(result),
    "ledger": Writer(ledger),
    "forecast": Writer(forecast),
    "plan of arrays": Writer(plan_of_arrays, make_arrays, mapped=True),
    "plan from python": Writer(plan_from_python),
    "figure": Writer(figure, tries=FEW),
    "init": Writer(draft, make_rows, tries=FEW),
    "lock": Writer(lock),
    **{f"--format {form}": Writer(export(form), make_conversations) for form in FORMATS},
}


def files(folder):
    """What is in a folder, but for the words of locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def anew(folder, before):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(before, folder)


def check_whole(left, before, after):
    """Each file is what it was or what it becomes; of a journal all lines are whole."""
    assert before.keys() <= left.keys()
    for name, content in left.items():
        begun = name.endswith("journal.jsonl") and after[name].startswith(content)
        assert content in (before.get(name), after.get(name)) or (
            begun and content.endswith((b"", b"\n"))
        ), name


def moments(count, tries):
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, tries))})
