"""Work on equal stretches of rows as Ray Data tasks; each writes its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.config.schema import Neighbours
from orchestrator.host.share import cores


def map_shards(
    rows: int, neighbours: Neighbours, work: Callable[[int, int], None]
) -> Iterator[int]:
    """Call `work(start, stop)` for each stretch of rows, on the cluster.

    Args:
        rows: of all stretches together.
        neighbours: rows of a stretch, and tasks at a time; those of one node share its cores.
        work: pickled to the tasks.

    Yields:
        How many stretches are done.
    """
    import faiss
    import ray.data  # here: an estimate, which imports the stages for their keys, needs no Ray

    workers = neighbours.workers
    shard_rows = neighbours.shard_rows or -(-rows // workers)
    nodes = sum(node["Alive"] for node in ray.nodes())
    on_a_node = -(-workers // nodes)

    def run(item: dict[str, int]) -> dict[str, int]:
        faiss.omp_set_num_threads(max(1, cores() // on_a_node))
        work(item["start"], min(item["start"] + shard_rows, rows))
        return item

    starts = [{"start": start} for start in range(0, rows, shard_rows)]
    dataset = ray.data.from_items(starts, override_num_blocks=len(starts))
    mapped = dataset.map(run, compute=ray.data.TaskPoolStrategy(size=workers))
    for done, _ in enumerate(mapped.iter_rows(), start=1):
        yield done
