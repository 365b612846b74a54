"""The token budgets of a trial's passes: halved where memory ran out, and kept in a file.

What is computed does not depend on them, but for rounding. Memory that ran out in a forward pass is
met by splitting the rest of the step again. In a backward pass some gradients are added already and
other ranks may wait for them: the attempt ends, and the next one reads the smaller budget here and
continues from the newest checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.artifacts import write_json
from orchestrator.storage.files import BUDGET_FILES
from orchestrator.training.spec import TrialSpec

MAX_HALVINGS = 3


@dataclass
class TokenBudget:
    """Tokens in one forward pass of a rank, with the padding where rows are padded.

    Attributes:
        section: of the study file that sets it, `training` or `evaluation`.
        tokens: at most so many in one micro-batch, but for a single longer row.
        halvings: of what the study asks for, by this attempt and those before.
    """

    folder: Path
    key: str
    section: str
    tokens: int
    halvings: int = 0

    @classmethod
    def read(cls, spec: TrialSpec, section: str = "training") -> TokenBudget:
        """The study's budget, halved as often as earlier attempts had to."""
        try:
            kept = json.loads((spec.folder / BUDGET_FILES[section]).read_bytes())
            halvings = int(kept["halvings"]) if kept["key"] == spec.key else 0
        except (OSError, ValueError, KeyError):
            halvings = 0
        wanted = spec.config.training.micro_batch_tokens
        if section == "evaluation":
            wanted = spec.config.evaluation.micro_batch_tokens or wanted
        return cls(spec.folder, spec.key, section, max(1, wanted >> halvings), halvings)

    @property
    def exhausted(self) -> bool:
        """Says whether the budget was halved as often as is allowed."""
        return self.halvings >= MAX_HALVINGS

    def halve(self, *, write: bool) -> None:
        """Halve the budget; one rank writes it down for later attempts."""
        self.halvings += 1
        self.tokens = max(1, self.tokens // 2)
        if write:
            path = self.folder / BUDGET_FILES[self.section]
            write_json(path, {"key": self.key, "halvings": self.halvings})
