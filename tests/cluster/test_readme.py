"""The README of cluster/: every command in it is one that its program understands."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from ray.scripts.scripts import cli as ray

from orchestrator.cli import app
from orchestrator.config import load_study
from tests.cluster.reading import FOLDER, commands, documents, parsed

README = (FOLDER / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
# Of what the text itself names: calls with arguments. `ray down` alone is a word for what it does.
INLINE = re.findall(r"`([^`\s]+ [^`\s]+ [^`\n]+)`", README)
SHELL = "\n".join([*BLOCKS, *INLINE])
PROGRAMS = {"orchestrator", "ray", "kubectl", "docker", "sbatch"}
CALLS = list(commands(SHELL, PROGRAMS))


def calls(program):
    found = [call for call in CALLS if Path(call[0]).name == program]
    assert found
    return found


def joined(call):
    return shlex.join(call)[:120]


def orchestrator_calls():
    script = str(FOLDER / "slurm.sh")
    passed_on = [call[call.index(script) + 1 :] for call in calls("sbatch")]
    return calls("orchestrator") + [["orchestrator", "run", *words] for words in passed_on]


@pytest.mark.parametrize("call", orchestrator_calls(), ids=joined)
def test_orchestrator_knows_the_command_and_its_options(call):
    parsed(typer.main.get_command(app), call)


@pytest.mark.parametrize("call", calls("ray"), ids=joined)
def test_ray_knows_the_command_and_its_options(call):
    parsed(ray, call)


def test_a_command_that_nobody_knows_is_found():
    with pytest.raises(click.UsageError):
        parsed(ray, ["ray", "up", "--confirm", "my-aws.yaml"])


def studies():
    named = [call for call in orchestrator_calls() if call[1] in ("run", "submit", "plan")]
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
    made = {"cluster/mlflow/.env"}  # by the commands themselves
    assert [name for name in named - made if not Path(name).exists()] == []


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_the_commands_set_and_substitute_every_placeholder_of_a_launcher_file(name):
    used = set(re.findall(r"\$\{(\w+)\}", (FOLDER / name).read_text()))
    (line,) = [line for line in SHELL.splitlines() if f"< cluster/{name}" in line]
    substituted = set(re.findall(r"\$(\w+)", re.search(r"'([^']*)'", line)[1]))
    assert substituted == used
    exports = [line for line in SHELL.splitlines() if line.startswith("export ")]
    assert used <= set(re.findall(r"(\w+)=", "\n".join(exports)))


def test_the_commands_substitute_every_placeholder_of_a_manifest():
    for path in sorted((FOLDER / "kuberay").glob("*.yaml")):
        used = set(re.findall(r"\$\{(\w+)\}", path.read_text()))
        lines = [line for line in SHELL.splitlines() if str(path) in line]
        assert lines
        for line in lines:
            assert used == set(re.findall(r"\$(\w+)", line)), path


def test_the_commands_reach_the_cluster_by_the_name_that_it_has():
    (cluster,) = documents(FOLDER / "kuberay" / "raycluster.yaml")
    (job,) = documents(FOLDER / "kuberay" / "rayjob.yaml")
    assert f"service/{cluster['metadata']['name']}-head-svc" in README
    assert f"job/{job['metadata']['name']}\n" in README


def test_it_says_what_could_not_be_tried():
    assert "None of it has run on a real cloud" in README
