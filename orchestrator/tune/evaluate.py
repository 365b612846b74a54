"""A model that no trial trained, measured where the ranks of a trial would be."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import ray

from orchestrator.errors import DiskError, UserError
from orchestrator.host.stop_signal import signals_kept
from orchestrator.storage.disk import writing
from orchestrator.training.spec import TrialSpec
from orchestrator.tune.trainable import gang_trainer, placement_of, refusal_of, takes_less


def run_evaluation(
    spec: TrialSpec, adapter: Path | None, facts: dict[str, Any], storage: Path
) -> None:
    """Measure a model, again with smaller micro-batches where memory ran out.

    Args:
        spec, adapter, facts: as of `evaluate_model`.
        storage: folder for Ray's own files.

    Raises:
        UserError: what `evaluate_model` refuses; a DiskError where a disk is full or fails.
    """
    placement = placement_of(spec.config, storage)

    def run_rank() -> None:
        from orchestrator.training.evaluate import evaluate_model

        evaluate_model(spec, adapter, facts)

    while True:
        try:
            with writing(spec.folder):
                if placement.alone:
                    # A process of its own: what it loaded goes with it.
                    ray.get(ray.remote(num_cpus=placement.cpus, max_calls=1)(run_rank).remote())
                else:
                    # Ray Train's handler would stay, and take Ctrl-C for its own.
                    with signals_kept(signal.SIGINT):
                        gang_trainer(spec, placement, f"evaluate-{spec.trial}", run_rank).fit()
            return
        except DiskError:
            raise
        except Exception as error:
            if not takes_less(error):
                if (refusal := refusal_of(error)) is not None:
                    raise UserError(refusal) from None
                raise
