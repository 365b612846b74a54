"""Bytes that a study will leave on disk, beside the models that it fetches.

The bytes a row are those of long tables as pyarrow writes them, ids of 25 characters among them:
about, not exactly.
"""

from __future__ import annotations

import math

from orchestrator.config import Study, TrialConfig
from orchestrator.config.training import SavedModels
from orchestrator.estimate.amounts import Amount, TrialAmounts, added
from orchestrator.estimate.memory import model_config, rank_memory, trained_sizes
from orchestrator.estimate.shared import is_followed
from orchestrator.estimate.stored import StoreLookup
from orchestrator.stages.arrange import looks_at_vectors
from orchestrator.stages.influence import influence_identity, influence_settings
from orchestrator.stages.own_vectors import own_vectors_bytes
from orchestrator.storage.disk import in_units
from orchestrator.trials import Trial

PLAN_ROW = 42  # plan.parquet
REALISED_ROW = 19  # realised.parquet
LOSS = 12  # losses.parquet, an item at a step
STEP = 250  # train_log.parquet and journal.jsonl
POINTS = 1600  # MLflow's database, a step with its metrics


def study_disk(
    study: Study, trials: list[Trial], amounts: list[TrialAmounts], store: StoreLookup
) -> dict[str, list[Amount | None]]:
    """Bytes that trials of a study take, by what they are for; None where they are not known.

    Args:
        trials: those that are still to run, or all.
        amounts: of each of them.
    """
    registers = study.tracking.register_model is not None
    parts: dict[str, list[Amount | None]] = {}
    for trial, amount in zip(trials, amounts, strict=True):
        for part, size in trial_disk(trial.config, amount, store, registers=registers).items():
            parts.setdefault(part, []).append(size)
    if study.sweep.scheduler.type == "fifo" and "checkpoints" in parts:
        # Trials that finish keep none, those that a scheduler stops may go on.
        by_size = sorted(parts["checkpoints"], key=lambda size: -(size.count if size else math.inf))
        parts["checkpoints"] = by_size[: study.sweep.max_concurrent]
    # Trials with the same texts under the same model share their vectors.
    apart = {f"{t.config.data!r} {t.config.embedding!r}": t.config for t in trials}
    parts["embeddings"] = [embeddings_disk(config, store) for config in apart.values()]
    # And those that train alike share the gradients of their rows.
    followed = {
        f"{t.config.data!r} {influence_identity(t.config.model)}": t.config
        for t in trials
        if is_followed(study, t.config)
    }
    parts["influence"] = [influence_disk(config, store) for config in followed.values()]
    return parts


def bytes_in_words(amounts: list[Amount | None]) -> str:
    """The sum of amounts of bytes; `and more` where some are not known."""
    amount, unknown = added(amounts)
    if amount is None:
        return "unknown"
    shown = f"{amount.mark}{in_units(amount.count)}"
    return f"{shown} and more" if unknown else shown


def trial_disk(
    config: TrialConfig, amounts: TrialAmounts, store: StoreLookup, *, registers: bool
) -> dict[str, Amount | None]:
    """Bytes of a trial by what they are for; None where they are not known yet.

    MLflow's are its copies of the trial's files, and the points, on its server if it has one.

    Args:
        registers: MLflow takes a copy of the trained model too.
    """
    files = {
        "plans": _times(amounts.rows, PLAN_ROW),
        "losses": _times(amounts.measured, LOSS),
        "logs": added([_times(amounts.steps, STEP), _times(amounts.trained, REALISED_ROW)])[0],
    }
    model = _trained_model(config, store)
    kept = model and Amount(model.count * _models_kept(config, amounts), model.mark)
    copies = [*files.values(), *([model] if registers else [])]
    return {
        **files,
        "MLflow": _sum([*copies, _times(amounts.steps, POINTS)]),
        "checkpoints": _checkpoints(config, store),
        "trained models": kept,
    }


def embeddings_disk(config: TrialConfig, store: StoreLookup) -> Amount | None:
    """Bytes of the vectors that a trial still has to make: in the artifact, and in the cache."""
    if not looks_at_vectors(config) or store.embeddings(config) is not None:
        return Amount(0)
    dataset = store.dataset(config.data)
    if dataset is not None and config.embedding.vectors is not None:
        return Amount(own_vectors_bytes(dataset, config.embedding))
    model = model_config(config.embedding.model, store)
    if dataset is None or model is None:
        return None
    splits, embedding = dataset.info["splits"], config.embedding
    texts = sum(splits[name]["instances"] for name in splits if name != "off_target")
    made = {"gradient": embedding.gradient.dimensions, "path": embedding.path.clusters + 1}
    dimensions = made.get(embedding.pooling, model["hidden_size"])
    return Amount(2 * 4 * texts * dimensions, "~")


def influence_disk(config: TrialConfig, store: StoreLookup) -> Amount | None:
    """Bytes of the gradients of all rows, and their losses, where they still have to be made: in
    the artifact, and in the cache."""
    if store.influence(config) is not None:
        return Amount(0)
    dataset = store.dataset(config.data)
    if dataset is None:
        return None
    rows = sum(split["instances"] for split in dataset.info["splits"].values())
    return Amount(2 * 4 * rows * (influence_settings(config).gradient.dimensions + 1), "~")


def _checkpoints(config: TrialConfig, store: StoreLookup) -> Amount | None:
    """Bytes of the checkpoints of a trial that runs: of what is trained, and of what the optimizer
    keeps. One more is there than are kept, until it is whole."""
    if config.training.checkpoint.every is None:
        return Amount(0)
    from orchestrator.estimate.rank import changed

    # One rank that offloads nothing holds what all of them hold together.
    whole = changed(config, {"training.workers": 1, "training.offload": "none"})
    memory, model = rank_memory(whole, store), _trained_model(config, store, always=True)
    if memory is None or model is None:
        return None
    return Amount((config.training.checkpoint.keep + 1) * (memory.optimizer + model.count), "~")


def _models_kept(config: TrialConfig, amounts: TrialAmounts) -> int:
    """How many models of a trial stay: at its end, and at steps before it."""
    saved = config.training.save_model
    at = set(saved.at) if isinstance(saved, SavedModels) else set()
    return 1 + sum(amounts.steps is None or step < amounts.steps.count for step in at)


def _trained_model(
    config: TrialConfig, store: StoreLookup, *, always: bool = False
) -> Amount | None:
    """Bytes of the weights that are trained, in the dtype that the model computes with.

    Args:
        always: also where the study does not save them.
    """
    if not (config.training.save_model or always):
        return Amount(0)
    sizes = trained_sizes(config, store)
    if sizes is None:
        return None
    adapter = config.model.adapter
    trained = sizes.parameters if adapter == "none" else sizes.adapted(adapter)
    from orchestrator.training.device import precision_here

    number = 4 if precision_here(config.model, config.training) == "float32" else 2
    return Amount(number * trained, "~")


def _sum(amounts: list[Amount | None]) -> Amount | None:
    total, unknown = added(amounts)
    return None if unknown else total


def _times(amount: Amount | None, size: int) -> Amount | None:
    return amount and Amount(amount.count * size, amount.mark or "~")
