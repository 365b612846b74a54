"""`orchestrator init`: a study file from a few answers, or options, and a look at the data."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.prompt import Prompt

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config.sources import SourceOptions
    from orchestrator.study.draft import Wish

T = TypeVar("T")
PLACES = "(file, folder, pattern, data set of the hub, or builtin)"
NOT_IN_NAMES = re.compile("[^a-z0-9]+")


def init(
    study: Annotated[
        Path, typer.Argument(metavar="[STUDY.yaml]", help="The file to write.")
    ] = Path("study.yaml"),
    pool: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Training rows: a file, folder, pattern, or builtin."),
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="DATA", help="Test items to generalise to, likewise.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is trained, as in model.name.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Of order,selection,granularity,turns,seeds some."),
    ] = None,
    fields: Annotated[
        str, typer.Option(metavar="YAML", help="Columns, as '{prompt: q, completion: a}'.")
    ] = "{}",
) -> None:
    """Write a commented study of your own data, and show a row of it as the model will see it.

    What no option says is asked.
    """
    if study.exists():
        raise UserError(f"{study} exists: name another file, as in `orchestrator init other.yaml`")
    from orchestrator.data.detect import find_source, look
    from orchestrator.data.leakage import TestItems
    from orchestrator.study.draft import COMPARED, Wish

    columns = _columns(fields)
    rows = _settled(
        "--pool", f"training rows {PLACES}", pool, lambda at: find_source(at, "pool", columns)
    )
    items = _settled(
        "--queries",
        f"test items {PLACES}",
        queries,
        lambda at: look(find_source(at, "query", columns)),
    )
    print(f"test items: {items[1].said}")
    found = look(rows, TestItems({"query": items[1].table}))
    print(f"training rows: {found[1].said}")
    name = _settled("--model", "model", model, _model, "smollm2-135m")
    if compare is None:
        print("\n".join(f"  {what:<12} {meaning}" for what, meaning in COMPARED.items()))
    chosen = _settled("--compare", "compare", compare, _compared, "order")
    rows_told, items_told = (
        (_told_from(study.parent, source), contents) for source, contents in (found, items)
    )
    wish = Wish(_study_name(study), rows_told, items_told, name, chosen, gpu=_has_gpu())
    _write(study, wish)


def _told_from(folder: Path, source: SourceOptions) -> SourceOptions:
    """A source whose path leads from the study's folder, where a study looks first."""
    path = getattr(source, "path", None)
    if path is None or Path(path).expanduser().is_absolute():
        return source
    return source.model_copy(update={"path": os.path.relpath(path, folder)})


def _settled(
    option: str, what: str, given: str | None, make: Callable[[str], T], default: str = ""
) -> T:
    """What an option says, or else an answer: asked for until it can be used.

    Raises:
        UserError: what the option says cannot be used, or nobody answers what has no default.
    """
    if given is not None:
        return make(given)
    while True:
        try:
            answer = Prompt.ask(what, default=default) if default else Prompt.ask(what)
        except EOFError:
            if not default:
                raise UserError(f"nobody answers: give {what} with {option}") from None
            answer = default
        try:
            return make(answer)
        except UserError as error:
            print(error)


def _columns(fields: str) -> dict[str, Any]:
    """What --fields says, as far as the keys of a section `fields` take it."""
    from orchestrator.config.load import check_settings
    from orchestrator.config.strict_yaml import parse
    from orchestrator.data.records.fields import Fields

    given, _, _ = parse(fields)
    if not isinstance(given, dict):
        raise UserError("--fields names columns, as in --fields '{prompt: q, completion: a}'")
    return check_settings(Fields, given, "--fields").model_dump(exclude_unset=True)


def _model(name: str) -> str:
    from orchestrator import models
    from orchestrator.config import Study
    from orchestrator.storage.files import STORE_FOLDER

    models.check_access(name, Path(Study.model_fields["output"].default, STORE_FOLDER))
    return name


def _compared(text: str) -> list[str]:
    from orchestrator.config.faults import unknown_key
    from orchestrator.study.draft import COMPARED

    names = re.findall(r"[^\s,]+", text)
    for name in names:
        if name not in COMPARED:
            raise UserError(f"{name} cannot be compared: {unknown_key(name, list(COMPARED))}")
    if not names:
        raise UserError(f"nothing is compared: name some of {', '.join(COMPARED)}")
    return names


def _study_name(path: Path) -> str:
    return NOT_IN_NAMES.sub("-", path.stem.lower()).strip("-")[:64] or "study"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _write(path: Path, wish: Wish) -> None:
    """Write the study and the schema beside it, and show a row of each set of its base."""
    from orchestrator.config import load_study
    from orchestrator.config.json_schema import FILE, schema_text
    from orchestrator.config.sweep import Sweep
    from orchestrator.storage.artifacts import write_text
    from orchestrator.study.draft import write_draft
    from orchestrator.study.show import show_rows
    from orchestrator.trials import expand

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_text(path, write_draft(wish))
        write_text(path.parent / FILE, schema_text())
        study = load_study(path)
        trials = expand(study)
        print(f"wrote {path}, and {path.parent / FILE} by which editors explain its keys\n")
        sound = show_rows(study.model_copy(update={"sweep": Sweep()}), 1)
    except UserError:
        path.unlink(missing_ok=True)  # so that the same command may be typed again
        raise
    if not sound:
        raise typer.Exit(1)
    print(f"\n{len(trials)} trials. Read {path}, then:")
    print(f"  orchestrator estimate {path}\n  orchestrator run {path}")
