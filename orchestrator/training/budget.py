"""The token budget of a trial's micro-batches: halved where memory ran out, and kept in a file.

What is computed does not depend on it, but for rounding. Memory that ran out in a forward pass is
met by splitting the rest of the step again. In a backward pass some gradients are added already and
other ranks may wait for them: the attempt ends, and the next one reads the smaller budget here and
continues from the newest checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.artifacts import write_json
from orchestrator.storage.files import BUDGET_FILE
from orchestrator.training.spec import TrialSpec

MAX_HALVINGS = 3


@dataclass
class TokenBudget:
    """Padded tokens in a micro-batch of a trial.

    Attributes:
        tokens: at most so many in one micro-batch, but for a single longer row.
        halvings: of what the study asks for, by this attempt and those before.
    """

    folder: Path
    key: str
    tokens: int
    halvings: int

    @classmethod
    def read(cls, spec: TrialSpec) -> TokenBudget:
        """The study's budget, halved as often as earlier attempts had to."""
        try:
            kept = json.loads((spec.folder / BUDGET_FILE).read_bytes())
            halvings = int(kept["halvings"]) if kept["key"] == spec.key else 0
        except (OSError, ValueError, KeyError):
            halvings = 0
        budget = cls(spec.folder, spec.key, 0, halvings)
        budget.tokens = budget.halved(spec.config.training.micro_batch_tokens)
        return budget

    @property
    def exhausted(self) -> bool:
        """Says whether the budget was halved as often as is allowed."""
        return self.halvings >= MAX_HALVINGS

    def halved(self, tokens: int) -> int:
        """So many tokens, halved as often as this budget was."""
        return max(1, tokens >> self.halvings)

    def halve(self, *, write: bool) -> None:
        """Halve the budget; one rank writes it down for later attempts."""
        self.halvings += 1
        self.tokens = max(1, self.tokens // 2)
        if write:
            write_json(self.folder / BUDGET_FILE, {"key": self.key, "halvings": self.halvings})
