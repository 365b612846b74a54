"""What a study is and what came out, in Markdown: the description of its run in MLflow."""

from __future__ import annotations

import shlex

from orchestrator.config import Study
from orchestrator.tracking import flat_params, shown_params
from orchestrator.trials import Trial

MOST_VALUES = 8  # of a swept setting


def description(
    study: Study, trials: list[Trial], command: str, answer: str = "", best: str = ""
) -> str:
    """The answer first; the settings, which may be many, last.

    Args:
        trials: of the study, as far as they are known.
        command: what runs the study again.
        answer: the report's first sentence; empty before the end.
        best: the arm whose means are metrics of the run; empty where there are none.
    """
    question = [f"*{study.claim.question}*"] if study.claim else []
    swept = swept_values(trials)
    settings = [
        f"{key}: {text}"
        for key, text in shown_params(study, changed=True).items()
        if key not in swept
    ]
    parts = [
        answer or "The answer is written here when the trials have ended.",
        *question,
        *([f"The metrics `best_arm/…` are the means of **{best}**."] if best else []),
        "**Run it again**",
        _code(_lines(command)),
        *(["**Swept**", _code([f"{key}: {text}" for key, text in swept.items()])] if swept else []),
        "**Settings other than the defaults**",
        _code(settings),
    ]
    return "\n\n".join(parts)


def swept_values(trials: list[Trial]) -> dict[str, str]:
    """What the sweep sets, as dotted key -> its values."""
    values: dict[str, dict[str, None]] = {}
    for trial in trials:
        for key, value in flat_params(trial.settings).items():
            values.setdefault(key, {})[str(value)] = None
    return {
        key: ", ".join(list(each)[:MOST_VALUES]) + (", …" if len(each) > MOST_VALUES else "")
        for key, each in values.items()
    }


def _lines(command: str) -> list[str]:
    """A command as a shell reads it, an option a line: MLflow's pages grow as wide as a line."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    return " \\\n    ".join(shlex.join(part) for part in parts).splitlines()


def _code(lines: list[str]) -> str:
    return "\n".join(["```", *lines, "```"])
