"""A few rows of a study as the model will see them, before anything runs; no engine is started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from orchestrator import models
from orchestrator.config import Study, TrialConfig
from orchestrator.config.faults import show
from orchestrator.config.layout import Layout
from orchestrator.data.dataset import SPLITS, load_messages_of, load_unlearned_of, name_of
from orchestrator.screen import Screen, quiet_streams
from orchestrator.stages.dataset import dataset_spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.remote import ArtifactStore, check_remote_store
from orchestrator.study.checks import check_here
from orchestrator.study.shared import SharedResources
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import check_template, load_tokenizer, make_template
from orchestrator.trials import Trial, expand

OPEN, CLOSE = "[[", "]]"  # around what carries loss, so that it shows without colour, too


def show_rows(study: Study, rows: int) -> bool:
    """Print so many rows of each set, spread evenly over it.

    Args:
        study: each data set of it is shown under each model, template and length once.
        rows: of each set, at most.

    Returns:
        Whether all of them can be fed as they are; why others cannot is printed in their place.

    Raises:
        UserError: data that cannot be read, a model that cannot be had or cannot do what it is for,
            or a place that cannot be written.
    """
    layout, trials = Layout.of(study), expand(study)
    check_here(layout, trials, starts_ray=False)
    if study.remote_store:
        check_remote_store(study.remote_store)
    shown = {_text_of(trial.config): trial for trial in reversed(trials)}
    sound = True
    with (
        tempfile.TemporaryDirectory() as scratch,
        quiet_streams(Path(scratch) / "log") as console,
        Screen(console) as screen,
    ):
        shared = SharedResources(ArtifactStore(layout.store, None), screen)

        @cache
        def folder_of(model: str) -> Path:
            line = screen.line(f"model {model}")
            folder = models.resolve(model, layout.store)
            line.done(f"in {folder.parent.name}/{folder.name}")
            return folder

        for trial in reversed(shown.values()):
            if len(shown) > 1:
                screen.print(Text(f"\n{_difference(trial)}", style="bold"))
            instances = shared.get(dataset_spec(trial.config.data))
            tokenizer = load_tokenizer(folder_of(trial.config.model.reference))
            sound &= _show(trial.config, instances, tokenizer, rows, screen)
    return sound


def _text_of(config: TrialConfig) -> str:
    """What the text of a trial's rows hangs on."""
    model = config.model
    lengths = (model.max_length, config.test_length)
    return repr((config.data, model.reference, model.template, *lengths))


def _difference(trial: Trial) -> str:
    """What a sweep sets of the data and the model."""
    keys = (key for key in trial.settings if key.startswith(("data.", "model.", "evaluation.max")))
    return ", ".join(f"{key}: {show(trial.settings[key])}" for key in keys)


def _show(
    config: TrialConfig, instances: Artifact, tokenizer: Any, rows: int, screen: Screen
) -> bool:
    """The rows of one data set under one model."""
    model = config.model
    if odd := check_template(model.template, tokenizer):
        screen.tell(odd, "note")
    screen.print(
        Text(
            f"model {model.reference}, template {model.template!r}: {OPEN}what carries loss{CLOSE}"
        )
    )
    encoder = Encoder(tokenizer, make_template(model.template, tokenizer), Prover(tokenizer))
    first, sound = 0, True
    for split in (name for name in SPLITS if name in instances.info["splits"]):
        size = instances.info["splits"][split]["instances"]
        spread = first + np.arange(min(rows, size)) * size // min(rows, size)
        first += size
        cut_at = (model.max_length, "model.max_length")
        if split != "pool" and config.test_length:
            cut_at = (config.test_length, "evaluation.max_length")
        unlearned = load_unlearned_of(instances.path, spread)
        made = encoder.rows(load_messages_of(instances.path, spread), unlearned)
        for place, (row, (ids, marks)) in enumerate(zip(spread.tolist(), made, strict=True)):
            name = name_of(instances.path, row)
            screen.print()
            if place in encoder.refused:
                screen.tell(f"{name} is refused: {encoder.refused[place]}")
                sound = False
            else:
                _print_row(screen.console, name, ids, marks, cut_at, tokenizer)
    return sound


def _print_row(
    console: Console,
    name: str,
    ids: list[int],
    marks: list[bool],
    cut_at: tuple[int, str],
    tokenizer: Any,
) -> None:
    """One row, up to a number of tokens that a key of the study file sets."""
    max_length, key = cut_at
    kept = min(len(ids), max_length)
    learned = sum(marks[:max_length])
    lengths = f"{len(ids):,} tokens, {sum(marks):,} learned"
    if kept < len(ids):
        lengths += f"; cut to {key}: {kept:,}, {learned:,} learned"
    if not learned:
        lengths += "; no answer is left, the row has no loss"
    console.print(Text(f"{name}: {lengths}", style="bold"), soft_wrap=True)
    shown = Text()
    for text, carries in _runs(ids[:max_length], marks[:max_length], tokenizer):
        shown.append(f"{OPEN}{text}{CLOSE}" if carries else text, "green" if carries else "")
    if kept < len(ids):
        shown.append(" ... (cut)", "red")
    console.print(shown, soft_wrap=True)


def _runs(ids: Sequence[int], marks: Sequence[bool], tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """The text of each stretch of tokens that do, or do not, carry loss."""
    changes = [place for place in range(1, len(ids)) if marks[place] != marks[place - 1]]
    before = ""
    for end in (*changes, len(ids)):
        # From the start each time: some decoders leave out the space that a text begins with.
        whole = tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False)
        yield _printable(whole[len(before) :]), marks[end - 1]
        before = whole


def _printable(text: str) -> str:
    """A text without what would move a terminal's cursor or change its colours."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
