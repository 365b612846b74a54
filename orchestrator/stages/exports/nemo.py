"""An order for NeMo AutoModel, the trainer of language models among NVIDIA's NeMo.

After version 0.7.0, the documentation of `ChatDataset` and of its data loader, which shuffles
unless it is told not to.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.stages.exports.order import (
    DATA_FILE,
    Order,
    learned,
    refuse,
    write_lines,
    write_settings,
)

ABOUT = (
    "For NeMo AutoModel, after its version 0.7.0: put these keys in the place of those of your "
    "recipe for `automodel`, and start it in this folder. They cannot hold the last rows: where "
    "the rows do not divide by the GPUs, what is over is left out; several GPUs share each step."
)


def write(order: Order, folder: Path) -> None:
    """`train.jsonl` and `settings.yaml`.

    Raises:
        DataError: answers without loss that NeMo AutoModel cannot be told of, or tool messages.
    """
    refuse(
        order.rows,
        lambda row: any(message["role"] == "tool" for message in row.messages),
        "NeMo AutoModel asks tool messages for the id of their call, which a plan does not hold",
    )
    marks = learned(order.rows, "NeMo AutoModel")
    write_lines(
        folder / DATA_FILE, ({"id": row.id, "messages": row.messages} for row in order.rows)
    )
    settings = {
        "dataset": {
            "_target_": "nemo_automodel.components.datasets.llm.ChatDataset",
            "path_or_dataset_id": DATA_FILE,
            "seq_length": order.config.model.max_length,
            "truncation": True,
            "mask_history": not marks.all,
        },
        "dataloader": {
            "_target_": "torchdata.stateful_dataloader.StatefulDataLoader",
            "shuffle": False,
            "group_by_length": False,
            "drop_last": False,
        },
        "packed_sequence": {"packed_sequence_size": 0},
        "step_scheduler": {
            "global_batch_size": order.config.training.global_batch,
            "num_epochs": 1,
        },
    }
    write_settings(folder, order, ABOUT, settings)
