"""Natural Instructions v2 (arXiv 2204.07705): a file a task, prompts in the form of Tk-Instruct.

    Definition: <definition>

     Positive Example 1 -
    Input: <input>
     Output: <output>

    Now complete the following example -
    Input: <input>
    Output:

The first of an instance's outputs is its answer. One task file at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance, single_turn
from orchestrator.data.records.containers import BOM, parse
from orchestrator.data.records.files import PACKINGS, File, digests, files, read_text
from orchestrator.data.records.opened import TEXT, form, opened
from orchestrator.data.records.record import (
    Block,
    Place,
    Record,
    RecordError,
    exclude_marked,
    own_id,
    shown,
    text,
    with_unread,
)
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.errors import DataError

SUFFIXES = tuple(f".json{packing}" for packing in PACKINGS)
TASK_BYTES = 256 * 2**20  # the largest published one has 20 MiB


class NIV2Source(FileSource):
    """Natural Instructions: a folder with `tasks/*.json` and `splits/default/*_tasks.txt`."""

    reader: Literal["niv2"]
    split: Literal["train", "test"] | None = None
    """null: every task file."""
    examples: Annotated[int, Field(ge=0)] = 2
    """Positive examples in the prompt, at most."""


SECTION = NIV2Source


def blocks(source: NIV2Source) -> Iterator[Block]:
    """Yields a block for each task file."""
    for file in _task_files(source):
        if (kind := form(file.path)) != TEXT:
            raise _other_form(
                file.path, f"is a table ({kind})", ", or read it with {reader: parquet}"
            )
        with opened(file.path) as stream:
            raw = stream.read(TASK_BYTES + 1)
        yield partial(_records, file, source.examples, raw)


def _records(file: File, examples: int, raw: bytes) -> Iterator[Record]:
    """Yields each instance as the pair of its task's introduction and itself."""
    try:
        if len(raw) > TASK_BYTES:
            raise RecordError("task file longer than 256 MiB")
        if not raw.strip():
            raise DataError(f"{file.path} is empty: fetch it again, or leave it out")
        if not raw.removeprefix(BOM).lstrip().startswith((b"{", b"[")):
            begin = raw[:40].decode(errors="replace")
            raise _other_form(file.path, f"holds no JSON, it begins with {begin!a}")
        # A byte that is not UTF-8 must not cost the whole file: `text` finds it later.
        introduction, instances = _task(parse(raw, "surrogateescape"), examples)
    except RecordError as error:
        yield Place(str(file.path), file.stem, 0), error
        return
    for number, one in enumerate(instances, start=1):
        place = Place(f"{file.path} instance {number}", Path(file.stem).name, number)
        yield place, (introduction, one)


def _other_form(path: Path, what: str, more: str = "") -> DataError:
    return DataError(
        f"{path} {what}, where a task file of Natural Instructions is a JSON object with "
        f"Definition and Instances: give the folder of such files{more}"
    )


def instance(record: tuple[str, Any], source: NIV2Source, place: Place) -> Instance:
    introduction, given = record
    if not isinstance(given, dict):
        raise RecordError("not an object", shown(given))
    one = TrackedRecord(given)
    exclude_marked(one)
    prompt = (
        f"{introduction}Now complete the following example -\n"
        f"Input: {_stripped(one.get('input'), 'input')}\nOutput: "
    )
    outputs = one.get("output")
    answer = text(_first(outputs), "answer").strip()
    made = single_turn(own_id(one, "id", place), place.name, text(prompt, "prompt"), answer)
    if isinstance(outputs, list) and len(outputs) > 1:
        made = replace(made, notes=("further outputs left off",))
    return with_unread(one, made)


def content(source: NIV2Source) -> list[list[str]]:
    lists = [File(_split_list(source), "split")] if source.split else []
    return digests(_task_files(source) + lists)


def _task(task: Any, examples: int) -> tuple[str, list[Any]]:
    """Returns definition and examples as the prompt has them, and the instances."""
    if isinstance(task, RecordError):
        raise task
    if not isinstance(task, dict) or not isinstance(task.get("Instances"), list):
        raise RecordError("no task file", "there is no list under Instances")
    definition = text(_first(task.get("Definition")), "definition").strip()
    parts = [f"Definition: {definition}\n\n"]
    positive = task.get("Positive Examples") or []
    if not isinstance(positive, list) or not all(isinstance(each, dict) for each in positive):
        raise RecordError("no task file", "Positive Examples is no list of objects")
    for number, each in enumerate(positive[:examples], start=1):
        parts.append(
            f" Positive Example {number} -\n"
            f"Input: {_stripped(each.get('input'), 'example')}\n"
            f" Output: {_stripped(_first(each.get('output')), 'example')}\n\n"
        )
    return "".join(parts), task["Instances"]


def _first(value: Any) -> Any:
    """Returns the value, or the first one of a list; None of an empty one."""
    return next(iter(value), None) if isinstance(value, list) else value


def _stripped(value: Any, what: str) -> str:
    """Returns text that may be empty: some tasks ask without an input."""
    if not isinstance(value, str):
        raise RecordError(f"{what} is not text", shown(value))
    return value.strip()


def _task_files(source: NIV2Source) -> list[File]:
    folder = Path(source.path).expanduser() / "tasks"
    paths = files(str(folder) if folder.is_dir() else source.path, SUFFIXES)
    if source.split is None:
        return paths
    lines = read_text(_split_list(source)).splitlines()
    wanted = {name for line in lines if (name := line.strip())}
    missing = wanted - {Path(file.stem).name for file in paths}
    if missing:
        few = ", ".join(sorted(missing)[:3])
        raise DataError(
            f"{source.path}: {len(missing)} of the {len(wanted)} tasks of split {source.split} "
            f"have no file, such as {few}: complete the folder, or shorten {_split_list(source)}"
        )
    return [file for file in paths if Path(file.stem).name in wanted]


def _split_list(source: NIV2Source) -> Path:
    return Path(source.path).expanduser() / "splits" / "default" / f"{source.split}_tasks.txt"
