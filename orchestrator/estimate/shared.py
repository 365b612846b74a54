"""What trials share, each artifact and model once: whether the store has it, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config import Study, TrialConfig
from orchestrator.estimate.earlier import Earlier, influence_rate, query_losses_rate
from orchestrator.estimate.stored import StoreLookup
from orchestrator.screen import duration
from orchestrator.stages.arrange import (
    arranges_vectors,
    embedding_model,
    looks_at_vectors,
    needs_of,
)
from orchestrator.stages.embed import embedded_rows
from orchestrator.stages.pool import granularity_name
from orchestrator.storage.artifacts import Artifact
from orchestrator.trials import Trial

# What vectors of a pooling are called where they are made of tokens, and what a row of them costs.
OF_TOKENS = {
    "gradient": ("gradient vectors", "a forward and a backward pass a row"),
    "path": ("target-path vectors", "forward passes of each row"),
}


@dataclass(frozen=True)
class Part:
    """An artifact or model that trials share.

    Attributes:
        name: on the screen.
        of: what it is made of.
        state: whether it is there, in words.
        seconds: that making it takes; None where it is there, or where that is not known.
        gpus: that it is made on.
    """

    name: str
    of: str
    state: str
    seconds: float | None = None
    gpus: float = 0.0


def shared_parts(
    study: Study, trials: list[Trial], store: StoreLookup, earlier: Earlier
) -> list[Part]:
    """Each artifact and model once."""
    datasets = list(dict.fromkeys(repr(trial.config.data) for trial in trials))
    parts: dict[tuple[str, str], Part] = {}
    for trial in trials:
        number = datasets.index(repr(trial.config.data)) + 1
        dataset = "the dataset" if len(datasets) == 1 else f"dataset {number}"
        needed = _needed(trial.config, dataset, store, earlier)
        if is_followed(study, trial.config):
            needed.append(_influence(trial.config, dataset, store))
        for part in needed:
            parts.setdefault((part.name, part.of), part)
    return list(parts.values())


def is_followed(study: Study, config: TrialConfig) -> bool:
    """Whether a trial is followed by the gradients of all rows: searched, or forecast by them."""
    forecast = study.forecast is not None and "quadratic" in study.forecast.forecasters
    return forecast or needs_of(config.arrangement, config.seed).influence


def _needed(config: TrialConfig, dataset: str, store: StoreLookup, earlier: Earlier) -> list[Part]:
    """What a trial shares with others."""
    embedder, model = embedding_model(config), config.model
    needed = [Part("instances", dataset, _dataset_state(config, store))]
    if looks_at_vectors(config):
        if embedder is not None:
            needed.append(Part("model", embedder, _model_state(embedder, store)))
        source = embedder or f"{config.embedding.vectors} and {config.embedding.query_vectors}"
        name, cost = OF_TOKENS.get(config.embedding.pooling, ("embeddings", ""))
        rows = vector_rows(config, store)
        rate = earlier.vector_rate(config, store) if embedder else None
        gpus = config.embedding.workers * config.embedding.gpus_per_worker
        there = store.embeddings(config)
        needed.append(_made(name, f"{dataset} by {source}", there, cost, rows, rate, gpus))
    if arranges_vectors(config.arrangement):
        unit, ends = granularity_name(config.arrangement.granularity), sorted(store.lists(config))
        state = f"{' and '.join(ends)} in the store" if ends else "made as far as they are needed"
        needed.append(Part("lists", f"{dataset} by {unit}", state))
    if needs_of(config.arrangement, config.seed).losses:
        of, rate = f"{dataset} by {model.reference}", query_losses_rate(config, store)
        gpus = config.training.workers * config.training.gpus_per_worker
        there, rows = store.query_losses(config), _rows(config, store, tests=True)
        needed.append(_made("query losses", of, there, "", rows, rate, gpus))
    if config.test_length is not None:
        of = f"{dataset} cut to {config.test_length:,} tokens"
        needed.append(Part("test tokens", of, _state(store.test_tokens(config))))
    scoring = config.evaluation.generate.reward_model
    return [
        *needed,
        *(
            Part("model", name, _model_state(name, store))
            for name in (model.reference, scoring)
            if name
        ),
        Part("tokens", f"{dataset} for {model.reference}", _state(store.tokens(config))),
    ]


def _influence(config: TrialConfig, dataset: str, store: StoreLookup) -> Part:
    of, gpus = f"{dataset} by {config.model.reference}", config.embedding.gpus_per_worker
    rows, rate = _rows(config, store), influence_rate(config, store)
    there, cost = store.influence(config), OF_TOKENS["gradient"][1]
    gpus *= config.embedding.workers
    return _made("influence", of, there, cost, rows, rate, gpus)


def _made(  # noqa: PLR0917  (a part, and what is known of making it)
    name: str,
    of: str,
    there: Artifact | None,
    cost: str,
    rows: int | None,
    rate: float | None,
    gpus: float,
) -> Part:
    """A part that is made row by row.

    Args:
        name: of the part; `of`: what it is made of.
        there: it, where the store has it.
        cost: what a row of it costs, in words.
        rows: that it is made of; None where they are not known.
        rate: rows a second of an earlier study; None without one.
        gpus: that it is made on.
    """
    state, seconds = _state(there, cost), None
    if not (there and there.reused) and rows is not None and rate is not None:
        seconds = rows / rate
        state += f"{', ' if cost else ': '}~{duration(seconds)} at {rate:,.1f} rows/s as before"
    return Part(name, of, state, seconds, gpus)


def vector_rows(config: TrialConfig, store: StoreLookup) -> int | None:
    """About how many rows vectors are made of, with those that adapters are trained on before; None
    until the data is read."""
    dataset, embedding = store.dataset(config.data), config.embedding
    if dataset is None:
        return None
    rows = embedded_rows(dataset)
    if embedding.pooling == "path":
        return rows["pool"] + embedding.path.steps * rows["query"]
    warm_up = embedding.gradient.warm_up_steps * embedding.gradient.warm_up_rows
    return sum(rows.values()) + (warm_up if embedding.pooling == "gradient" else 0)


def _rows(config: TrialConfig, store: StoreLookup, *, tests: bool = False) -> int | None:
    """Rows of all splits, or of the test sets alone; None until the data is read."""
    dataset = store.dataset(config.data)
    if dataset is None:
        return None
    splits = dataset.info["splits"].items()
    return sum(split["instances"] for name, split in splits if not (tests and name == "pool"))


def _dataset_state(config: TrialConfig, store: StoreLookup) -> str:
    dataset = store.dataset(config.data)
    if dataset is None:
        return "will be read"
    splits = dataset.info["splits"].items()
    return ("in the store: " if dataset.reused else "will be read: ") + ", ".join(
        f"{split.replace('_', '-')} {counts['instances']:,}" for split, counts in splits
    )


def _state(found: Artifact | None, cost: str = "") -> str:
    """In words; `cost` says what making it takes."""
    return (
        "in the store" if found and found.reused else f"will be made{f': {cost}' if cost else ''}"
    )


def _model_state(name: str, store: StoreLookup) -> str:
    if store.model(name) is not None:
        return "in the store"
    return "will be made" if name.startswith("random:") else "will be fetched"
