"""The `data` section: where instances come from, and what is kept of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from orchestrator.config.section import Fraction, Section


class Tasks(Section):
    """Which tasks of a source are read, as shell patterns (`*`, `?`, `[...]`)."""

    include: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Names of those that are read."""
    exclude: list[str] = []
    """Names of those among them that are not."""


class SourceOptions(Section):
    """What every reader understands."""

    max_per_task: PositiveInt | None = None
    """Instances kept of each task; null: all."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Which ones are kept: a sample drawn with this seed; null: the first."""
    max_turns: PositiveInt = 1
    """User/assistant pairs kept of a conversation (paper: 1)."""
    max_chars: PositiveInt | None = None
    """Characters of all messages together; null: any number."""
    too_long: Literal["drop", "cut"] = "drop"
    """What becomes of an instance beyond max_chars."""
    tasks: Tasks = Tasks()
    """Which tasks are read."""
    bad_records: Literal["error", "skip"] = "error"
    """What becomes of a record that cannot be read; skipped ones are counted by reason."""

    @model_validator(mode="after")
    def _sampled(self) -> SourceOptions:
        if self.seed is not None and self.max_per_task is None:
            raise ValueError("seed chooses max_per_task instances of each task: set max_per_task")
        return self


class BuiltinSource(SourceOptions):
    """The task suite that is generated in code."""

    reader: Literal["builtin"]
    split: Literal["pool", "query", "held_out", "off_target"]
    """Which part of it."""


Columns = str | Annotated[list[str], Field(min_length=1)]


class Fields(Section):
    """Names of the columns of a record. `messages`, where given, takes the place of prompt and
    completion; a null `id` numbers the records; a null `task` leaves them without a task. Several
    columns, as in prompt: [instruction, input], are joined; those without text are left out."""

    id: str | None = "id"
    """null: records are numbered."""
    task: str | None = "task"
    """null: there are no tasks."""
    prompt: Columns = "prompt"
    """One column, or several that are joined."""
    completion: Columns = "completion"
    """One column, or several that are joined."""
    separator: str = "\n\n"
    """Between joined columns: a blank line."""
    messages: str | None = None
    """Column of whole conversations, in place of prompt and completion."""


class FileSource(SourceOptions):
    """What every reader of files understands.

    Each file is read as what its first bytes say: JSON Lines, an array or objects of JSON, packed
    by gzip, bzip2, xz or zstd or not, Parquet or Arrow. A folder that `save_to_disk` of datasets
    wrote is one of Arrow files.
    """

    path: str
    """A file, a folder or a pattern such as `data/*.jsonl.gz`."""


class JsonlSource(FileSource):
    """JSON objects: one a line, in an array, or one after another."""

    reader: Literal["jsonl"]
    fields: Fields = Fields()
    """Which column is what."""


class ParquetSource(FileSource):
    """One row a record."""

    reader: Literal["parquet"]
    fields: Fields = Fields()
    """Which column is what."""


class FlanMiniSource(FileSource):
    """Flan-mini: conversations with their task in `source`."""

    reader: Literal["flan_mini"]
    keys: str | None = None
    """File `{"train_key_list": [...], "eval_key_list": [...]}` of tasks; null: all are read."""
    split: Literal["train", "eval"] | None = None
    """Which list."""

    @model_validator(mode="after")
    def _split(self) -> FlanMiniSource:
        if (self.keys is None) != (self.split is None):
            raise ValueError("keys names the file of the split: set keys and split, or neither")
        return self


class NIV2Source(FileSource):
    """Natural Instructions: a folder with `tasks/*.json` and `splits/default/*_tasks.txt`."""

    reader: Literal["niv2"]
    split: Literal["train", "test"] | None = None
    """null: every task file."""
    examples: Annotated[int, Field(ge=0)] = 2
    """Positive examples in the prompt, at most."""


class P3Source(FileSource):
    """P3: a folder of one file or folder a task, or files with a column `task`."""

    reader: Literal["p3"]
    split: str | None = None
    """Read only files below, or named after, this split; null: all files."""


class ShareGPTSource(FileSource):
    """ShareGPT: conversations without tasks."""

    reader: Literal["sharegpt"]


class NoRobotsSource(FileSource):
    """NoRobots: conversations with a category."""

    reader: Literal["no_robots"]


class UltraChatSource(FileSource):
    """UltraChat-200k: conversations without tasks."""

    reader: Literal["ultrachat"]


class HubSource(SourceOptions):
    """A data set of the Hugging Face hub, or a folder in its layout, through `datasets`."""

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


Source = Annotated[
    BuiltinSource
    | JsonlSource
    | ParquetSource
    | FlanMiniSource
    | NIV2Source
    | P3Source
    | ShareGPTSource
    | NoRobotsSource
    | UltraChatSource
    | HubSource,
    Field(discriminator="reader"),
]


class Data(Section):
    """The pool and the test sets."""

    pool: Source
    """Training instances."""
    query: Source
    """Test instances that the arrangement may see."""
    held_out: Source | None = None
    """Test instances that it never sees."""
    off_target: Source | None = None
    """Test instances of unrelated tasks, to show harm."""
    leakage: Literal["error", "drop", "allow"] = "error"
    """What becomes of pool rows that are also test rows: shared tasks, or prompts that are equal or
    differ only in case, white space and sentence punctuation."""
    near_duplicate: Fraction = 0.95
    """Cosine from which the report counts a pool row as nearly a test row."""
