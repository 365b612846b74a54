"""The MLflow servers: Docker Compose on one machine, and on Kubernetes."""

import re
from configparser import ConfigParser

import pytest
from mlflow.cli import cli as mlflow
from mlflow.version import VERSION

from tests.cluster.reading import FOLDER, documents, parsed

COMPOSE = FOLDER / "mlflow" / "compose.yaml"
EXAMPLE = FOLDER / "mlflow" / ".env.example"
README = (FOLDER / "README.md").read_text()


@pytest.fixture
def services():
    (compose,) = documents(COMPOSE)
    return compose["services"]


@pytest.fixture
def objects():
    found = documents(FOLDER / "kuberay" / "mlflow.yaml")
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


def pod(objects, kind, name):
    return objects[kind, name]["spec"]["template"]["spec"]


def test_compose_refuses_to_start_while_a_value_of_the_example_is_unset():
    used = re.findall(r"\$\{(\w+)(:?[?-]?)", COMPOSE.read_text())
    refused = {name for name, operator in used if operator == ":?"}
    defaults = {name for name, operator in used if operator != ":?"}
    example = dict(line.split("=", 1) for line in EXAMPLE.read_text().splitlines()[1:])
    assert refused == set(example)
    assert set(example.values()) == {""}
    assert defaults == {"ALLOWED_HOSTS"}


def test_the_readme_fills_in_every_value_of_the_example():
    for line in EXAMPLE.read_text().splitlines()[1:]:
        assert re.search(rf"\b{line.rstrip('=')}\b", README)
    assert ".env" in (FOLDER / "mlflow" / ".gitignore").read_text().splitlines()


def test_only_mlflow_is_published_and_only_on_loopback(services):
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert "ports" not in services["postgres"]
    (compose,) = documents(COMPOSE)
    assert services["postgres"]["networks"] == ["database"]
    assert compose["networks"]["database"] == {"internal": True}


def calls(services, objects):
    return [
        services["mlflow"]["command"],
        pod(objects, "Deployment", "mlflow")["containers"][0]["args"],
    ]


def test_mlflow_knows_every_option_and_asks_its_callers_who_they_are(services, objects):
    for call in calls(services, objects):
        options = parsed(mlflow, call)
        assert options["app_name"] == "basic-auth"
        assert options["allowed_hosts"]
        assert "*" not in options["allowed_hosts"].split(",")


def test_no_password_is_an_argument_or_part_of_an_address(services, objects):
    container = pod(objects, "Deployment", "mlflow")["containers"][0]
    plain = {entry["name"]: entry.get("value") for entry in container["env"]}
    for addresses in (services["mlflow"]["environment"], plain):
        assert addresses["MLFLOW_BACKEND_STORE_URI"] == "postgresql://mlflow@postgres:5432/mlflow"
        assert addresses["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    for call in calls(services, objects):
        assert not re.search("pass|secret|key", " ".join(call), re.IGNORECASE)
    named = {name for name in plain if re.search("PASSWORD|SECRET|USERNAME", name)}
    assert named
    assert all(plain[name] is None for name in named)


def test_users_are_kept_in_the_database_and_may_only_read_by_default(objects):
    (compose,) = documents(COMPOSE)
    for text in (
        compose["configs"]["users"]["content"],
        objects["ConfigMap", "mlflow"]["data"]["basic_auth.ini"],
    ):
        users = ConfigParser()
        users.read_string(text)
        assert users["mlflow"]["default_permission"] == "READ"
        assert users["mlflow"]["database_uri"].startswith("postgresql://mlflow@postgres")
        assert "admin_password" not in users["mlflow"]


def test_the_readme_makes_every_key_of_the_secret_that_is_read(objects):
    (line,) = [line for line in README.splitlines() if "secret generic mlflow" in line]
    made = set(re.findall(r"--from-literal=([\w-]+)=", line))
    read = {
        entry["valueFrom"]["secretKeyRef"]["key"]
        for kind, name in (("Deployment", "mlflow"), ("StatefulSet", "postgres"))
        for entry in pod(objects, kind, name)["containers"][0]["env"]
        if "valueFrom" in entry
    }
    assert read == made


def test_services_stay_inside_the_cluster_and_policies_name_the_pods(objects):
    for name, kind, source in (
        ("mlflow", "Deployment", {"ray.io/is-ray-node": "yes"}),
        ("postgres", "StatefulSet", {"app": "mlflow"}),
    ):
        labels = objects[kind, name]["spec"]["template"]["metadata"]["labels"]
        service = objects["Service", name]["spec"]
        policy = objects["NetworkPolicy", name]["spec"]
        assert service["type"] == "ClusterIP"
        assert labels == service["selector"] == policy["podSelector"]["matchLabels"]
        (rule,) = policy["ingress"]
        (allowed,) = rule["from"]
        assert allowed["podSelector"]["matchLabels"] == source
        assert [port["port"] for port in rule["ports"]] == [service["ports"][0]["port"]]


def test_the_server_is_of_the_version_that_studies_speak(services, objects):
    image = pod(objects, "Deployment", "mlflow")["containers"][0]["image"]
    assert image == services["mlflow"]["image"]
    assert image.endswith(f":v{VERSION}-full")


def test_no_container_is_root_or_can_become_it(services, objects):
    for kind, name in (("Deployment", "mlflow"), ("StatefulSet", "postgres")):
        spec = pod(objects, kind, name)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        security = spec["containers"][0]["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        resources = spec["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
    for service in services.values():
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["mlflow"]["user"] == "1000:1000"
