"""What a terminal shows while a study runs."""

import os
import pty
import subprocess
import sys

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
