"""The files behind a source's `path`."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.sources import FileSource
from orchestrator.errors import DataError
from orchestrator.storage import lfs
from orchestrator.storage.artifacts import file_digest

PACKINGS = ("", ".gz", ".bz2", ".xz", ".zst")
# Which files of a folder are taken; how each is read, its first bytes say.
JSON_SUFFIXES = tuple(
    kind + packing for kind in (".jsonl", ".ndjson", ".json") for packing in PACKINGS
)
SUFFIXES = (*JSON_SUFFIXES, ".parquet", ".arrow")
HERE = "relative to the study file or to the folder in which the command runs"


@dataclass(frozen=True, slots=True)
class File:
    """One of the files that a source is read from.

    Attributes:
        path: to open it.
        name: relative to the source's folder, with `/`.
    """

    path: Path
    name: str

    @property
    def stem(self) -> str:
        """Is the name without the suffix that says how the file is read."""
        suffix = next((s for s in sorted(SUFFIXES, key=len)[::-1] if self.name.endswith(s)), "")
        return self.name.removesuffix(suffix)


def files(path: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[File]:
    """Lists the files that a path stands for, sorted by name.

    Args:
        path: a file; a folder, read through all its levels; or a pattern with `*`, `?`, `[...]`
            or `**`.
        suffixes: which files of a folder are taken. Hidden ones never are.

    Raises:
        DataError: there is none.
    """
    given = Path(path).expanduser()
    if given.is_file():
        return [File(given, given.name)]
    if given.is_dir():
        root, paths = given, _of_folder(given, suffixes)
    else:
        fixed = [part for part in given.parents if not glob.has_magic(str(part))]
        root, paths = fixed[0], [Path(match) for match in glob.glob(str(given), recursive=True)]
    names = {file.relative_to(root).as_posix(): file for file in paths if file.is_file()}
    shown = [name for name in names if not any(p.startswith(".") for p in name.split("/"))]
    if not shown:
        plain = [suffix for suffix in suffixes if suffix.count(".") == 1]
        what = f"holds no file *{', *'.join(plain)}" if given.is_dir() else "no such file"
        raise DataError(
            f"{path}: {what}. Give a file, a folder or a pattern such as data/*.jsonl, {HERE}"
        )
    return [File(names[name], name) for name in sorted(shown)]


def saved_tables(folder: Path) -> list[Path] | None:
    """Lists the Arrow files of a data set that `save_to_disk` wrote; None for any other folder.

    Raises:
        DataError: files of it are not there.
    """
    if not (folder / "dataset_info.json").is_file():
        return None
    try:
        state = json.loads((folder / "state.json").read_bytes())
        tables = [folder / Path(file["filename"]).name for file in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if missing := [table.name for table in tables if not table.is_file()]:
        raise DataError(
            f"{folder} lacks {', '.join(missing[:3])}, {len(missing)} of the {len(tables)} files "
            "that its state.json names: copy them there, or write it again with save_to_disk"
        )
    return tables


def _of_folder(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Lists the files of a folder; of a data set that was saved there, its tables alone.

    Raises:
        DataError: it holds several splits, or lacks files of one.
    """
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    paths: list[Path] = []
    for each in folders:
        _check_one_split(each)
        tables = saved_tables(each)
        inside = (path for path in each.iterdir() if path.name.endswith(suffixes))
        paths += inside if tables is None else tables
    return [path for path in paths if path.name != "dataset_dict.json"]


def _check_one_split(folder: Path) -> None:
    """Refuse the splits of a saved dictionary as one: it was split so that they stay apart."""
    if not (folder / "dataset_dict.json").is_file():
        return
    splits = sorted(each.name for each in folder.iterdir() if (each / "state.json").is_file())
    if len(splits) > 1:
        chosen = "train" if "train" in splits else splits[0]
        raise DataError(
            f"{folder} holds the splits {', '.join(splits)} of a data set that was saved: give "
            f"the folder of one of them, as {folder / chosen}"
        )


def read_text(path: Path) -> str:
    """Returns the text of a small file that a source names beside its data.

    Raises:
        DataError: it cannot be read, is a Git LFS pointer, or is not UTF-8.
    """
    try:
        if lfs.is_pointer(path):
            raise DataError(f"{path} {lfs.ADVICE}")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"{path}: {reason}. Give the path of a text file, {HERE}") from None


def digests(paths: list[File]) -> list[list[str]]:
    """Returns name and SHA-256 of each file: names count, as ids and tasks may come from them."""
    try:
        return [[file.name, file_digest(file.path)] for file in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None


def content(source: FileSource) -> list[list[str]]:
    """Returns what determines the instances of a source besides its options."""
    return digests(files(source.path))
