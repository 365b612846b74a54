"""A study on a head without cores, whose autoscaler adds the nodes that its trial needs."""

import pytest
import yaml

from tests.jobs.head import Head
from tests.test_study import orchestrate, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HEAD_NODE = "f" * 51 + "00000"  # the fake provider's own
# Nodes are processes of this machine; what follows them are settings of machines in a cloud.
CLUSTER = {
    "cluster_name": "scaled",
    "max_workers": 2,
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True, "head_node_id": HEAD_NODE,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "idle_timeout_minutes": 5,
    "upscaling_speed": 1.0,
    "auth": {},
    "head_node": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaled")
    config = folder / "ray_bootstrap_config.yaml"  # in the home of its user, as `ray up` leaves it
    config.write_text(yaml.safe_dump(CLUSTER))
    settings = {
        "HOME": str(folder),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE,
    }  # fmt: skip
    started = Head(folder, ["--num-cpus=0", f"--autoscaling-config={config}"], settings)
    yield started
    started.stop()


@pytest.fixture
def submit(head, tmp_path):
    def run(workers):
        training = {"global_batch": 6, "learning_rate": 1e-3, "workers": workers, "zero_stage": 2}
        arrangement = {"method": "random", "rows": 24}
        write_study(tmp_path, training=training, arrangement=arrangement, sweep={})
        return orchestrate(
            "submit", "study.yaml", "--output", tmp_path / "shared",
            cwd=tmp_path, env=head.environment(),
        )  # fmt: skip

    return run


def test_more_nodes_than_the_autoscaler_may_add_are_refused(submit):
    done = submit(workers=3)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "needs 3 workers of 1 CPU; the cluster has room for 2" in done.stdout


def test_nodes_that_are_not_there_yet_are_counted_and_come(submit, tmp_path):
    done = submit(workers=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 nodes" not in done.stdout
    assert orchestrate("verify", tmp_path / "shared" / "tiny").returncode == 0
