"""A cluster of several nodes on one machine: trials over two of them, and one that is lost."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile

import pyarrow.parquet as pq
import pytest

from tests.jobs.nodes import LABELS
from tests.studies import COMMAND, orchestrate, write_study
from tests.study.undisturbed import train_undisturbed
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 60
STUDY = {
    "arrangement": {"method": "random", "rows": 4 * STEPS},
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 6},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "training": {
        "global_batch": 4, "learning_rate": 1e-3, "workers": 2, "zero_stage": 2,
        "checkpoint": {"every": 5}, "node_labels": {"use": "train"},
    },
    "evaluation": {"every": 20, "measures": False},
    "sweep": {"failure_retries": 2},
}  # fmt: skip


class Nodes:
    """`nodes.py`, and how to use its cluster."""

    def __init__(self, folder):
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        # Ray's sockets lie below it, and their paths may have 107 characters.
        self.session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        with (folder / "nodes.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.nodes", self.session],
                env=os.environ | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip
        address = self.process.stdout.readline().strip()
        assert address, (folder / "nodes.log").read_text()
        self.environment = os.environ | settings | {"RAY_ADDRESS": address}

    def remove(self):
        """Remove a node that trains; the nodes of the ranks, and of what drives them."""
        self.process.stdin.write("remove\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return found["ranks"], found["driving"]

    def stop(self):
        self.process.communicate(timeout=PATIENCE)
        shutil.rmtree(self.session, ignore_errors=True)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    started = Nodes(tmp_path_factory.mktemp("nodes"))
    yield started
    started.stop()


def losses(study):
    (path,) = study.glob("trials/*/losses.parquet")
    return pq.read_table(path)


@pytest.mark.scenario("node-loss")
def test_a_trial_over_two_nodes_that_loses_one_ends_as_if_it_had_not(nodes, tmp_path):
    path = write_study(tmp_path, **STUDY)
    output = tmp_path / "disturbed"
    with (tmp_path / "run.log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "run", str(path), "--output", str(output)],
            env=nodes.environment, stdout=log, stderr=log,
        )  # fmt: skip
    trials = output / "tiny" / "trials"
    wait_until(lambda: list(trials.glob("*/checkpoints/step-*")), process, tmp_path / "run.log")
    ranks, driving = nodes.remove()
    assert len(ranks) == 2
    assert all(LABELS[node] == {"use": "train"} for node in ranks), "the nodes that it asks for"
    assert driving == ["head"], "no node that computes holds what waits"
    assert process.wait(PATIENCE) == 0, (tmp_path / "run.log").read_text()
    told = (tmp_path / "run.log").read_text()
    assert "5 nodes, 4 CPUs" in told
    # As a node tells it, which has room for one rank: this machine would have it for both.
    (room,) = re.findall(r"the host has [\d.]+ GB(.*) \(", told)
    assert "ranks" not in room

    (journal,) = trials.glob("*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert "resume" in {event["event"] for event in events}
    train_undisturbed(path, tmp_path / "alone", output / "store")
    assert losses(output / "tiny").equals(losses(tmp_path / "alone" / "tiny"))
    assert orchestrate("verify", output / "tiny").returncode == 0


def test_results_that_another_node_cannot_see_are_refused_before_anything_starts(nodes, tmp_path):
    """The driver has a file system of its own where the results are to be, as on two machines."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = 'mount -t tmpfs none "$0" && "$@"; code=$?; find "$0" -name "*.parquet"; exit $code'
    apart = ["unshare", "--mount", "sh", "-c", script, str(hidden)]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a private mount needs root")
    path = write_study(tmp_path, **STUDY)
    refused = subprocess.run(
        [*apart, *COMMAND, "run", str(path), "--output", str(hidden)],
        env=nodes.environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"does not see {hidden}" in refused.stderr
    assert ".parquet" not in refused.stdout, "no data was read, nothing was planned"
