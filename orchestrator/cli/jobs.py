"""Studies as jobs of a cluster: `orchestrator submit` and `orchestrator jobs`."""

from __future__ import annotations

import shlex
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.options import Output, Overlays, Settings, StudyFile, load
from orchestrator.errors import JobError

if TYPE_CHECKING:
    from orchestrator.jobs.client import Jobs

Address = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The cluster's dashboard; or RAY_API_SERVER_ADDRESS."),
]
PlainHttp = Annotated[
    bool,
    typer.Option("--plain-http", help="Another machine may get the token unencrypted."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, as `jobs list` shows it.")]

jobs = typer.Typer(help="Jobs that were submitted to a cluster.", no_args_is_help=True)


def submit(
    study: StudyFile,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
    *,
    address: Address = None,
    plain_http: PlainHttp = False,
    wait: Annotated[bool, typer.Option(help="Follow the job to its end.")] = True,
) -> None:
    """Run a study as a job of a Ray cluster, from the files of this folder."""
    from orchestrator.jobs.client import Jobs
    from orchestrator.jobs.package import pack, place_in_package, select
    from orchestrator.provenance import commit_of
    from orchestrator.trials import expand

    loaded = load(study, overlays, settings, output, job=True)
    expand(loaded)
    shared = {"output": "--output /shared/outputs", "store": "--set store=/shared/store"}
    for key, advice in shared.items():
        given = getattr(loaded, key)
        if given is not None and not Path(given).is_absolute():
            raise JobError(
                f"{key} is {given}, a folder of the job, which ends with it: give one that all "
                f"nodes share, as in {advice}"
            )
    server, here = Jobs(address, plain_http), Path.cwd()
    files = [study, *(overlays or [])]
    for file in files:
        _refuse_files_beside(file, here)
    words = ["orchestrator", "run", place_in_package(study, here)]
    words += [f"--with={place_in_package(overlay, here)}" for overlay in overlays or []]
    words += [f"--set={setting}" for setting in settings or []]
    words += [f"--output={output}"] if output is not None else []
    packed = select(here, files)
    for line in packed.lines(here):
        print(line, flush=True)
    _ask_above(packed.size)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "working_folder.zip"
        pack(packed, package)
        # A job runs the working folder's orchestrator/, where there is one.
        commit = commit_of(here / "orchestrator" / "__init__.py")
        job = server.submit(shlex.join(words), package, loaded.study, commit)
    print(f"{job} on {server.address}", flush=True)
    if wait:
        _follow(server, job)
    else:
        print(f"orchestrator jobs logs {job} --follow {server.options}")


def _refuse_files_beside(file: Path, here: Path) -> None:
    """Refuse a study from elsewhere that names files which lie beside it: they are not sent."""
    from orchestrator.config.places import beside
    from orchestrator.config.strict_yaml import parse

    folder = file.resolve().parent
    if folder.is_relative_to(here):
        return
    tree, _, _ = parse(file.read_text(encoding="utf-8"))
    if beside(tree, folder) != tree:
        raise JobError(
            f"{file} names files that lie beside it, and a job gets those of this folder alone: "
            f"copy the study and its files here, or submit it from {folder}"
        )


def _ask_above(size: int) -> None:
    """Where somebody is there, ask before much is sent: every node keeps a copy of it."""
    from orchestrator.jobs.package import ASKED

    question = "Every node of the cluster gets a copy of these files. Send them"
    if size > ASKED and sys.stdin.isatty() and not typer.confirm(question):
        raise typer.Exit(2)


@jobs.command("list")
def list_jobs(address: Address = None, plain_http: PlainHttp = False) -> None:
    """What was submitted, the newest first."""
    from orchestrator.jobs.client import Jobs
    from orchestrator.screen import plain_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "study", "status", "started", "ended"):
        table.add_column(name, no_wrap=True)
    for job in Jobs(address, plain_http).list():
        study = (job.metadata or {}).get("study", "")
        table.add_row(
            job.submission_id, study, str(job.status), _time(job.start_time), _time(job.end_time)
        )
    plain_console().print(table)


@jobs.command()
def logs(
    job: JobId,
    address: Address = None,
    plain_http: PlainHttp = False,
    follow: Annotated[bool, typer.Option(help="Go on until the job ends.")] = False,
) -> None:
    """What a job has printed."""
    from orchestrator.jobs.client import Jobs

    server = Jobs(address, plain_http)
    if follow:
        _follow(server, job)
    else:
        print(server.logs(job), end="")


@jobs.command()
def stop(job: JobId, address: Address = None, plain_http: PlainHttp = False) -> None:
    """End a job: it keeps its checkpoints, and the same submission goes on from there."""
    from orchestrator.jobs.client import ENDED, Jobs

    details = Jobs(address, plain_http).stop(job)
    print(f"{job}: {details.status}")
    if details.status not in ENDED:
        raise typer.Exit(1)


def _follow(server: Jobs, job: str) -> None:
    """Show a job until it ends, and exit as it did; Ctrl-C asks what is to become of it."""
    from orchestrator.jobs.client import exit_code

    def show(text: str) -> None:
        print(text, end="", flush=True)

    try:
        ended = server.follow(job, show)
    except KeyboardInterrupt:
        if not _asked_to_stop():
            print(f"\nit goes on: orchestrator jobs logs {job} --follow {server.options}")
            raise typer.Exit(130) from None
        ended = server.stop(job)
    print(f"{job}: {ended.status}")
    if ended.status == "FAILED" and ended.driver_exit_code is None:
        print(ended.message, file=sys.stderr)  # it never came to print anything itself
    if code := exit_code(ended):
        raise typer.Exit(code)


def _asked_to_stop() -> bool:
    """Ctrl-C once more, or no terminal to ask at, leaves the job alone."""
    if not sys.stdin.isatty():
        return False
    try:
        return typer.confirm("\nStop the job? Otherwise it goes on without this command")
    except (KeyboardInterrupt, typer.Abort):
        return False


def _time(milliseconds: int | None) -> str:
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000).isoformat(" ", "seconds")
