"""The manifests of Ray on Kubernetes, judged by the fields that KubeRay's definitions have."""

import copy
import json
import shlex
from pathlib import Path

import jsonschema
import pytest
import ray
import typer
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as autoscaling_config,
)

from orchestrator.cli.commands import app
from tests.cluster.reading import FOLDER, documents, node_labels_of_the_readme, parsed

KUBERNETES = FOLDER / "kubernetes"
SCHEMA = json.loads((Path(__file__).parent / "kuberay_schema.json").read_text())


@pytest.fixture
def cluster():
    (manifest,) = documents(KUBERNETES / "raycluster.yaml")
    return manifest


@pytest.fixture
def job():
    (manifest,) = documents(KUBERNETES / "rayjob.yaml")
    return manifest


def pods(spec):
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_kuberay_knows_every_field_of_a_manifest(name):
    (manifest,) = documents(KUBERNETES / name)
    jsonschema.validate(manifest, SCHEMA)
    wrong = copy.deepcopy(manifest)
    spec = wrong["spec"].get("rayClusterSpec", wrong["spec"])
    spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_a_job_runs_on_the_same_cluster_as_the_one_that_stays(cluster, job):
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


@pytest.mark.scenario("ray")
def test_ray_asks_for_a_token_and_is_of_the_version_in_the_image(cluster):
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert cluster["spec"]["rayVersion"] == ray.__version__


@pytest.mark.scenario("ray")
def test_the_dashboard_is_reached_inside_the_cluster_alone(cluster):
    head = cluster["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert "dashboard-host" not in head["rayStartParams"]
    (policy,) = documents(KUBERNETES / "network.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_no_task_is_placed_on_the_head_which_has_no_gpu(cluster):
    head = cluster["spec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (container,) = head["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_every_worker_has_the_gpus_of_its_label_and_time_to_write_a_checkpoint(cluster):
    for group in cluster["spec"]["workerGroupSpecs"]:
        spec = group["template"]["spec"]
        gpus = spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        assert group["labels"]["gpus"] == gpus
        assert spec["terminationGracePeriodSeconds"] >= 120


def test_every_container_is_guaranteed_what_it_may_use(cluster, job):
    templates = [*pods(cluster["spec"]), job["spec"]["submitterPodTemplate"]["spec"]]
    asked = [container["resources"] for spec in templates for container in spec["containers"]]
    for resources in [*asked, cluster["spec"]["autoscalerOptions"]["resources"]]:
        assert resources["requests"] == resources["limits"]


def test_no_container_is_root_or_can_become_it(cluster, job):
    for spec in [*pods(cluster["spec"]), job["spec"]["submitterPodTemplate"]["spec"]]:
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 1000
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_pod_that_hands_out_results_may_only_read_them():
    ((claim,), (pod,)) = (documents(KUBERNETES / f"{name}.yaml") for name in ("storage", "results"))
    spec = pod["spec"]
    assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (container,) = spec["containers"]
    assert container["volumeMounts"] == [
        {"name": "shared", "mountPath": "/shared", "readOnly": True}
    ]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_all_nodes_mount_the_claim_of_storage_at_one_path(cluster):
    (claim,) = documents(KUBERNETES / "storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for spec in pods(cluster["spec"]):
        (volume,) = spec["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = spec["containers"][0]["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": "/shared"}


def test_secrets_are_named_and_given_to_the_head_alone(cluster):
    head, *workers = pods(cluster["spec"])
    assert all("secretKeyRef" in value["valueFrom"] for value in head["containers"][0]["env"])
    assert all("env" not in spec["containers"][0] for spec in workers)


@pytest.fixture
def groups(cluster):
    """What Ray's autoscaler reads from the cluster's own object, which KubeRay lets it ask for."""
    cluster["metadata"]["namespace"] = "orchestrator"
    groups = autoscaling_config(cluster)["available_node_types"]
    del groups["headgroup"]
    return groups


def test_the_autoscaler_starts_pods_with_the_labels_that_the_readme_chooses_by(groups):
    startable = [group["labels"] for group in groups.values() if group["max_workers"]]
    for key, value in node_labels_of_the_readme():
        given = "given" if key == "ray.io/accelerator-type" else value  # the reader's own
        assert any(labels.get(key) == given for labels in startable)


def test_the_autoscaler_knows_how_many_gpus_it_may_add(groups):
    assert {name: group["resources"]["GPU"] for name, group in groups.items()} == {
        "gpu": 1, "gpu-spot": 1, "gpu-8": 8,
    }  # fmt: skip
    most = {name: group["max_workers"] for name, group in groups.items()}
    assert most["gpu"] > most["gpu-spot"] == most["gpu-8"] == 0


def test_pods_are_on_the_kind_of_node_that_their_label_says(cluster):
    gpu, spot, eight = cluster["spec"]["workerGroupSpecs"]
    assert eight["labels"] == gpu["labels"] | {"gpus": "8"}
    assert eight["template"]["spec"]["affinity"] == gpu["template"]["spec"]["affinity"]
    assert gpu["labels"]["ray.io/market-type"] == "on-demand"
    assert spot["labels"]["ray.io/market-type"] == "spot"
    (key,) = spot["template"]["spec"]["nodeSelector"]
    affinity = gpu["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {"key": key, "operator": "DoesNotExist"} in term["matchExpressions"]
    assert spot["template"]["spec"]["affinity"] == {}


def test_the_head_may_ask_for_the_limits_of_the_autoscaler_and_workers_may_not(cluster):
    head, *workers = pods(cluster["spec"])
    assert "automountServiceAccountToken" not in head
    assert "serviceAccountName" not in head  # KubeRay's own, which may read the cluster's object
    assert all(spec["automountServiceAccountToken"] is False for spec in workers)


def test_the_autoscaler_is_the_second_and_spot_pods_are_not_started_unasked(cluster):
    assert cluster["spec"]["enableInTreeAutoscaling"]
    assert cluster["spec"]["autoscalerOptions"]["version"] == "v2"
    gpu, spot, eight = cluster["spec"]["workerGroupSpecs"]
    assert gpu["minReplicas"] >= 1
    for unasked in (spot, eight):
        assert (unasked["minReplicas"], unasked["maxReplicas"]) == (0, 0)
    assert spot["template"]["spec"]["nodeSelector"]


def test_a_job_writes_to_the_shared_storage_and_its_cluster_ends_with_it(job):
    call = parsed(typer.main.get_command(app), shlex.split(job["spec"]["entrypoint"]))
    assert str(call["output"]).startswith("/shared/")
    assert job["spec"]["shutdownAfterJobFinishes"]


def test_a_mistake_in_a_study_is_not_paid_for_twice(job):
    assert job["spec"]["backoffLimit"] == 0
