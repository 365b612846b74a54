"""An order for Axolotl.

After version 0.19.0, the descriptions of its configuration. Data that is merged is shuffled unless
`shuffle_merged_datasets` is off, and its trainer draws rows at random unless `curriculum_sampling`
is on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.stages.exports.order import DATA_FILE, Order, Row, write_lines, write_settings

ABOUT = (
    "For Axolotl, after its version 0.19.0: add these keys to the file that you give to `axolotl "
    "train`, and start it in this folder. They cannot hold the batch: micro_batch_size x "
    "gradient_accumulation_steps x GPUs has to be the rows of a step; several GPUs share each step "
    "and fill a last short one with rows from the front. A row whose answers are all behind "
    "sequence_len is left out, and those behind it move up."
)
MARK = "training"


def write(order: Order, folder: Path) -> None:
    """`train.jsonl`, in which each answer says whether it is learned, and `settings.yaml`."""
    write_lines(folder / DATA_FILE, map(_record, order.rows))
    settings = {
        "datasets": [
            {
                "path": DATA_FILE,
                "ds_type": "json",
                "type": "chat_template",
                "field_messages": "messages",
                "roles_to_train": ["assistant"],
                "message_field_training": MARK,
            }
        ],
        "shuffle_merged_datasets": False,
        "curriculum_sampling": True,
        "sample_packing": False,
        "val_set_size": 0,
        "dataloader_drop_last": False,
        "num_epochs": 1,
        "sequence_len": order.config.model.max_length,
        "excess_length_strategy": "truncate",  # else a longer row is left out
    }
    write_settings(folder, order, ABOUT, settings)


def _record(row: Row) -> dict[str, Any]:
    """On every answer, learned or not: readers take the keys of all lines from the first ones."""
    messages: list[dict[str, Any]] = [
        {**message, MARK: at not in row.unlearned}
        if message["role"] == "assistant"
        else {**message}
        for at, message in enumerate(row.messages)
    ]
    return {"id": row.id, "messages": messages}
