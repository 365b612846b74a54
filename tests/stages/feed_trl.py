"""Trains with TRL in folders that were exported for it, and writes down what it was fed.

`python -m tests.stages.feed_trl MODEL FOLDER...`: as `trl sft` does in each folder, which
receives `fed.json`: of each micro-batch its rows, of each row the token ids and those that carry
loss. A process of its own, as Accelerate takes over the process group of the one it runs in.
"""

import json
import os
import sys
from pathlib import Path

from trl import SFTTrainer, get_dataset
from trl.scripts.sft import make_parser

ARGUMENTS = [
    "--config", "settings.yaml",
    "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2",
    "--output_dir", "out", "--save_strategy", "no", "--report_to", "none",
    "--use_cpu", "true", "--bf16", "false",
]  # fmt: skip


class NotingTrainer(SFTTrainer):
    """Keeps what each of its micro-batches holds."""

    def training_step(self, model, inputs, *rest):
        rows = zip(inputs["input_ids"], inputs["attention_mask"], inputs["labels"], strict=True)
        self.fed.append(
            [
                [ids[mask == 1].tolist(), labels[labels != -100].tolist()]
                for ids, mask, labels in rows
            ]
        )
        return super().training_step(model, inputs, *rest)


def feed(model):
    """Trains in the current folder; returns optimizer steps and micro-batches."""
    _, settings, named, data = make_parser().parse_args_and_config(
        [*ARGUMENTS, "--model_name_or_path", model]
    )
    trainer = NotingTrainer(
        named.model_name_or_path, settings, train_dataset=get_dataset(data)["train"]
    )
    trainer.fed = []
    trainer.train()
    return {"steps": trainer.state.global_step, "micro_batches": trainer.fed}


if __name__ == "__main__":
    model, *folders = sys.argv[1:]
    for folder in folders:
        os.chdir(folder)
        Path("fed.json").write_text(json.dumps(feed(model)))
