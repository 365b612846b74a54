"""The files of Ray's cluster launcher, judged by Ray."""

import copy
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.docker import docker_start_cmds
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray

from tests.cluster.reading import (
    FOLDER,
    commands,
    documents,
    node_labels_of_the_readme,
    page,
    parsed,
    shell,
)

CLOUDS = ["aws", "gcp"]


@pytest.fixture(params=CLOUDS)
def config(request):
    (config,) = documents(FOLDER / request.param / "cluster.yaml")
    return config


def started(config, where):
    lines = "\n".join(config[f"{where}_start_ray_commands"])
    (start,) = [words for words in commands(lines, {"ray"}) if words[1] == "start"]
    return parsed(ray, start)


def test_ray_accepts_the_file_and_would_not_accept_a_key_it_does_not_know(config):
    validate_config(prepare_config(copy.deepcopy(config)))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"idle_timeout": 10}))


@pytest.mark.scenario("ray")
def test_the_dashboard_listens_on_loopback_alone(config):
    head = started(config, "head")
    assert head["head"]
    assert head["dashboard_host"] == "127.0.0.1"


def test_workers_join_the_port_that_the_head_opens(config):
    address = started(config, "worker")["address"]
    assert address == f"$RAY_HEAD_IP:{started(config, 'head')['port']}"


@pytest.mark.scenario("ray")
def test_every_container_asks_for_the_token_that_is_copied_to_it(config):
    given = dict(
        option.removeprefix("--env ").split("=")
        for option in config["docker"]["run_options"]
        if option.startswith("--env ")
    )
    assert given["RAY_AUTH_MODE"] == "token"
    folder, name = given["RAY_AUTH_TOKEN_PATH"].rsplit("/", 1)
    assert folder in config["file_mounts"]
    assert f"{config['file_mounts'][folder]}/{name}" in page()


def test_what_is_copied_is_there_and_where_the_head_and_the_readme_look_for_it(config):
    for folder in config["file_mounts"].values():
        assert folder.startswith("~") or Path(folder).is_dir()
    started = docker_start_cmds(
        "ubuntu", "image", config["file_mounts"], "name", [], config["cluster_name"], "/", "docker"
    )
    (option,) = config["docker"]["head_run_options"]
    secrets, name = option.removeprefix("--env-file ").rsplit("/", 1)
    assert f"-v {secrets}:/run/orchestrator" in started.replace("//", "/")
    assert f"/{name}" in (FOLDER / "secrets.sh").read_text()
    script = f"{secrets.removesuffix('orchestrator')}mlflow/on_head.sh"
    for cloud in CLOUDS:
        assert page(cloud).count(f"--run-env=host 'bash {script}'") == 1


def test_a_type_that_may_be_started_has_each_label_that_the_readme_chooses_by():
    startable = [
        node["labels"]
        for cloud in CLOUDS
        for node in documents(FOLDER / cloud / "cluster.yaml")[0]["available_node_types"].values()
        if node.get("max_workers")
    ]
    for key, value in node_labels_of_the_readme():
        assert any(labels[key] == value for labels in startable)


def test_labels_are_true_and_ray_can_read_them(config):
    types = config["available_node_types"]
    gpu, spot = types["gpu"]["labels"], types["gpu_spot"]["labels"]
    eight = types["gpu_8"]["labels"]
    assert eight == gpu | {"gpus": "8"}
    validate_node_label_syntax(eight)
    assert gpu["ray.io/market-type"] == "on-demand"
    assert spot == gpu | {"ray.io/market-type": "spot"}


def test_every_node_mounts_the_shared_storage_before_its_container_starts(config):
    assert "--volume /shared:/shared" in config["docker"]["run_options"]
    assert any("mount -t nfs" in line for line in config["initialization_commands"])
    assert config["setup_commands"] == config["worker_setup_commands"] == []


def test_studies_are_driven_on_a_machine_without_a_gpu_and_idle_workers_end(config):
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert sum(node.get("max_workers", 0) for node in types.values()) <= config["max_workers"]


def test_spot_machines_are_the_same_machines_and_are_not_started_unasked(config):
    types = config["available_node_types"]
    gpu, spot = types["gpu"], types["gpu_spot"]
    assert spot["max_workers"] == 0
    differing = {
        key
        for key in gpu["node_config"] | spot["node_config"]
        if gpu["node_config"].get(key) != spot["node_config"].get(key)
    }
    assert differing in ({"InstanceMarketOptions"}, {"scheduling"})


def test_a_machine_of_eight_gpus_is_the_same_but_larger_and_is_not_started_unasked(config):
    types = config["available_node_types"]
    gpu, eight = types["gpu"], types["gpu_8"]
    assert eight["max_workers"] == 0
    (kind,) = {
        key for key, value in gpu["node_config"].items() if eight["node_config"][key] != value
    }
    assert kind in ("InstanceType", "machineType")


def test_containers_may_lock_the_memory_that_offload_takes(config):
    assert "--ulimit memlock=-1:-1" in config["docker"]["run_options"]


def test_on_aws_no_node_is_left_to_rays_security_group_which_lets_everybody_try_ssh():
    (config,) = documents(FOLDER / "aws" / "cluster.yaml")
    for node in config["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_on_aws_workers_cannot_start_machines_and_every_role_is_made_by_the_readme():
    (config,) = documents(FOLDER / "aws" / "cluster.yaml")
    readme = shell(page("aws")).replace("\\\n", " ")
    (made,) = re.findall(r"^for role in (.*); do$", readme, re.MULTILINE)
    types = config["available_node_types"]
    roles = {
        name: node["node_config"]["IamInstanceProfile"]["Name"] for name, node in types.items()
    }
    assert set(roles.values()) == set(made.split())
    assert roles["gpu"] == roles["gpu_spot"] == roles["gpu_8"] != roles["head"]
    (allowed,) = re.findall(r"--role-name (\S+) +--policy-arn \S+/AmazonEC2FullAccess", readme)
    assert allowed == roles["head"]
    policy = json.loads((FOLDER / "aws" / "start_workers.json").read_text())
    assert [given["Resource"].rpartition("/")[2] for given in policy["Statement"]] == [roles["gpu"]]


@pytest.mark.parametrize(
    ("image", "registry"),
    [("1.dkr.ecr.us-west-2.amazonaws.com/a/b:1", "1.dkr.ecr.us-west-2.amazonaws.com"),
     ("registry.example.org/team/orchestrator:0.1.0", None)],
)  # fmt: skip
def test_on_aws_docker_logs_in_to_amazons_registry_alone(image, registry, tmp_path):
    (config,) = yaml.safe_load_all(
        (FOLDER / "aws" / "cluster.yaml").read_text().replace("${IMAGE}", image)
    )
    (line,) = [line for line in config["initialization_commands"] if "docker login" in line]
    for program in ("aws", "docker"):
        (tmp_path / program).write_text('#!/bin/sh\necho "$(basename "$0") $*" >> calls\n')
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AWS_REGION": "us-west-2"}
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=environment, check=True)
    calls = tmp_path / "calls"
    made = sorted(calls.read_text().splitlines()) if calls.exists() else []
    assert made == ([] if registry is None else [
        "aws ecr get-login-password --region us-west-2",
        f"docker login --username AWS --password-stdin {registry}",
    ])  # fmt: skip


def test_on_google_cloud_every_node_is_behind_the_firewall_rules_of_the_readme():
    (config,) = documents(FOLDER / "gcp" / "cluster.yaml")
    readme = shell(page("gcp"))
    for node in config["available_node_types"].values():
        (tag,) = node["node_config"]["tags"]["items"]
        assert readme.count(f"--target-tags={tag} ") == 2
