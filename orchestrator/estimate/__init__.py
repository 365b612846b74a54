"""What a study will cost, from its file and what the store holds; nothing is built or fetched.

`stored` looks into the store, `amounts` counts rows, steps and tokens, `memory` and `disk` turn
them into bytes, `screen` shows it. Not a promise: a count that is not known before the data is
read carries a mark, or is left open.
"""

from orchestrator.estimate.screen import print_plan

__all__ = ["print_plan"]
