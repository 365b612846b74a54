"""The pages of cluster/: every command in them is one that its program understands."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from ray.scripts.scripts import cli as ray

from orchestrator.cli.commands import app
from orchestrator.config import load_study
from tests.cluster.programs import complaint
from tests.cluster.reading import FOLDER, PAGES, commands, documents, page, parsed, shell

TEXT = "\n".join(page(name) for name in PAGES)
# Of what the text itself names: calls with arguments. `ray down` alone is a word for what it does.
INLINE = re.findall(r"`([^`\s]+ [^`\s]+ [^`\n]+)`", TEXT)
SHELL = "\n".join([shell(TEXT), *INLINE])
ELSEWHERE = {"aws", "docker", "gcloud", "helm", "kubectl"}
CALLS = list(commands(SHELL, ELSEWHERE | {"orchestrator", "ray", "sbatch"}))


def calls(program):
    found = [call for call in CALLS if Path(call[0]).name == program]
    assert found
    return found


def joined(call):
    return shlex.join(call)[:120]


def sbatch_calls():
    """The options of each call, and what it passes on to the script."""
    places = [(call, call.index(str(FOLDER / "slurm" / "study.sh"))) for call in calls("sbatch")]
    return [(call[:place], call[place + 1 :]) for call, place in places]


def orchestrator_calls():
    passed_on = [["orchestrator", "run", *words] for _, words in sbatch_calls()]
    return calls("orchestrator") + passed_on


def calls_of_programs_elsewhere():
    found = [call for program in sorted(ELSEWHERE) for call in calls(program)]
    return found + [options for options, _ in sbatch_calls()]


@pytest.mark.parametrize("call", orchestrator_calls(), ids=joined)
def test_orchestrator_knows_the_command_and_its_options(call):
    parsed(typer.main.get_command(app), call)


@pytest.mark.parametrize("call", calls("ray"), ids=joined)
def test_ray_knows_the_command_and_its_options(call):
    parsed(ray, call)


def test_a_command_that_nobody_knows_is_found():
    with pytest.raises(click.UsageError):
        parsed(ray, ["ray", "up", "--confirm", "my-aws.yaml"])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")  # gcloud takes seconds to settle in a new one


@pytest.mark.slow
@pytest.mark.parametrize("call", calls_of_programs_elsewhere(), ids=joined)
def test_a_program_of_a_cloud_knows_the_command_and_its_options(call, home):
    assert complaint(call, home) == ""


@pytest.mark.slow
@pytest.mark.parametrize("program", sorted(ELSEWHERE | {"sbatch"}))
def test_an_option_that_a_program_of_a_cloud_does_not_know_is_found(program, home):
    known = next(call for call in calls_of_programs_elsewhere() if call[0] == program)
    assert complaint([*known, "--no-such-option"], home)


def studies():
    named = [call for call in orchestrator_calls() if call[1] in ("run", "submit", "estimate")]
    return [call for call in named if call[2] != "STUDY.yaml"]


@pytest.mark.parametrize("call", studies(), ids=joined)
def test_a_study_accepts_the_settings_that_a_command_gives_it(call):
    values = {"--set": [], "--with": []}
    for option, value in zip(call, call[1:], strict=False):
        if option in values:
            values[option].append(value)
    load_study(Path(call[2]), values["--set"], [Path(name) for name in values["--with"]])


def test_every_file_of_the_project_that_a_command_names_exists():
    named = set(re.findall(r"(?<![\w/])(?:cluster|experiments)/[\w./-]*\w", SHELL))
    assert len(named) > 5
    assert [name for name in named if not Path(name).exists()] == []


@pytest.mark.parametrize("name", ["aws/cluster.yaml", "gcp/cluster.yaml"])
def test_the_commands_set_and_substitute_every_placeholder_of_a_launcher_file(name):
    used = set(re.findall(r"\$\{(\w+)\}", (FOLDER / name).read_text()))
    (line,) = [line for line in SHELL.splitlines() if f"< cluster/{name}" in line]
    substituted = set(re.findall(r"\$(\w+)", re.search(r"'([^']*)'", line)[1]))
    assert substituted == used
    exports = [line for line in SHELL.splitlines() if line.startswith("export ")]
    assert used <= set(re.findall(r"(?<=\s)[A-Z_]+\b", "\n".join(exports)))
    assert used <= set(re.findall(r"(?:^|\s)([A-Z_]+)=.", SHELL))


@pytest.mark.parametrize(
    "in_order",
    [
        ["create-file-system", "until aws efs describe-file-systems", "create-mount-target",
         "until aws efs describe-mount-targets", "ray up --yes my-aws.yaml"],
        ["ray down --yes my-aws.yaml", "ec2 wait instance-terminated", "delete-mount-target",
         "until aws efs describe-mount-targets", "delete-file-system", "delete-security-group"],
        ["service-accounts create ray-autoscaler-sa-v1", "--role=roles/artifactregistry.reader",
         "ray up --yes my-gcp.yaml"],
        ["< cluster/kubernetes/rayjob.yaml", "until kubectl wait", "kubectl logs --follow",
         "< cluster/kubernetes/results.yaml", "kubectl wait", "kubectl cp results:"],
        ["< cluster/kubernetes/raycluster.yaml", "until kubectl wait", "kubectl port-forward",
         "kubectl get secret orchestrator", "orchestrator submit"],
    ],
    ids=["AWS", "teardown on AWS", "Google Cloud", "a RayJob", "a RayCluster"],
)  # fmt: skip
def test_the_commands_wait_for_what_the_next_one_needs(in_order):
    place = SHELL.index(in_order[0])
    for command in in_order[1:]:
        place = SHELL.index(command, place + 1)


def test_the_commands_substitute_every_placeholder_of_a_manifest():
    for path in sorted((FOLDER / "kubernetes").glob("*.yaml")):
        used = set(re.findall(r"\$\{(\w+)\}", path.read_text()))
        lines = [line for line in SHELL.splitlines() if str(path) in line]
        assert lines
        for line in lines:
            assert used == set(re.findall(r"\$(\w+)", line)), path


def test_the_commands_reach_the_cluster_by_the_name_that_it_has():
    (cluster,) = documents(FOLDER / "kubernetes" / "raycluster.yaml")
    (job,) = documents(FOLDER / "kubernetes" / "rayjob.yaml")
    assert f"service/{cluster['metadata']['name']}-head-svc" in page("kubernetes")
    assert f"job/{job['metadata']['name']}\n" in page("kubernetes")


@pytest.mark.parametrize("name", PAGES)
def test_a_link_leads_to_a_file(name):
    links = re.findall(r"\]\(([^)#]+)\)", page(name))
    files = [link for link in links if not link.startswith("https://")]
    assert files
    assert [file for file in files if not (FOLDER / name / file).is_file()] == []


def test_every_script_is_run_or_named_by_the_page_of_its_folder():
    for script in FOLDER.rglob("*.sh"):
        folder = "" if script.parent == FOLDER else script.parent.name
        if script.name == "on_head.sh":  # where the folder is copied to
            assert page("aws").count(f"/mlflow/{script.name}") == 1
        else:
            assert str(script) in page(folder), script


def test_it_says_what_could_not_be_tried():
    assert "None of it has run on a real cloud" in page()
    for name in ("aws", "gcp", "kubernetes"):
        assert "It has not run on" in page(name)
    assert "not yet on GPUs" in page("slurm")
