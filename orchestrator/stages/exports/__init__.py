"""Forms in which another trainer reads an order, one a file.

Each trainer gets its data in order and the few settings that make it keep that, as the version
that is named in its file documents them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.stages.exports import axolotl, hf, lines, llama_factory, nemo, trl
from orchestrator.stages.exports.order import Order

# Of the plan and, where there are texts, the folder of the data set; returns the file.
LINES: dict[str, Callable[[Path, Path | None], Path]] = {
    "ids": lines.write_ids,
    "jsonl": lines.write_jsonl,
}
# Of the order and a folder, which they make.
FOLDERS: dict[str, Callable[[Order, Path], None]] = {
    "llama-factory": llama_factory.write,
    "axolotl": axolotl.write,
    "trl": trl.write,
    "nemo": nemo.write,
    "hf": hf.write,
}
FORMATS = (*LINES, *FOLDERS)


def check_format(form: str, *, texts: bool) -> None:
    """Refuse a form that is none, or that needs the texts of a study where there are none.

    Raises:
        UserError: with the forms that there are.
    """
    if form not in FORMATS:
        raise UserError(f"--format {form}: give one of {', '.join(FORMATS)}")
    if form in FOLDERS and not texts:
        raise UserError(
            f"--format {form} writes messages, and arrays have none: give a study, or --format "
            + " or ".join(LINES)
        )


def write_order(form: str, order: Order) -> Path:
    """An order in one of the `FORMATS`, beside its plan: a file, or a folder with its name.

    Raises:
        DataError: the form cannot say what carries loss in these rows.
    """
    if form in LINES:
        return LINES[form](order.plan, order.dataset.path)
    folder = order.plan.with_name(form)
    FOLDERS[form](order, folder)
    return folder
