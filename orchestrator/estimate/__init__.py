"""What a study will cost, from its file and what the store holds; nothing is fetched.

`stored` looks into the store, and `small` reads what it lacks and is small; `amounts` counts rows,
steps and tokens, `shapes` a model's weights; `rank`, `memory` and `disk` turn them into bytes,
`earlier`, `speed` and `hours` into time and money; `fit`, `available` and `room` hold them against
what a model can do and a machine has; `shared` lists what trials share, and `screen` shows it all.
Not a promise: a count that is not known before the data is read carries a mark, or is left open.
"""

from orchestrator.estimate.screen import Known, print_estimate

__all__ = ["Known", "print_estimate"]
