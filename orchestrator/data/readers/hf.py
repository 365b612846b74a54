"""A data set of the Hugging Face hub, or a local folder in its layout, through `datasets`.

A folder that `save_to_disk` wrote is read, too.

Code that comes with a data set is never run. For plain JSON Lines or Parquet files the readers of
those names need no second library, and go on after a record that is damaged.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from orchestrator.config.sources import SourceOptions
from orchestrator.data.records.brackets import CHUNK_BYTES
from orchestrator.data.records.containers import gathered, layout
from orchestrator.data.records.fields import Fields, instance
from orchestrator.data.records.files import PACKINGS, File, digests, saved_tables
from orchestrator.data.records.opened import (
    ARROW_FILE,
    ARROW_STREAM,
    PARQUET,
    TEXT,
    form,
    opened,
)
from orchestrator.data.records.record import Block, Place, Record
from orchestrator.data.records.tables import BATCH_ROWS
from orchestrator.errors import DataError
from orchestrator.storage import lfs

__all__ = ["SECTION", "blocks", "content", "instance"]

JSON = {".json", ".jsonl", ".ndjson"}
# What a name says -> what the content may be.
FORMS = {
    ".parquet": {PARQUET}, ".arrow": {ARROW_FILE, ARROW_STREAM},
    **{suffix: {TEXT} for suffix in (*JSON, ".csv", ".tsv")},
}  # fmt: skip
HUB_SECONDS = 10  # until the hub counts as unreachable
T = TypeVar("T")


class HubSource(SourceOptions):
    """A data set of the Hugging Face hub, or a folder in its layout, through `datasets`."""

    PLACES: ClassVar[frozenset[str]] = frozenset({"name", "revision"})

    reader: Literal["hf"]
    name: str
    """`owner/name`, or a folder."""
    subset: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Which part of it."""
    revision: str | None = None
    """Commit, tag or branch; null: the newest, pinned when read."""
    fields: Fields = Fields()
    """Which column is what."""


SECTION = HubSource


def blocks(source: HubSource) -> Iterator[Block]:
    """Streams the rows of the split, some hundred a block.

    Raises:
        DataError: no hub, no such data set, subset or split, or a file that cannot be read.
    """
    return gathered(_records(source), partial(partial, iter), BATCH_ROWS)


def _records(source: HubSource) -> Iterator[Record]:
    rows = _asked(source.name, lambda: _stream(source))
    number = 0
    while (row := _asked(source.name, lambda: next(rows, None))) is not None:
        number += 1
        yield Place(f"{source.name} {source.split} row {number}", source.split, number), row


def content(source: HubSource) -> Any:
    """Returns the digests of a folder's files, or the commit that the revision stands for."""
    folder = _folder(source)
    if folder is None:
        return _commit(source.name, source.revision)
    paths = sorted(file for file in folder.rglob("*") if file.is_file())
    return digests([File(file, file.relative_to(folder).as_posix()) for file in paths])


def _stream(source: HubSource) -> Iterator[dict[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    folder = _folder(source)
    if folder and _is_saved(folder):
        return iter(_saved_split(datasets.load_from_disk(folder), source).with_format(None))
    revision = None if folder else _commit(source.name, source.revision)
    name = str(folder) if folder else source.name
    rows = datasets.load_dataset(
        name, source.subset, split=source.split, revision=revision, streaming=True
    )
    return iter(rows)


def _is_saved(folder: Path) -> bool:
    return saved_tables(folder) is not None or (folder / "dataset_dict.json").is_file()


def _saved_split(saved: Any, source: HubSource) -> Any:
    """Returns the split of what `save_to_disk` wrote: a data set alone is the one asked for."""
    if not isinstance(saved, dict):
        if (name := saved.split and str(saved.split)) and name != source.split != "train":
            raise DataError(f"{source.name} holds the split {name}: set split: {name}")
        return saved
    if source.split not in saved:
        raise DataError(
            f"{source.name} holds no split {source.split}: set split to one of {', '.join(saved)}"
        )
    return saved[source.split]


@functools.cache  # one commit for the fingerprint and for the rows, even if the branch moves
def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision  # it stands for itself, also without a network

    def ask() -> str:
        return str(HfApi().dataset_info(name, revision=revision, timeout=HUB_SECONDS).sha)

    return _asked(name, ask)


def _folder(source: HubSource) -> Path | None:
    """Returns the folder that the source names; None if it is none.

    Raises:
        DataError: a data file of it is a Git LFS pointer.
    """
    path = Path(source.name).expanduser()
    if not path.is_dir():
        return None
    for file in _data_files(path):
        if lfs.is_pointer(file):
            raise DataError(f"{file} {lfs.ADVICE}")
    return path


def _data_files(folder: Path) -> list[Path]:
    """Lists the files that `datasets` may read rows from, no picture or card beside them."""
    return sorted(file for file in folder.rglob("*") if _suffix(file) in FORMS and file.is_file())


def _suffix(file: Path) -> str:
    """Returns the suffix that says what the rows of a file are, whether or not it is packed."""
    inner = file.with_suffix("") if file.suffix in PACKINGS else file
    return inner.suffix


def _check_forms(folder: Path) -> None:
    """Refuse files that are not what their names say: `datasets` goes by the name.

    Raises:
        DataError: naming the first of them, and the reader that goes by the content.
    """
    for file in _data_files(folder):
        if not file.stat().st_size:
            raise DataError(f"{file} holds no rows, it is empty: fetch it again, or take it away")
        kind, suffix = form(file), _suffix(file)
        if kind not in FORMS[suffix]:
            held = "text" if kind == TEXT else f"a table ({kind})"
            reader = "jsonl" if kind == TEXT else "parquet"
            raise DataError(
                f"{file} holds {held}, and its name says {suffix}: rename it, or type "
                f"{{reader: {reader}, path: {file}}}, which goes by the content"
            )
        if suffix in JSON:
            with opened(file) as stream:
                start = stream.read(CHUNK_BYTES)
            if layout(start) is None:
                begin = start[:40].decode(errors="replace")
                raise DataError(
                    f"{file} holds no JSON, it begins with {begin!a}: "
                    "give it the name of what it holds, as train.csv"
                )


def _asked(name: str, call: Callable[[], T]) -> T:
    """Returns what the call does, and raises whatever `datasets` or the network do as DataError."""
    from huggingface_hub import get_token

    try:
        return call()
    except DataError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if token := get_token():  # the server's answer may quote it
            cause = cause.replace(token, "***")
    if (folder := Path(name).expanduser()).is_dir():
        _check_forms(folder)
    # Outside the handler: a chained error would show the token in a traceback.
    raise DataError(
        f"the data set {name} could not be read ({cause}). Give an id of the hub such as "
        "owner/name with a subset and a split that it has, or the path of a folder; a private or "
        "gated one needs HF_TOKEN"
    )
