"""What a terminal shows while a study runs."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from orchestrator import screen as screens
from orchestrator.report.summary import by_reason, screen_table
from orchestrator.screen import Screen
from orchestrator.tune.watch import expected_left
from tests.waiting import PATIENCE

SCRIPT = """
import sys
from pathlib import Path
from orchestrator.screen import Screen, quiet_streams

with quiet_streams(Path(sys.argv[1])) as console, Screen(console) as screen:
    assert console.is_terminal
    line = screen.line("embeddings", total=2)
    print("printed by a library")
    print("warned by a library", file=sys.stderr)
    line.done("2 texts")
print("after it")
"""


def test_what_libraries_print_is_in_the_log_and_not_on_the_terminal(tmp_path):
    log = tmp_path / "logs" / "run.log"
    terminal, side = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", SCRIPT, log], stdin=side, stdout=side, stderr=side, check=True,
        timeout=PATIENCE, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(side)
    shown = os.read(terminal, 2**16).decode()
    os.close(terminal)
    assert "2 texts" in shown
    assert "after it" in shown, "the streams are back"
    assert "by a library" not in shown
    assert log.read_text() == "printed by a library\nwarned by a library\n"


def test_without_a_terminal_no_line_is_repeated(monkeypatch):
    monkeypatch.setattr(screens, "QUIET_SECONDS", -1)
    stream = io.StringIO()
    line = Screen(Console(file=stream)).line("trials", 8)
    for done in (0, 2, 2, 3):
        line.update(done, left=None if done < 2 else 4000)
    assert stream.getvalue().splitlines() == [
        "trials: 0/8", "trials: 2/8 about 67 min left", "trials: 3/8 about 67 min left",
    ]  # fmt: skip


def test_a_terminal_wraps_between_words_and_a_file_does_not():
    numbers, path = (6 * "+0.0123 to +0.0456, ").strip(), "/" + "a" * 100
    streams = []
    for terminal in (True, False):
        streams.append(io.StringIO())
        console = Console(file=streams[-1], force_terminal=terminal, width=80, highlight=False)
        screen = Screen(console)
        screen.print(numbers)
        screen.print(path)
        screen.print(f"orchestrator verify {path}", whole=True)
    shown, filed = (stream.getvalue().splitlines() for stream in streams)
    assert filed == [numbers, path, f"orchestrator verify {path}"]
    assert [len(line) <= 80 for line in shown] == [True, True, False, False]
    assert " ".join(line.strip() for line in shown[:2]) == numbers
    assert shown[2:] == filed[1:], "what is copied stays in one line"


def test_a_terminal_shows_the_count_and_the_time_left_where_they_are_known_and_nothing_instead():
    stream, shown = io.StringIO(), []
    with Screen(Console(file=stream, force_terminal=True, width=80, highlight=False)) as screen:
        for total, left in ((None, None), (8, None), (8, 4000.0)):
            line = screen.line("trials", total)
            line.update(1, left=left)
            look = io.StringIO()
            Console(file=look, width=80).print(screen.progress.get_renderable())
            shown.append(" ".join(look.getvalue().split()))
            line.done("x " * 31)
    assert shown == ["trials", "trials 1/8", "trials 1/8 67 min left"]
    assert "(0.0s)" in stream.getvalue(), "no number is parted from its unit"


@pytest.mark.parametrize(
    ("finished", "running", "waiting", "left"),
    [
        ([100.0, 140.0], [20.0, 60.0], 2, (100 + 60 + 2 * 120) / 2),
        ([100.0], [10.0, 90.0], 0, 90),  # the last two: as long as the later one
        ([100.0], [400.0], 1, 100),  # it takes longer than expected
        ([100.0], [60.0], 3, (40 + 3 * 100) / 2),  # the second one is about to begin
        ([], [50.0], 3, None),
        ([100.0], [], 0, None),
    ],
)
def test_the_time_left_of_a_study_follows_from_its_finished_trials(
    finished, running, waiting, left
):
    assert expected_left(finished, running, waiting, at_once=2) == left


def test_a_reason_is_told_once_for_all_the_trials_that_it_ended():
    errors = {"a": "no memory", "b": "late", "c": "late", "d": "late", "e": "late", "f": "late"}
    assert list(by_reason(errors)) == [("no memory", "a"), ("late", "b, c, d and 2 more")]
    assert list(by_reason({"a": "late", "b": "late", "c": "late"})) == [("late", "a, b, c")]


def test_the_last_table_begins_with_the_lowest_loss_and_names_losses_as_losses():
    rows = [
        {"trial": "died", "status": "failed"},
        {"trial": "far", "query_loss": 2.0, "query_loss_auc": 3.0},
        {"trial": "near", "query_loss": 2.1, "query_loss_auc": 2.5},
    ]
    rows = [{"status": "finished", "steps": 9} | row for row in rows]
    stream = io.StringIO()
    Console(file=stream, width=80).print(screen_table(rows))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert lines[0] == ["query", "query", "loss"]
    assert lines[1] == ["trial", "status", "steps", "loss", "by", "area"]
    assert [line[0] for line in lines[2:]] == ["near", "far", "died"]
    rows[2]["steps"] = 90  # areas are of other stretches then
    Console(file=stream, width=80).print(screen_table(rows))
    assert [line.split()[0] for line in stream.getvalue().splitlines()[-3:]] == [
        "far", "near", "died",
    ]  # fmt: skip
