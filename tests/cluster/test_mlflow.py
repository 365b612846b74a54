"""The MLflow servers: Docker Compose on one machine, and on Kubernetes."""

import json
import re
import shutil
import stat
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from mlflow.cli import cli as mlflow
from mlflow.environment_variables import MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_USERNAME
from mlflow.version import VERSION

from tests.cluster.reading import FOLDER, documents, page, parsed

COMPOSE = FOLDER / "mlflow" / "compose.yaml"


@pytest.fixture
def services():
    (compose,) = documents(COMPOSE)
    return compose["services"]


@pytest.fixture
def objects():
    found = documents(FOLDER / "kubernetes" / "mlflow.yaml")
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


def pod(objects, kind, name):
    return objects[kind, name]["spec"]["template"]["spec"]


@pytest.fixture
def secrets(tmp_path):
    """What cluster/secrets.sh leaves in an empty home."""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def made():
        subprocess.run(["bash", FOLDER / "secrets.sh"], env=environment, check=True)
        folder = tmp_path / ".ray" / "orchestrator"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        return {path.name: path.read_text() for path in folder.iterdir()}

    return made


def variables(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def test_secrets_are_random_and_are_made_once(secrets):
    made = secrets()
    user, password = variables(made["mlflow.env"]).values()
    assert user == "orchestrator"
    server = variables(made["mlflow-server.env"]).values()
    every = [password, *server, made["auth_token"].strip()]
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in every)
    assert len(set(every)) == len(every)
    assert secrets() == made


@pytest.mark.scenario("mlflow")
def test_compose_refuses_to_start_without_each_of_the_secrets_and_a_place_for_artifacts(secrets):
    used = re.findall(r"\$\{(\w+)(:?[?-]?)", COMPOSE.read_text())
    refused = {name for name, operator in used if operator == ":?"}
    made = secrets()
    known = variables(made["mlflow.env"]) | variables(made["mlflow-server.env"])
    assert refused == {"ARTIFACTS", *known}
    assert {name for name, operator in used if operator != ":?"} == {"LISTEN"}


def test_studies_are_given_their_user_and_password_and_no_secret_of_the_server(secrets):
    names = {MLFLOW_TRACKING_USERNAME.name, MLFLOW_TRACKING_PASSWORD.name}
    assert set(variables(secrets()["mlflow.env"])) == names
    for name in ("aws/cluster.yaml", "gcp/cluster.yaml", "slurm/study.sh"):
        assert "mlflow-server.env" not in (FOLDER / name).read_text()


def test_every_command_that_starts_or_ends_the_server_gives_it_both_files():
    scripts = [COMPOSE.with_name(f"{name}.sh").read_text() for name in ("on_head", "start", "stop")]
    lines = "\n".join(scripts).replace("\\\n", "").splitlines()
    calls = [line for line in lines if "docker compose" in line]
    assert len(calls) == 3
    assert all("/mlflow.env" in call and "/mlflow-server.env" in call for call in calls)


def test_each_way_to_run_a_study_on_a_cluster_sends_it_to_a_server():
    for name in ("aws", "gcp", "kubernetes", "slurm", "mlflow"):
        assert "--set tracking.uri=http://" in page(name), name


@pytest.mark.scenario("mlflow")
def test_only_mlflow_is_published_and_on_loopback_unless_an_address_is_given(services):
    assert services["mlflow"]["ports"] == ["${LISTEN:-127.0.0.1}:5000:5000"]
    assert "ports" not in services["postgres"]
    (compose,) = documents(COMPOSE)
    assert services["postgres"]["networks"] == ["database"]
    assert compose["networks"]["database"] == {"internal": True}


@pytest.mark.parametrize("name", ["compose.yaml", "shared.yaml"])
def test_compose_knows_every_field(name):
    program = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("check-jsonschema is not installed: pip install check-jsonschema")
    call = [program, "--builtin-schema", "vendor.compose-spec", COMPOSE.with_name(name)]
    found = subprocess.run(call, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_on_a_head_artifacts_go_to_the_folder_that_the_container_sees():
    (overlay,) = documents(COMPOSE.with_name("shared.yaml"))
    (volume,) = overlay["services"]["mlflow"]["volumes"]
    (folder,) = set(volume.split(":"))
    script = COMPOSE.with_name("on_head.sh").read_text()
    assert f"export ARTIFACTS={folder}\n" in script
    assert all(f'--file "$here/{name}"' in script for name in ("compose.yaml", "shared.yaml"))


def calls(services, objects):
    return [
        services["mlflow"]["command"],
        pod(objects, "Deployment", "mlflow")["containers"][0]["args"],
    ]


@pytest.mark.scenario("mlflow")
def test_mlflow_knows_every_option_and_asks_its_callers_who_they_are(services, objects):
    for call in calls(services, objects):
        options = parsed(mlflow, call)
        assert options["app_name"] == "basic-auth"
        assert options["allowed_hosts"]
        assert "*" not in options["allowed_hosts"].split(",")


@pytest.mark.scenario("mlflow")
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
    text = COMPOSE.with_name(compose["configs"]["users"]["file"]).read_text()
    assert objects["ConfigMap", "mlflow"]["data"]["basic_auth.ini"] == text
    users = ConfigParser()
    users.read_string(text)
    assert users["mlflow"]["default_permission"] == "READ"
    assert users["mlflow"]["database_uri"].startswith("postgresql://mlflow@postgres")
    assert "admin_password" not in users["mlflow"]


def test_the_script_makes_every_key_of_the_secret_that_is_read(objects):
    script = (FOLDER / "kubernetes" / "mlflow.sh").read_text()
    (made_by,) = re.findall(r"^\{\n.*secret generic mlflow .*?$", script, re.DOTALL | re.MULTILINE)
    assert "--from-literal" not in made_by, "other processes read arguments"
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    asked = f"{made_by} --dry-run=client --output=json"
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    made = set(json.loads(found.stdout)["data"])
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
