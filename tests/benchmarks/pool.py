"""How long a pool of JSON Lines takes to become a plan, and what each process holds meanwhile.

    python tests/benchmarks/pool.py
    python tests/benchmarks/pool.py --rows 300000 --nodes 2
    python tests/benchmarks/pool.py --rows 300000 3000000 --only dataset
    python tests/benchmarks/pool.py --rows 300000 1000000 --only dataset --mixture

Rows of about 360 bytes are made up, 1,600 tasks of them, beside 1,000 query items; the models are
`random:tiny-bert` and `random:tiny-llama`, which cost next to nothing, so that what is left is
reading, checking, tokenising and handing over. Each size runs in a process of its own with an empty
store: on this machine, where data is read before Ray starts, or with `--nodes` on so many simulated
nodes of a core each beside a head without one.

Memory is the highest seen of what a process holds for itself, without mapped files and shared
memory; of processes of one kind the highest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import yaml

SIZES = [300_000, 1_000_000, 3_000_000]
TASKS, QUERIES = 1_600, 1_000
READ = 32  # tokens of a text that the encoder reads: its arithmetic is not what is looked at
STORE = 10**8  # bytes of each node's object store
SAMPLED_SECONDS = 0.25
KINDS = {"spawn_main": "pool process", "resource_tracker": "tracker", "ray::": "Ray worker"}


def write_rows(path: Path, name: str, rows: int) -> None:
    """Rows of made-up sentences, each with its number, so that no two are alike."""
    rng = random.Random(name)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 10))) for _ in range(20_000)]
    said = [" ".join(rng.choices(words, k=rng.randint(6, 14))) for _ in range(50_000)]
    with path.open("w") as file:
        for row in range(rows):
            *asked, answer = rng.choices(said, k=4)
            record = {
                "id": f"{name}-{row}",
                "task": f"{name}-{row % TASKS}",
                "prompt": f"{row}: {'. '.join(asked)}?",
                "completion": f"{answer}.",
            }
            file.write(json.dumps(record) + "\n")


def study_file(folder: Path, mixture: bool) -> Path:
    def source(name: str, **more: object) -> dict[str, object]:
        return {"reader": "jsonl", "path": str(folder / f"{name}.jsonl")} | more

    data: dict[str, object] = {"pool": source("pool"), "query": source("query")}
    if mixture:  # the same file twice, of which 9 rows in 10 are drawn and a thousandth held out
        data["pool"] = [
            source("pool", source="even", weight=1, tasks={"include": ["*[02468]"]}),
            source("pool", source="odd", weight=0.8, tasks={"exclude": ["*[02468]"]}),
        ]
        data["held_out"] = {"from": "pool", "fraction": 0.001}
    study = {
        "study": "pool",
        "output": str(folder / "outputs"),
        "data": data,
        "embedding": {"model": "random:tiny-bert", "max_length": READ},
        "arrangement": {"method": "tma", "selection": "nearest", "rows": 10_000},
        "model": {"name": "random:tiny-llama"},
        "evaluation": {"measures": False},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


class Memory:
    """The highest memory of this process and of those below it and below another one, in MiB."""

    def __init__(self, other: int | None) -> None:
        self.highest: defaultdict[str, float] = defaultdict(float)
        self._roots = [psutil.Process(pid) for pid in {os.getpid(), other or os.getpid()}]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLED_SECONDS):
            self._note("driver", os.getpid())
            for root in self._roots:
                for process in root.children(recursive=True):
                    try:
                        command = " ".join(process.cmdline())
                    except psutil.Error:
                        continue
                    kinds = (kind for part, kind in KINDS.items() if part in command)
                    self._note(next(kinds, "Ray itself"), process.pid)

    def _note(self, kind: str, pid: int) -> None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        held = [int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line]
        self.highest[kind] = max([self.highest[kind], *(size / 1024 for size in held)])


def measure_alone(folder: Path, only: str | None, other: int | None, mixture: bool) -> None:
    """Seconds by stage and memory by process of one study in this fresh process."""
    from orchestrator.config import load_study
    from orchestrator.config.layout import Layout
    from orchestrator.screen import Screen, quiet_streams
    from orchestrator.study.cluster import cluster, threads
    from orchestrator.study.fleet import joins
    from orchestrator.study.pipeline import Pipeline
    from orchestrator.trials import expand

    study = load_study(study_file(folder, mixture))
    trials = expand(study)
    began = time.monotonic()
    with quiet_streams(folder / "log") as console, Memory(other) as memory:
        pipeline = Pipeline(Layout.of(study), Screen(console))
        if not joins():
            pipeline.read_data(trials)
        if joins() or only != "dataset":
            started = time.monotonic()
            with cluster(threads(study, trials)):
                seconds = time.monotonic() - started
                pipeline.shared.stages.append({"name": "Ray starts", "seconds": seconds})
                pipeline.read_data(trials)
                if only != "dataset":
                    configs = [trial.config for trial in trials]
                    with pipeline.fetching_models(configs, training=True):
                        pipeline.prepare(trials)
    whole = time.monotonic() - began
    for stage in pipeline.shared.stages:
        print(f"  {stage['name']:30} {stage['seconds']:8.1f} s")
    print(f"  {'all':30} {whole:8.1f} s")
    for kind, size in memory.highest.items():
        print(f"  {kind:30} {size:8,.0f} MiB")


def serve(session: str, nodes: int) -> None:
    """Simulated nodes, until the end of the standard input; prints their address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "temp_dir": session,
            "object_store_memory": STORE,
            "include_dashboard": False,
        },
    )
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


def measure(rows: int, nodes: int, only: str | None, mixture: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="pool-") as scratch:
        folder = Path(scratch)
        for name, count in {"pool": rows, "query": QUERIES}.items():
            write_rows(folder / f"{name}.jsonl", name, count)
        size = (folder / "pool.jsonl").stat().st_size / 1e6
        where = f"{nodes} simulated nodes" if nodes else "this machine"
        print(f"{rows:,} rows, {size:,.0f} MB, {where}", flush=True)
        command = [sys.executable, __file__, "--alone", scratch, "--only", only or "plan"]
        command += ["--mixture"] * mixture
        if not nodes:
            subprocess.run(command, check=True)
            return
        (folder / "token").write_text(secrets.token_hex(32))
        settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        environment = os.environ | settings
        with subprocess.Popen(
            [sys.executable, __file__, "--serve", str(folder / "ray"), "--nodes", str(nodes)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as cluster:  # fmt: skip
            address = cluster.stdout.readline().strip()
            command += ["--other", str(cluster.pid)]
            subprocess.run(command, check=True, env=environment | {"RAY_ADDRESS": address})
            cluster.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--nodes", type=int, default=0, help="simulated ones; 0: this machine")
    parser.add_argument("--only", choices=["dataset", "plan"], help="dataset: stop behind it")
    parser.add_argument("--mixture", action="store_true", help="two sources, and a hold-out")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--other", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.nodes)
    elif given.alone:
        measure_alone(given.alone, given.only, given.other, given.mixture)
    else:
        for rows in given.rows:
            measure(rows, given.nodes, given.only, given.mixture)


if __name__ == "__main__":
    main()
