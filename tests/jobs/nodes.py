"""Simulated nodes on one machine, in a process of their own: what Ray once learnt of tokens stays.

A head without cores, three nodes with the label `use: train` and one without, a core each. Prints
the address; for each line that it reads it removes a node that trains, and prints as JSON on which
nodes there were ranks, and on which the processes that drive them.
"""

import json
import sys
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.ports import free_ports

STORE = 10**8  # bytes of each node's object store
LABELS = [{"use": "train"}, {}, {"use": "train"}, {"use": "train"}]
DRIVING = ("ImplicitFunc", "TrainController")  # Ray Tune's trial, and Ray Train's gang


def start(session: str) -> tuple[Cluster, dict[Any, Any]]:
    """The cluster, and its nodes: the head by that name, the others by their place in `LABELS`."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "temp_dir": session, "object_store_memory": STORE,
                        "include_dashboard": True, "dashboard_host": "127.0.0.1",
                        "dashboard_port": free_ports(1)[0]},
    )  # fmt: skip
    nodes: dict[Any, Any] = {"head": cluster.head_node}
    for place, labels in enumerate(LABELS):
        nodes[place] = cluster.add_node(num_cpus=1, object_store_memory=STORE, labels=labels)
    cluster.wait_for_nodes()
    return cluster, nodes


def processes_of(node) -> list[str]:
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [" ".join(process.cmdline()) for process in raylet.children(recursive=True)]


def main() -> None:
    cluster, nodes = start(sys.argv[1])
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        run = {name: " ".join(processes_of(node)) for name, node in nodes.items()}
        ranks = [name for name, text in run.items() if "RayTrainWorker" in text]
        driving = [name for name, text in run.items() if any(part in text for part in DRIVING)]
        cluster.remove_node(nodes.pop(ranks[0]), allow_graceful=False)
        print(json.dumps({"ranks": ranks, "driving": driving}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
