"""Simulated nodes on one machine, in a process of their own: what Ray once learnt of tokens stays.

A head without cores, and three nodes with one each. Prints the address; for each line that it
reads it removes a node that trains, and prints on how many nodes there were ranks.
"""

import sys

import psutil
from ray.cluster_utils import Cluster

STORE = 10**8  # bytes of each node's object store


def start(session: str) -> Cluster:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "temp_dir": session, "object_store_memory": STORE,
                        "include_dashboard": True, "dashboard_host": "127.0.0.1"},
    )  # fmt: skip
    for _ in range(3):
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    cluster.wait_for_nodes()
    return cluster


def has_ranks(node) -> bool:
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return any(
        "RayTrainWorker" in " ".join(process.cmdline())
        for process in raylet.children(recursive=True)
    )


def main() -> None:
    cluster = start(sys.argv[1])
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        training = [node for node in cluster.worker_nodes if has_ranks(node)]
        cluster.remove_node(training[0], allow_graceful=False)
        print(len(training), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
