"""`orchestrator verify`: what the files of a study prove, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from orchestrator.errors import UserError
from orchestrator.screen import plain_console, print_text
from orchestrator.training.outcome import Outcome
from orchestrator.verify import Certificate, verify_forecasts, verify_measured, verify_study

WRONG = "[red]  wrong[/]"


def print_proofs(folder: Path) -> bool:
    """Print what each trial, each measurement and each forecast in a study's folder proves.

    Returns:
        True where all is as it was written.
    """
    console = plain_console()
    sound = True
    for word, text in _proofs(folder):
        print_text(console, f"{word} {escape(text)}")
        sound = sound and word != WRONG
    return sound


def _proofs(folder: Path) -> Iterator[tuple[str, str]]:
    for name, result in verify_study(folder):
        yield (WRONG, str(result)) if isinstance(result, UserError) else _certified(name, result)
    for name, tables in verify_measured(folder):
        yield _sound(name, tables, f"{tables} tables as written")
    for name, digest in verify_forecasts(folder):
        yield _sound(name, digest, f"SHA-256 {digest}")


def _certified(name: str, result: Certificate | Outcome) -> tuple[str, str]:
    if isinstance(result, Outcome):
        words = f"after step {result.last_step}: a scheduler ended it, there is no certificate"
        return "[yellow]stopped[/]", f"{name}  {words}"
    twin = f", the result of {result.twin_of}" if result.twin_of else ""
    words = f"order {result.order}, {result.tables} tables as written{twin}"
    return "[green] proved[/]", f"{name}  {words}"


def _sound(name: str, found: object, words: str) -> tuple[str, str]:
    if isinstance(found, UserError):
        return WRONG, str(found)
    return "[green]  sound[/]", f"{name}  {words}"
