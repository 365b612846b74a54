"""Work on equal stretches of rows as Ray Data tasks; each writes its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.config.schema import Neighbours
from orchestrator.errors import ResourceError
from orchestrator.host.share import cores
from orchestrator.stages.memory import lacking_memory

RETRIES = 3  # of a stretch whose process dies


def map_shards(
    rows: int, neighbours: Neighbours, work: Callable[[int, int], None]
) -> Iterator[int]:
    """Call `work(start, stop)` for each stretch of rows, on the cluster.

    Args:
        rows: of all stretches together.
        neighbours: rows of a stretch, and tasks at a time; those of one node share its cores.
        work: pickled to the tasks; writes its file anew where it is called again.

    Yields:
        How many stretches are done.

    Raises:
        ResourceError: memory runs out in a task, or its process dies again and again.
    """
    import faiss
    import ray.data  # here: an estimate, which imports the stages for their keys, needs no Ray
    from ray.exceptions import RayError

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
    mapped = dataset.map(
        run,
        compute=ray.data.TaskPoolStrategy(size=workers),
        max_retries=RETRIES,  # else Ray Data begins it again for ever
    )
    try:
        for done, _ in enumerate(mapped.iter_rows(), start=1):
            yield done
    except RayError as error:
        if (why := lacking_memory(error)) is None:
            raise
        fewer = f", or neighbours.workers below {workers}" if workers > 1 else ""
        raise ResourceError(
            f"{why}, while neighbours were looked for among {shard_rows:,} rows at once: set "
            f"neighbours.shard_rows to {-(-shard_rows // 2):,} or fewer{fewer}"
        ) from error
