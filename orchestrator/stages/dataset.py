"""Stage 1: every source read into one table, and its token table for the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config import TrialConfig
from orchestrator.config.hold_out import HoldOut
from orchestrator.config.sources import Data, SourceOptions
from orchestrator.config.training import Model
from orchestrator.data import dataset, readers, references
from orchestrator.data.records.conversation import SYSTEM_IN_PROMPT
from orchestrator.data.records.tracked import DOUBTS, LISTED
from orchestrator.errors import DataError
from orchestrator.screen import Line
from orchestrator.stages.in_order import in_order
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.training import tokens

# Names of columns that belong to the prompt.
INPUT = re.compile(
    "inputs?|system(_prompt|_message)?|context|passage|question|documents?|article|history"
    "|instructions?",
    re.IGNORECASE,
)
DATASET_VERSION = 4
REFERENCES_VERSION = 1
TOKENS_VERSION = 3
TOKENISED_ROWS = 1_000  # at once: some tenths of a second for a core
TOKENISED_HERE = 16  # parts: a process takes seconds until it has loaded a tokenizer


def dataset_spec(data: Data) -> Spec:
    """`instances.parquet` of all splits; the sources are read once, for their digests.

    Raises:
        DataError: a source cannot be read.
    """
    pool = [
        readers.fingerprint(source) | ({"source": name} if name else {})
        for name, source in data.pool_sources.items()
    ]
    tests = {
        split: given.model_dump(mode="json")
        if isinstance(given, HoldOut)
        else readers.fingerprint(given)
        for split, given in data.test_sets.items()
    }
    sources = {"pool": pool if isinstance(data.pool, list) else pool[0], **tests}
    return Spec(
        kind="dataset",
        key={"version": DATASET_VERSION, "sources": sources, "leakage": data.leakage},
        make=lambda folder, line: dataset.write(data, folder, in_order),
        name="dataset",
        describe=describe_dataset,
        remarks=lambda info: (*unread_remarks(info, data), *system_remarks(info)),
    )


def references_spec(instances: Artifact, data: Data) -> Spec:
    """`references.parquet`: all right answers of the test items that have several."""
    splits = instances.info["splits"]
    return Spec(
        kind="references",
        key={"version": REFERENCES_VERSION, "dataset": instances.digest},
        make=lambda folder, line: {"items": references.write(data, splits, folder, in_order)},
        name="references",
        describe=lambda info: f"{info['items']:,} test items with several right answers",
    )


def tokenised_by_others(instances: Artifact) -> bool:
    """Whether a dataset has so many rows that this process does not tokenise them alone."""
    return _rows(instances) > TOKENISED_HERE * TOKENISED_ROWS


def tokens_spec(
    instances: Artifact,
    model: Model,
    model_path: Path,
    model_digest: str,
    test_length: int | None = None,
) -> Spec:
    """The token table of all instances under the model's tokenizer and template.

    Its maker raises DataError as `tokens.write`, for rows that would not be fed what their
    messages say.

    Args:
        test_length: tokens kept of each test item; makes the table of the test sets alone, in
            which rows of the pool have no tokens. None: of all instances at `model.max_length`.
    """
    tests = test_length is not None
    length = test_length or model.max_length
    tokeniser = tokens.Tokeniser(instances.path, model_path, model.template, length)
    skipped = instances.info["splits"]["pool"]["instances"] if tests else 0

    def make(folder: Path, line: Line) -> dict[str, Any]:
        # The first parts here: others would take as long to start as this process for them, and
        # what is wrong with a template reaches the user as a sentence.
        items = dataset.parts(instances.path, TOKENISED_ROWS, skipped)
        parts = _followed(in_order(tokeniser, items, TOKENISED_HERE), line)
        name_of = partial(dataset.name_of, instances.path)
        return tokens.write(parts, folder, name_of, skipped=skipped)

    return Spec(
        kind="tokens",
        key={
            "version": TOKENS_VERSION,
            "dataset": instances.digest,
            "model": model_digest,
            "template": model.template,
            "max_length": length,
            **({"of": "tests"} if tests else {}),
        },
        make=make,
        name="test tokens" if tests else "tokens",
        total=_rows(instances) - skipped,
        describe=describe_tokens,
        remarks=changed_remarks,
    )


def load_answers(instances: Artifact, table: Artifact) -> NDArray[np.int64]:
    """Returns the tokens that carry loss of each row of the pool, (pool,) int64.

    Args:
        table: the token table of the instances; every row has tokens.
    """
    pool, made = instances.info["splits"]["pool"]["instances"], tokens.load(table.path)
    starts = made.starts[: pool + 1]
    counts: NDArray[np.int64] = np.add.reduceat(
        made.answer[: starts[-1]], starts[:-1], dtype=np.int64
    )
    return counts


def _rows(instances: Artifact) -> int:
    return sum(split["instances"] for split in instances.info["splits"].values())


def _followed(parts: Iterator[tokens.Tokenised], line: Line) -> Iterator[tokens.Tokenised]:
    done = 0
    for part in parts:
        done += len(part.lengths)
        line.update(done)
        yield part


def check_sizes(config: TrialConfig, split: Mapping[str, Any]) -> None:
    """Refuse a pool that cannot fill a batch or a budget.

    Args:
        split: what a dataset remembers of its pool.

    Raises:
        DataError: naming the key to change.
    """
    arrangement, batch = config.arrangement, config.training.global_batch
    pool = split["instances"]
    left_out = ", ".join(f"{count:,} {why}" for why, count in split["dropped"].items())
    holds = f"{pool} instances" + (f" (left out: {left_out})" if left_out else "")
    if pool < batch:
        raise DataError(
            f"the pool holds {holds}, fewer than one global batch of {batch}: "
            f"set training.global_batch to {pool} or fewer, or widen data.pool"
        )
    for key, count in arrangement.least_rows().items():
        if count > pool:
            raise DataError(
                f"{key} is {count}, the pool holds {holds}: "
                f"set {key} to {pool} or fewer, or widen data.pool"
            )


def describe_tokens(info: Mapping[str, Any]) -> str:
    """A token table in a few words."""
    cut, unanswered = info["cut"], info["unanswered"]
    note = f", {cut} instances cut, {unanswered} left without an answer" if cut else ""
    if info["reshaped"]:
        note += f", white space of {info['reshaped']:,} changed by the chat template"
    of = "all" if info["proved"] == info["instances"] else f"{info['proved']:,}"
    return f"{info['tokens']:,} tokens, {of} rows proved to be their text{note}"


def changed_remarks(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A warning for each kind of thing that the tokenizer changes inside of messages."""
    for what, rows in info["changed"].items():
        yield (
            "warning",
            f"tokens: the tokenizer changes {what} in {rows:,} of {info['proved']:,} proved rows, "
            f"such as {info['examples'][what]}. Where that matters, as in code and formulas, take "
            "another model",
        )


def unread_remarks(info: Mapping[str, Any], data: Data) -> Iterator[tuple[str, str]]:
    """What records hold and nothing reads: a warning, or a note where it only describes them."""
    metadata: Counter[str] = Counter()
    for key, source, counts in _sources_read(info["splits"], data):
        metadata.update(counts["metadata"])
        if counts["unread"]:
            yield (
                "warning",
                f"{key}: the model will not see what {_counted(counts['unread'])} of its "
                f"records hold; {_mend(source, list(counts['unread']))}",
            )
    if metadata:
        yield "note", f"not read: {_counted(metadata)}"


def _sources_read(
    splits: Mapping[str, Any], data: Data
) -> Iterator[tuple[str, SourceOptions, Mapping[str, Any]]]:
    """Every source with its key, and what a dataset remembers of it."""
    for name, source in data.pool_sources.items():
        if name:
            yield f"data.pool, source {name}", source, splits["pool"]["sources"][name]
        else:
            yield "data.pool", source, splits["pool"]
    for split, given in data.test_sets.items():
        if isinstance(given, SourceOptions):
            yield f"data.{split}", given, splits[split]


def system_remarks(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A note of the system messages that became text of the user."""
    for split, counts in info["splits"].items():
        if count := counts["notes"].get(SYSTEM_IN_PROMPT):
            yield (
                "note",
                f"data.{split}: {count:,} system messages stand before their prompt, as text of "
                "the user: roles: all keeps them as turns of their own, for template: chat",
            )


def _mend(source: SourceOptions, unread: list[str]) -> str:
    """What to do about columns and keys of messages that nothing reads."""
    marks = [name for name in unread if _last(name) in LISTED]
    doubts = [name for name in unread if name not in marks and DOUBTS.fullmatch(_last(name))]
    others = [name for name in unread if name not in (*marks, *doubts)]
    parts = []
    if marks:
        parts.append(
            f"{', '.join(marks)}: not obeyed: only 0, 1, true and false are, and lists of them as "
            "long as the messages or the answers"
        )
    if doubts:
        parts.append(
            f"{', '.join(doubts)}: not obeyed: where it means that an answer is not to be learned, "
            "write train: false instead"
        )
    if others:
        parts.append(_mend_text(source, others))
    return "; ".join(parts)


def _mend_text(source: SourceOptions, unread: list[str]) -> str:
    """What to type so that text is read; nothing that may hold the answer is put into a prompt."""
    fields = getattr(source, "fields", None)
    columns = [name for name in unread if not name.startswith("messages.")]
    inputs = [name for name in columns if INPUT.fullmatch(name)]
    if fields is None and columns:
        return "to read it, use the reader jsonl, parquet or hf and name columns under fields"
    if fields is None or fields.messages is not None or not columns:
        return "to have it seen, put it into the text of a message"
    if not inputs:
        return "what the model has to see or write, put into the columns of the prompt or answer"
    asked = [fields.prompt] if isinstance(fields.prompt, str) else fields.prompt
    first = [name for name in inputs if name.lower().startswith("system")]
    others = [name for name in inputs if name not in first]
    joined = ", ".join([*first, *asked, *others])
    return f"join columns that belong to the text, as in fields: {{prompt: [{joined}]}}"


def _last(name: str) -> str:
    """The key of a message, or the column itself."""
    return name.rpartition(".")[2]


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in names.items())


def describe_dataset(info: Mapping[str, Any]) -> str:
    """A dataset's instances, what was left out and what leaks, in a line."""
    parts = []
    for split, counts in info["splits"].items():
        sources = [f"{of['instances']:,} {name}" for name, of in counts.get("sources", {}).items()]
        aside = [f"{count:,} {why}" for why, count in counts["dropped"].items()]
        if repeated := counts.get("repeated"):  # not counted by older versions
            aside.append(f"{repeated:,} with the text of another")
        note = f" = {' + '.join(sources)}" if sources else ""
        note += f" ({', '.join(aside)})" if aside else ""
        parts.append(f"{split.replace('_', '-')} {counts['instances']:,}{note}")
    leaks = [f"{count:,} {kind}" for kind, count in info["leakage"].items()]
    return ", ".join(parts) + (f"; LEAKAGE: {', '.join(leaks)}" if leaks else "")
