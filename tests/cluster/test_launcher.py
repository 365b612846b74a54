"""The files of Ray's cluster launcher, judged by Ray."""

import copy

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray

from tests.cluster.reading import FOLDER, commands, documents, parsed

CLOUDS = ["aws", "gcp"]


@pytest.fixture(params=CLOUDS)
def config(request):
    (config,) = documents(FOLDER / f"{request.param}.yaml")
    return config


def started(config, where):
    lines = "\n".join(config[f"{where}_start_ray_commands"])
    (start,) = [words for words in commands(lines, {"ray"}) if words[1] == "start"]
    return parsed(ray, start)


def test_ray_accepts_the_file_and_would_not_accept_a_key_it_does_not_know(config):
    validate_config(prepare_config(copy.deepcopy(config)))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"idle_timeout": 10}))


def test_the_dashboard_listens_on_loopback_alone(config):
    head = started(config, "head")
    assert head["head"]
    assert head["dashboard_host"] == "127.0.0.1"


def test_workers_join_the_port_that_the_head_opens(config):
    address = started(config, "worker")["address"]
    assert address == f"$RAY_HEAD_IP:{started(config, 'head')['port']}"


def test_every_container_asks_for_the_token_that_is_copied_to_it(config):
    given = dict(
        option.removeprefix("--env ").split("=")
        for option in config["docker"]["run_options"]
        if option.startswith("--env ")
    )
    assert given["RAY_AUTH_MODE"] == "token"
    folder, name = given["RAY_AUTH_TOKEN_PATH"].rsplit("/", 1)
    assert folder in config["file_mounts"]
    assert f"{config['file_mounts'][folder]}/{name}" in (FOLDER / "README.md").read_text()


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


def test_on_aws_no_node_is_left_to_rays_security_group_which_lets_everybody_try_ssh():
    (config,) = documents(FOLDER / "aws.yaml")
    for node in config["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_on_google_cloud_every_node_is_behind_the_firewall_rules_of_the_readme():
    (config,) = documents(FOLDER / "gcp.yaml")
    readme = (FOLDER / "README.md").read_text()
    for node in config["available_node_types"].values():
        (tag,) = node["node_config"]["tags"]["items"]
        assert readme.count(f"--target-tags={tag} ") == 2
