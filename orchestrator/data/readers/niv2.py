"""Natural Instructions v2 (arXiv 2204.07705): a file a task, prompts in the form of Tk-Instruct.

An instance has one or more outputs, any of which is right: the first is its answer, all of them are
its references. One task file at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from orchestrator.config.section import later
from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance, single_turn, with_references
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
    sound_texts,
    text,
    with_unread,
)
from orchestrator.data.records.tk_instruct import (
    Introduction,
    PromptForm,
    first_output,
    introduction_of,
    prompt_of,
    tokenizer_file,
)
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.errors import DataError

SUFFIXES = tuple(f".json{packing}" for packing in PACKINGS)
TASK_BYTES = 256 * 2**20  # the largest published one has 20 MiB


class NIV2Source(FileSource):
    """Natural Instructions: a folder with `tasks/*.json` and `splits/default/*_tasks.txt`."""

    PLACES: ClassVar[frozenset[str]] = FileSource.PLACES | {"tokenizer"}

    reader: Literal["niv2"]
    split: Literal["train", "test"] | None = None
    """null: every task file."""
    examples: Annotated[int, Field(ge=0)] = 2
    """Positive examples in the prompt, at most."""
    negative_examples: int = later(0, ge=0)
    """Negative examples in the prompt, at most, behind the positive ones."""
    explanations: bool = later(False)
    """The explanation of each example, behind its output."""
    task_name: bool = later(False)
    """The name of the task, at the start of the prompt."""
    full_stops: bool = later(False)
    """A full stop behind each part of the prompt that ends in no ASCII punctuation, as Tk-Instruct
    and the paper's scripts have it."""
    max_prompt_tokens: PositiveInt | None = later(None)
    """Examples are put in only while the prompt has at most so many tokens (the authors: 1,024);
    null: all of them. A longer prompt without examples stays as it is."""
    tokenizer: str | None = later(None)
    """What counts those tokens: a `tokenizer.json`, or the folder of a model that holds one."""

    @model_validator(mode="after")
    def _counted(self) -> NIV2Source:
        if (self.max_prompt_tokens is None) != (self.tokenizer is None):
            raise ValueError(
                "max_prompt_tokens are counted by tokenizer: set both, tokenizer to the "
                "tokenizer.json of the model, or neither"
            )
        return self


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
        yield partial(_records, file, _prompt_form(source), raw)


def _records(file: File, prompts: PromptForm, raw: bytes) -> Iterator[Record]:
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
        name = Path(file.stem).name
        introduction, instances = _task(parse(raw, "surrogateescape"), name, prompts)
    except RecordError as error:
        yield Place(str(file.path), file.stem, 0), error
        return
    for number, one in enumerate(instances, start=1):
        place = Place(f"{file.path} instance {number}", name, number)
        yield place, (introduction, one)


def _other_form(path: Path, what: str, more: str = "") -> DataError:
    return DataError(
        f"{path} {what}, where a task file of Natural Instructions is a JSON object with "
        f"Definition and Instances: give the folder of such files{more}"
    )


def instance(record: tuple[Introduction, Any], source: NIV2Source, place: Place) -> Instance:
    introduction, given = record
    if not isinstance(given, dict):
        raise RecordError("not an object", shown(given))
    one = TrackedRecord(given)
    exclude_marked(one)
    prompt = prompt_of(introduction, one.get("input"), _prompt_form(source))
    outputs = one.get("output")
    answer = text(first_output(outputs), "answer").strip()
    made = single_turn(own_id(one, "id", place), place.name, text(prompt, "prompt"), answer)
    if isinstance(outputs, list):
        made = with_references(made, sound_texts(outputs[1:]))
    return with_unread(one, made)


def content(source: NIV2Source) -> list[list[str]]:
    lists = [File(_split_list(source), "split")] if source.split else []
    counting = [File(tokenizer_file(source.tokenizer), "tokenizer")] if source.tokenizer else []
    return digests(_task_files(source) + lists + counting)


def _prompt_form(source: NIV2Source) -> PromptForm:
    return PromptForm(
        source.examples,
        source.negative_examples,
        explanations=source.explanations,
        task_name=source.task_name,
        full_stops=source.full_stops,
        max_tokens=source.max_prompt_tokens,
        tokenizer=source.tokenizer,
    )


def _task(task: Any, name: str, prompts: PromptForm) -> tuple[Introduction, list[Any]]:
    """Returns what the prompts of a task begin with, and its instances."""
    if isinstance(task, RecordError):
        raise task
    if not isinstance(task, dict) or not isinstance(task.get("Instances"), list):
        raise RecordError("no task file", "there is no list under Instances")
    return introduction_of(task, name, prompts), task["Instances"]


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
