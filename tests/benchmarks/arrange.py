"""How fast is an exact TMA plan, and against what?

    python tests/benchmarks/arrange.py --pool 55000
    python tests/benchmarks/arrange.py --pool 1300000 --repeats 2 --plain-repeats 1
    python tests/benchmarks/arrange.py --pool 1300000 --scale
    python tests/benchmarks/arrange.py --pool 28000 --rows 10000 --redundancy 1 --dimensions 1024

Three things are timed in turn, in one process, on the same memory-mapped vectors: the plan, a
plain transcription of the authors' procedure (a distance matrix, kept twice; every turn a full
argmin of each query over it, then the turn's rows masked), and one bare float32 GEMM pass, the
least that any exact search must do. The plans must be equal row by row. The vectors are grouped
in tasks, and their components are small multiples of 1/64: float32 sums are then exact, equal
distances are frequent, and the two procedures can be compared without rounding.

`--scale` instead measures 1/4, 1/2 and the whole pool, each in a process of its own: seconds,
and peak memory above the vectors. `--redundancy` measures residual turns and says what a pick took.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.core.arrangements import Request, arrange
from orchestrator.core.units import instances
from orchestrator.stages.search import search

DIMENSIONS = 384
DEPTH = 1024
BLOCK = 8192


def write_vectors(
    path: Path, rows: int, tasks: int, seed: int, dimensions: int = DIMENSIONS
) -> None:
    """Vectors around the centres of tasks, task by task, as (rows, dimensions) float32."""
    rng = np.random.default_rng(seed)
    # Tasks resemble one another in families, as real ones do.
    families = np.random.default_rng(7).normal(size=(100, dimensions))
    centres = families[rng.integers(0, 100, tasks)] + rng.normal(size=(tasks, dimensions))
    task = np.sort(rng.integers(0, tasks, rows))
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, BLOCK):
        part = task[start : start + BLOCK]
        noise = rng.standard_normal((len(part), dimensions), dtype=np.float32)
        out[start : start + BLOCK] = np.clip(np.rint(centres[part] + noise), -3, 3) / 64
    out.flush()


def plan(pool, queries, rows, **options):
    """The plan of `method: tma, selection: nearest`, whole turns until `rows` are reached."""
    units = instances(len(pool))
    request = Request(
        units, units, pool, queries, {"near": search(queries, pool, DEPTH)},
        selection="nearest", order="nearest_first", rows=rows, cut=False, options=options,
    )  # fmt: skip
    return arrange("tma", request).rows


def plain(pool, queries, rows):
    """The paper's procedure as its authors ran it, given one fast product for the distances."""
    distances = pool @ queries.T
    np.negative(distances, out=distances)
    left = distances.copy()  # they keep the first matrix for the other arms
    beyond, chosen = distances.max() + 1, []
    while len(chosen) < min(rows, len(pool)):
        turn = np.unique(left.argmin(axis=0))
        chosen.extend(turn)
        left[turn] = beyond
    return np.array(chosen)


def gemm(pool, queries, rows):
    """One pass of inner products, nothing done with them."""
    out = np.empty((BLOCK, len(queries)), np.float32)
    for start in range(0, len(pool), BLOCK):
        block = pool[start : start + BLOCK]
        np.matmul(block, queries.T, out=out[: len(block)])


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def compare(pool, queries, rows, repeats, plain_repeats):
    for function in (gemm, plan):  # page cache, thread pools
        function(pool, queries, rows)
    seconds = {"plan": [], "plain": [], "gemm": []}
    for repeat in range(repeats):
        seconds["gemm"].append(timed(gemm, pool, queries, rows)[0])
        took, ours = timed(plan, pool, queries, rows)
        seconds["plan"].append(took)
        if repeat < plain_repeats:
            took, theirs = timed(plain, pool, queries, rows)
            seconds["plain"].append(took)
            assert np.array_equal(ours, theirs), "the two plans differ"
    print(f"{len(pool):,} x {len(queries):,} x {DIMENSIONS}, {len(ours):,} rows")
    for name, times in seconds.items():
        shown = ", ".join(f"{t:.2f}" for t in times)
        print(f"  {name:5} median {statistics.median(times or [float('nan')]):8.2f} s  ({shown})")
    over_gemm = [a / b for a, b in zip(seconds["plan"], seconds["gemm"], strict=True)]
    print(f"  plan / gemm: median {statistics.median(over_gemm):.2f}")
    if plain_repeats:
        faster = [b / a for a, b in zip(seconds["plan"], seconds["plain"], strict=False)]
        print(f"  plain / plan: median {statistics.median(faster):.1f}; the plans are equal")


def measure_residual(pool, queries, rows, redundancy):
    """Residual turns over vectors of length one."""
    pool, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (pool, queries))
    before = time.process_time()
    seconds, chosen = timed(lambda: plan(pool, queries, rows, redundancy=redundancy))
    computed = time.process_time() - before
    print(
        f"{len(pool):,} x {len(queries):,} x {pool.shape[1]}, {len(chosen):,} picks: "
        f"{seconds:.1f} s, {1000 * seconds / len(chosen):.2f} ms a pick; of all threads "
        f"{computed:.1f} s, {1000 * computed / len(chosen):.2f} ms"
    )


def measure_alone(folder: Path, rows: int) -> None:
    """Seconds and peak memory of one plan in this fresh process."""
    pool, queries = (np.load(folder / name, mmap_mode="r") for name in ("pool.npy", "queries.npy"))
    gemm(pool, queries, rows)
    seconds, _ = timed(plan, pool, queries, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    above = (peak - pool.nbytes) / 2**20
    print(
        f"  {len(pool):>9,} rows: {seconds:6.2f} s, {above:,.0f} MiB above the vectors", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=55_000)
    parser.add_argument("--queries", type=int, default=1_100)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain-repeats", type=int, default=None, help="default: all")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--redundancy", type=float)
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help="of residual turns")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        measure_alone(given.alone, given.rows)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.redundancy:
            vectors = []
            for seed, rows, tasks in ((1, given.pool, 1_600), (2, given.queries, 225)):
                write_vectors(folder / "made.npy", rows, tasks, seed, given.dimensions)
                vectors.append(np.load(folder / "made.npy"))
            measure_residual(*vectors, given.rows, given.redundancy)
            return
        write_vectors(folder / "queries.npy", given.queries, max(1, given.queries // 5), seed=2)
        sizes = [given.pool // 4, given.pool // 2, given.pool] if given.scale else [given.pool]
        for size in sizes:
            write_vectors(folder / "pool.npy", size, 1_600, seed=1)
            if given.scale:
                command = [sys.executable, __file__, "--alone", scratch, "--rows", str(given.rows)]
                subprocess.run(command, check=True)
            else:
                pool, queries = (
                    np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("pool", "queries")
                )
                plain_repeats = (
                    given.repeats if given.plain_repeats is None else given.plain_repeats
                )
                compare(pool, np.array(queries), given.rows, given.repeats, plain_repeats)


if __name__ == "__main__":
    main()
