"""The `data` section: where instances come from, and what is kept of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from orchestrator.config.section import Fraction, Section


class Tasks(Section):
    """Which tasks of a source are read, as shell patterns (`*`, `?`, `[...]`)."""

    include: Annotated[list[str], Field(min_length=1)] = ["*"]
    exclude: list[str] = []


class SourceOptions(Section):
    """What every reader understands."""

    max_per_task: PositiveInt | None = None  # instances kept of each task
    seed: Annotated[int, Field(ge=0)] | None = None  # which ones: null, the first; else a sample
    max_turns: PositiveInt = 1  # user/assistant pairs kept of a conversation (paper: 1)
    max_chars: PositiveInt | None = None  # characters of all messages together
    too_long: Literal["drop", "cut"] = "drop"  # what happens beyond max_chars
    tasks: Tasks = Tasks()
    bad_records: Literal["error", "skip"] = "error"  # skipped ones are counted by reason

    @model_validator(mode="after")
    def _sampled(self) -> SourceOptions:
        if self.seed is not None and self.max_per_task is None:
            raise ValueError("seed chooses max_per_task instances of each task: set max_per_task")
        return self


class BuiltinSource(SourceOptions):
    """The task suite that is generated in code."""

    reader: Literal["builtin"]
    split: Literal["pool", "query", "held_out", "off_target"]


Columns = str | Annotated[list[str], Field(min_length=1)]


class Fields(Section):
    """Names of the columns of a record. `messages`, where given, takes the place of prompt and
    completion; a null `id` numbers the records; a null `task` leaves them without a task. Several
    columns, as in prompt: [instruction, input], are joined; those without text are left out."""

    id: str | None = "id"
    task: str | None = "task"
    prompt: Columns = "prompt"
    completion: Columns = "completion"
    separator: str = "\n\n"  # between joined columns: a blank line
    messages: str | None = None


class FileSource(SourceOptions):
    # A file, a folder or a pattern such as data/*.jsonl.gz. Each file is read as what its first
    # bytes say: JSON Lines, an array or objects of JSON, packed by gzip, bzip2, xz or zstd or not,
    # Parquet or Arrow. A folder that `save_to_disk` of datasets wrote is one of Arrow files.
    path: str


class JsonlSource(FileSource):
    """JSON objects: one a line, in an array, or one after another."""

    reader: Literal["jsonl"]
    fields: Fields = Fields()


class ParquetSource(FileSource):
    """One row a record."""

    reader: Literal["parquet"]
    fields: Fields = Fields()


class FlanMiniSource(FileSource):
    """Flan-mini: conversations with their task in `source`."""

    reader: Literal["flan_mini"]
    keys: str | None = None  # file {"train_key_list": [...], "eval_key_list": [...]} of tasks
    split: Literal["train", "eval"] | None = None  # which list

    @model_validator(mode="after")
    def _split(self) -> FlanMiniSource:
        if (self.keys is None) != (self.split is None):
            raise ValueError("keys names the file of the split: set keys and split, or neither")
        return self


class NIV2Source(FileSource):
    """Natural Instructions: a folder with tasks/*.json and splits/default/*_tasks.txt."""

    reader: Literal["niv2"]
    split: Literal["train", "test"] | None = None  # null: every task file
    examples: Annotated[int, Field(ge=0)] = 2  # positive examples in the prompt, at most


class P3Source(FileSource):
    """P3: a folder of one file or folder a task, or files with a column `task`."""

    reader: Literal["p3"]
    split: str | None = None  # read only files below, or named after, this split


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
    name: str  # owner/name, or a folder
    subset: str | None = None  # configuration of the data set
    split: str = "train"
    revision: str | None = None  # commit, tag or branch; null: the newest, pinned when read
    fields: Fields = Fields()


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
    pool: Source  # training instances
    query: Source  # test instances that the arrangement may see
    held_out: Source | None = None  # test instances that it never sees
    off_target: Source | None = None  # unrelated tasks, to show harm
    leakage: Literal["error", "drop", "allow"] = "error"  # pool rows that are also test rows
    near_duplicate: Fraction = 0.95  # cosine from which a pool row is reported as nearly a test row
