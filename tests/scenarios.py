"""What may go wrong, what then must hold, and by which tests: `experiments/FAULTS.md`.

    python -m tests.scenarios > experiments/FAULTS.md

A test that proves a row, or a part of it, carries `@pytest.mark.scenario(NAME, ...)` on the
function itself. What no test proves yet of a row is its `untested`: it goes when the test comes.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Scenario:
    """A row of the page.

    Attributes:
        injected: what goes wrong, or what somebody tries.
        holds: what must hold nevertheless.
        untested: of these, what no test proves.
    """

    injected: str
    holds: str
    untested: str = ""


FAULTS = {
    "kill-rank": Scenario(
        "SIGKILL ends a rank before, in and after an optimizer step, in a measurement, and at each "
        "stage of a checkpoint",
        "the trial goes on from its checkpoint and ends with the losses, the order and the weights "
        "of one that was left alone, to the last bit; each step is recorded once",
    ),
    "kill-driver": Scenario(
        "SIGKILL ends the process that drives a study, or what writes its artifacts and its "
        "record, before each single write",
        "no process is left after half a minute, but for two agents of Ray's that end after one; "
        "the same command finishes; nothing that was "
        "finished is computed again, nothing is recorded twice, and scratch that is left is "
        "removed after a day",
    ),
    "node-loss": Scenario(
        "a node of the cluster goes away under a trial of two ranks",
        "the trial goes on elsewhere and ends with the losses of one that was left alone",
    ),
    "frozen-rank": Scenario(
        "SIGSTOP freezes a rank, or a rank hangs",
        "it is noticed within a time that can be set, and named; slow is not hung",
        "a rank that freezes before it has told its process and node: it is told after 300 s, and "
        "Ray ends it after some 400 s",
    ),
    "ray-death": Scenario(
        "Ray's raylet or its GCS is killed, of a local Ray or of a cluster that a study joins",
        "a sentence and an exit code of its own; MLflow's runs are closed, no process of a local "
        "Ray is left, and the same command finishes",
    ),
    "mlflow-outage": Scenario(
        "MLflow's server dies, never answers, answers with errors of its own, or loses an answer",
        "no trial waits; what is not sent is counted, and `orchestrator sync` sends it: in order, "
        "nothing twice, nothing left out",
    ),
    "full-disk": Scenario(
        "a disk fills while something is written",
        "a sentence with path, need and room; nothing half written stays, the last checkpoint "
        "does; no trial is tried again, and the same command goes on; what is known to be needed "
        "is compared with the room before a start; Ray's own folder is named where that is full",
    ),
    "damaged-checkpoint": Scenario(
        "a file of a checkpoint is cut, lost, or differs in a bit; all records of Ray Tune's own "
        "are cut",
        "it is found before it is read; the trial goes on from the checkpoint before, and says so; "
        "records of Ray's are not needed",
    ),
    "damaged-artifact": Scenario(
        "a file of an artifact, of cached vectors or of a model is cut, lost, or differs in a bit, "
        "in the store, in a bucket or in a node's copy",
        "its digest tells; it is made or fetched anew",
    ),
    "stale-artifact": Scenario(
        "the model, its revision, the dtype, the length or the part of a text that is read changes",
        "that is another artifact, and nothing is taken from the old one",
    ),
    "two-runs": Scenario(
        "two runs of one study, two studies on one store, two writers of one model; one is killed",
        "the second is told who works there, or both agree on one artifact; a dead one locks "
        "nobody out",
        "two machines on one network file system",
    ),
    "out-of-memory": Scenario(
        "memory runs out in a forward or backward pass, an optimizer step, an evaluation or a "
        "model that embeds, or the kernel kills the process that embeds or searches",
        "batches are halved, at most three times, with the same global batch and the same losses "
        "and vectors; then the setting is named; a rank that the kernel kills is a killed one "
        "(kill-rank)",
    ),
    "not-finite": Scenario(
        "a loss or a gradient is NaN or infinite",
        "the trial stops, for a loss before any weight is changed, names step and rows, and is not "
        "tried again; other trials go on",
    ),
    "repeated-crash": Scenario(
        "a method or a trial fails in the same way each time",
        "it is tried twice at most, and told by its first line and place",
    ),
    "duplicates": Scenario(
        "ids and texts come twice",
        "each id is taken once and each row planned once, in an order that is defined; equal texts "
        "are counted",
    ),
    "bad-records": Scenario(
        "records that are empty, blank, 50 MB long, or without an answer once they are cut",
        "refused with their place, or left out and counted; a row without an answer carries no "
        "loss, and a global batch of such rows ends the trial",
    ),
    "bad-bytes": Scenario(
        "invalid UTF-8, half characters, NUL, byte order marks, line ends of Windows, other "
        "encodings",
        "read as text, or refused with file and place",
    ),
    "leakage": Scenario(
        "test items stand in the pool: shared tasks, equal prompts, nearly equal texts",
        "refused, dropped or counted as the study says; near ones are counted above a threshold",
    ),
    "many-queries": Scenario(
        "more queries than rows, 10,000 of them, a pool that is used up within a turn, equal "
        "distances",
        "the plan ends, has each row once, and is that of the plain procedure; memory is that of "
        "the ranked lists, not of all distances",
    ),
    "other-ranks": Scenario(
        "one rank or two, every ZeRO stage, any micro-batches",
        "the same order; losses within 1e-5 in float32, 5e-3 in bfloat16; a checkpoint of another "
        "number of ranks is not used",
    ),
    "stop-signal": Scenario(
        "a job is stopped, or its time is up",
        "the checkpoint is kept, what finished is reported, MLflow's runs are closed, the same "
        "command finishes",
    ),
    "clock-jump": Scenario(
        "the machine's clock is set while a study runs",
        "durations are of a clock that nobody sets",
    ),
    "read-only": Scenario(
        "storage that may not be written, on this machine or on a node, from the start or from "
        "some moment on",
        "a sentence with what to type, before anything starts, or of what was written meanwhile; "
        "the same command goes on",
    ),
    "many-kills": Scenario(
        "many kills at random moments over a sweep of gangs and single ranks",
        "its summary is that of an undisturbed one",
        "more than one kill a trial, at random moments: the suite has no time for it; fifty by "
        "hand, `tests/benchmarks/soak.py`, [LOG.md](LOG.md)",
    ),
}
DEFAULTS = {
    "ray": Scenario(
        "somebody else reaches Ray: its dashboard, its job server, its files",
        "a token is asked for, a mode without one is refused, and no cluster is joined without "
        "one; on one machine all ports are on 127.0.0.1, of a cluster's the dashboard; tokens and "
        "logs are for this user, and the token is in no log; it goes to another machine over "
        "https, or where its owner says so",
    ),
    "mlflow": Scenario(
        "somebody else reaches MLflow, or what lies in its folder is loaded",
        "it is on 127.0.0.1, over a database and no folder of files, unpickles nothing, and on a "
        "cluster does not start without passwords",
    ),
    "weights": Scenario(
        "weights or optimizer states that would run code when they are loaded",
        "models are safetensors; states are read as tensors only, after their digests agree, and "
        "from folders that no other user made and that are not open to everybody",
    ),
    "no-pickles": Scenario(
        "data, ids, vectors or tables that hold pickled objects",
        "refused; nothing of this project unpickles, nor does Ray, whatever the environment says",
    ),
    "no-foreign-code": Scenario(
        "models and data sets that bring code, kernels or foreign classes",
        "refused before anything is loaded; models and data of the hub stay at their commit",
    ),
    "study-files": Scenario(
        "study files with tags, aliases, keys given twice, great depth or size, unknown keys, code",
        "refused with line and key",
    ),
    "names": Scenario(
        "names and paths that lead elsewhere: `../x`, `/etc`, 300 characters, look-alikes, links",
        "names become safe and distinct; what leads out of its folder is refused",
    ),
    "secrets": Scenario(
        "keys, tokens and passwords in the environment, in addresses and in files of the folder",
        "they are in no parameter, message or error, in no package of a job, and nowhere in what a "
        "study, a job and Ray leave behind",
    ),
    "limits": Scenario(
        "files that unpack to much more than they are; arguments that a shell would read",
        "memory stays bounded, sizes are refused; programs get their arguments one by one",
    ),
    "advisories": Scenario(
        "a library in a version that a security advisory names is installed",
        "no study starts with it; bounds and pinned versions let none in "
        "([`cluster/audit.sh`](../cluster/audit.sh) asks about all packages)",
    ),
}
SCENARIOS = FAULTS | DEFAULTS
TOP = """\
# Faults, and what holds

What may go wrong with a study (kills, lost nodes, full disks, damaged files, bad data, hostile
input), what then must hold, and the tests that inject it. All of them pass before a change lands.
Tests that need root, or a program that a machine lacks, are skipped there.

`python -m tests.scenarios > experiments/FAULTS.md` writes this page from `tests/scenarios.py` and
the marks on the tests: change those, not the page. `pytest -m scenario` runs these tests alone.
"""


def marked(tests: Path = TESTS) -> dict[str, list[str]]:
    """The node ids of the tests of each scenario that is named on a test, in the order of files."""
    found = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.scenario(" in text:  # the others need not be read, which is most of the time
            for test, name in _marks(ast.parse(text)):
                found[name].append(f"{path.relative_to(tests.parent).as_posix()}::{test}")
    return dict(found)


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    for function in module.body:
        if isinstance(function, ast.FunctionDef):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.scenario":
                    yield from ((function.name, ast.literal_eval(name)) for name in mark.args)


def page(found: dict[str, list[str]]) -> str:
    """The whole page, as Markdown.

    Args:
        found: the node ids of each scenario's tests; a scenario without one is shown as such.
    """
    faults = _table("What is injected", FAULTS, found)
    defaults = _table("What is tried", DEFAULTS, found)
    return f"{TOP}\n## Faults\n\n{faults}\n\n## Safe defaults\n\n{defaults}\n"


def _table(first: str, scenarios: dict[str, Scenario], found: dict[str, list[str]]) -> str:
    head = f"| Name | {first} | What must hold | Tests |\n| --- | --- | --- | --- |"
    return "\n".join([head, *(_row(name, each, found.get(name, []))
                              for name, each in scenarios.items())])  # fmt: skip


def _row(name: str, scenario: Scenario, tests: list[str]) -> str:
    shown = [f"`{test}`" for test in tests] or ["**no test**"]
    if scenario.untested:
        shown.append(f"**not tested**: {scenario.untested}")
    return f"| {name} | {scenario.injected} | {scenario.holds} | {'<br>'.join(shown)} |"


if __name__ == "__main__":
    print(page(marked()), end="")
