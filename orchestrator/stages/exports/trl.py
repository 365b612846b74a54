"""An order for TRL.

After version 1.16.0, the documentation of `SFTConfig` and of `trl sft`, with transformers 5.23:
its trainer draws rows at random unless `train_sampling_strategy` is `sequential`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.stages.exports.order import (
    DATA_FILE,
    Order,
    Row,
    learned,
    write_lines,
    write_settings,
)

ABOUT = (
    "For TRL, after its version 1.16.0: start `trl sft --config settings.yaml "
    "--model_name_or_path MODEL` in this folder, or give all keys but datasets to SFTConfig. They "
    "cannot hold the batch: per_device_train_batch_size x gradient_accumulation_steps x GPUs has "
    "to be the rows of a step; several GPUs share each step and fill a last short one with rows "
    "from the front. A row whose answers are all behind max_length is left out, and those behind "
    "it move up."
)


def write(order: Order, folder: Path) -> None:
    """`train.jsonl`, as prompt and completion where the last answers alone carry loss, else as
    messages, and `settings.yaml`.

    Raises:
        DataError: answers without loss that TRL cannot be told of.
    """
    marks = learned(order.rows, "TRL")
    write_lines(folder / DATA_FILE, (_record(row, split=marks.last) for row in order.rows))
    settings = {
        "datasets": [{"path": "json", "data_files": DATA_FILE, "split": "train"}],
        "train_sampling_strategy": "sequential",
        "shuffle_dataset": False,
        "packing": False,
        "dataloader_drop_last": False,
        "num_train_epochs": 1,
        "max_length": order.config.model.max_length,
        # Every answer of a conversation: only some chat templates can tell where they stand.
        ("completion_only_loss" if marks.last else "assistant_only_loss"): True,
    }
    write_settings(folder, order, ABOUT, settings)


def _record(row: Row, *, split: bool) -> dict[str, Any]:
    if not split:
        return {"id": row.id, "messages": row.messages}
    return {"id": row.id, "prompt": row.messages[:-1], "completion": row.messages[-1:]}
