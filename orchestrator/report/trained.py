"""What decides how the losses of a trial run, whatever machine it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.trial import Trial
from orchestrator.storage.artifacts import key_digest

# What changes where or how fast a model computes, or what is kept of it, but no loss. How many
# steps there are is asked apart: `max_steps` does not say it alone.
PLACING = {
    "model": {"cache", "attention", "gradient_checkpointing", "compile", "liger"},
    "training": {
        "workers", "cpus_per_worker", "gpus_per_worker", "node_labels", "micro_batch_tokens",
        "zero_stage", "offload", "deepspeed", "checkpoint", "save_model", "max_steps",
    },
    "embedding": {"batch_tokens", "workers", "gpus_per_worker"},
    "data": {"near_duplicate"},
}  # fmt: skip


def deciding(config: Mapping[str, Any], *names: str) -> dict[str, dict[str, Any]]:
    """Sections of a configuration without what changes no loss.

    Args:
        config: as JSON; a section that it does not have is taken for empty.
        names: of sections.
    """
    return {
        name: {
            key: value for key, value in config.get(name, {}).items() if key not in PLACING[name]
        }
        for name in names
    }


def trained_digest(trial: Trial) -> str:
    """Of the rows that a finished trial was fed, in their order, and of how and on what data.

    Trials with equal ones end alike but for what a seed draws beside the order, in any study.
    """
    sections = deciding(trial.config, "data", "model", "training")
    return key_digest([trial.summary["order_sha256"], sections])[:16]
