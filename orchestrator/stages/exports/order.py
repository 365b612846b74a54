"""An order as exports read it: the rows of a plan in turn, and how their files are written."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.schema import TrialConfig
from orchestrator.config.strict_yaml import dump
from orchestrator.data.dataset import load_messages_of, load_unlearned_of
from orchestrator.data.instance import Message
from orchestrator.errors import DataError
from orchestrator.storage.artifacts import Artifact, replacing, write_text

DATA_FILE = "train.jsonl"
SETTINGS_FILE = "settings.yaml"


class Row(NamedTuple):
    """A row of a plan.

    Attributes:
        id: of its instance.
        messages: all of its conversation.
        unlearned: positions in `messages` of answers that carry no loss, rising.
    """

    id: str
    messages: list[Message]
    unlearned: list[int]


@dataclass(frozen=True)
class Order:
    """A plan of a study's trial, and what it was made from.

    Attributes:
        plan: its Parquet file.
        config: of the trial.
        dataset: the instances of all splits.
        near_duplicates: of pool and test items; None where they are not told, or nothing was
            embedded.
    """

    plan: Path
    config: TrialConfig
    dataset: Artifact
    near_duplicates: Artifact | None = None

    @cached_property
    def table(self) -> pa.Table:
        """The plan, a row a line, in order."""
        return pq.read_table(self.plan)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows in order, with their messages; all of them are held in memory."""
        places, folder = self.table["row"].to_numpy(), self.dataset.path
        messages, unlearned = load_messages_of(folder, places), load_unlearned_of(folder, places)
        return list(map(Row, self.table["id"].to_pylist(), messages, unlearned))


class Learned(NamedTuple):
    """What a trainer that has no mark for single answers can be told of all rows at once.

    Attributes:
        all: every answer of every row carries loss.
        last: of every row the last answer alone does.
    """

    all: bool
    last: bool


def learned(rows: Sequence[Row], trainer: str) -> Learned:
    """Which answers carry loss in every row; rows of one answer each that does are of both kinds.

    Raises:
        DataError: neither all nor the last of every row, which the trainer cannot be told.
    """
    marked = next((row for row in rows if row.unlearned), None)
    short = next((row for row in rows if row.unlearned != _answers(row)[:-1]), None)
    if marked and short:
        raise DataError(
            f"{trainer} has no mark for an answer without loss, and here neither all answers of "
            f"each row carry loss (message {marked.unlearned[0] + 1} of {marked.id!r} does not) "
            f"nor the last alone (not so in {short.id!r}): give --format axolotl, which marks each "
            "answer, or hf or jsonl"
        )
    return Learned(all=marked is None, last=short is None)


def refuse(rows: Sequence[Row], unfit: Callable[[Row], bool], why: str) -> None:
    """Refuse rows that a trainer would leave out or stop at.

    Raises:
        DataError: naming the first one.
    """
    found = next((row for row in rows if unfit(row)), None)
    if found:
        raise DataError(f"{why}, as those of {found.id!r}: give --format axolotl, trl, hf or jsonl")


def _answers(row: Row) -> list[int]:
    return [at for at, message in enumerate(row.messages) if message["role"] == "assistant"]


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """A JSON object a line, all or nothing; the folder is made.

    In ASCII: some trainers split a file at every character that Unicode ends lines with, of which
    JSON leaves U+0085, U+2028 and U+2029 as they are.
    """
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def write_settings(folder: Path, order: Order, about: str, settings: dict[str, Any]) -> None:
    """The settings of a trainer as YAML, all or nothing; what they are above them.

    Args:
        about: which trainer reads them and how, and what they cannot hold.
    """
    training = order.config.training
    ends = f", and ends after step {training.max_steps:,}" if training.max_steps else ""
    if training.epochs > 1:
        ends += f", in {training.epochs:,} passes, each of which ends with a batch of its own"
    about += (
        f" The order is of {len(order.table):,} rows; its study feeds {training.global_batch:,} "
        f"a step{ends}. The text around the messages is that of the trainer's template, not of the "
        "study's."
    )
    text = textwrap.indent(textwrap.fill(about, 96, break_on_hyphens=False), "# ")
    write_text(folder / SETTINGS_FILE, text + "\n" + dump(settings))
