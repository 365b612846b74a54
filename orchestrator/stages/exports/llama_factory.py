"""An order for LLaMA-Factory.

After version 0.9.5: `data/README.md` (OpenAI format) and the help of its arguments. Its trainer
walks the rows in turn where `disable_shuffling` is set (`_get_train_sampler`).
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.stages.exports.order import (
    DATA_FILE,
    Order,
    Row,
    learned,
    refuse,
    write_lines,
    write_settings,
)
from orchestrator.storage.artifacts import write_json

ABOUT = (
    "For LLaMA-Factory, after its version 0.9.5: add these keys to the file that you give to "
    "`llamafactory-cli train`, beside model_name_or_path, stage: sft and template, and start it in "
    "this folder. They cannot hold the batch: per_device_train_batch_size x "
    "gradient_accumulation_steps x GPUs has to be the rows of a step; several GPUs share each step "
    "and fill a last short one with rows from the front."
)
DATA_SET = {
    "file_name": DATA_FILE,
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "system_tag": "system",
    },
}


def write(order: Order, folder: Path) -> None:
    """`train.jsonl`, `dataset_info.json`, which describes it, and `settings.yaml`.

    Raises:
        DataError: answers without loss that LLaMA-Factory cannot be told of, or roles for which it
            leaves a row out.
    """
    refuse(
        order.rows,
        _left_out,
        "LLaMA-Factory leaves out a row whose roles, behind a first system message, do not "
        "alternate between user or tool and assistant",
    )
    marks = learned(order.rows, "LLaMA-Factory")
    write_lines(
        folder / DATA_FILE, ({"id": row.id, "messages": row.messages} for row in order.rows)
    )
    write_json(folder / "dataset_info.json", {"arranged": DATA_SET})
    settings = {
        "dataset_dir": ".",
        "dataset": "arranged",
        "disable_shuffling": True,
        "streaming": False,  # a stream is shuffled in a buffer all the same
        "packing": False,
        "val_size": 0,
        "dataloader_drop_last": False,
        "num_train_epochs": 1,
        "cutoff_len": order.config.model.max_length,
        "mask_history": not marks.all,
    }
    write_settings(folder, order, ABOUT, settings)


def _left_out(row: Row) -> bool:
    """After `SharegptDatasetConverter`, which only warns of it."""
    roles = [message["role"] for message in row.messages]
    spoken = roles[1:] if roles[0] == "system" else roles
    return not (set(spoken[::2]) <= {"user", "tool"} and set(spoken[1::2]) == {"assistant"})
