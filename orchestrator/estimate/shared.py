"""What trials share, each artifact and model once, and whether the store has it."""

from __future__ import annotations

from orchestrator.config import Study, TrialConfig
from orchestrator.estimate.stored import StoreLookup
from orchestrator.stages.arrange import (
    arranges_vectors,
    embedding_model,
    looks_at_vectors,
    needs_of,
)
from orchestrator.stages.pool import granularity_name
from orchestrator.trials import Trial

# What vectors of a pooling are called where they are made of tokens, and what a row of them costs.
OF_TOKENS = {
    "gradient": ("gradient vectors", "a forward and a backward pass a row"),
    "path": ("target-path vectors", "forward passes of each row"),
}


def shared_parts(
    study: Study, trials: list[Trial], store: StoreLookup
) -> list[tuple[str, str, str]]:
    """Each artifact and model once: its name, what it is of, and its state."""
    datasets = list(dict.fromkeys(repr(trial.config.data) for trial in trials))
    states: dict[tuple[str, str], str] = {}
    for trial in trials:
        number = datasets.index(repr(trial.config.data)) + 1
        dataset = "the dataset" if len(datasets) == 1 else f"dataset {number}"
        for name, of, state in _needed(trial.config, dataset, store):
            states.setdefault((name, of), state)
        if is_followed(study, trial.config):
            of = f"{dataset} by {trial.config.model.reference}"
            made = store.influence(trial.config) is not None
            states.setdefault(("influence", of), _state(made, OF_TOKENS["gradient"][1]))
    return [(name, of, state) for (name, of), state in states.items()]


def is_followed(study: Study, config: TrialConfig) -> bool:
    """Whether a trial is followed by the gradients of all rows: searched, or forecast by them."""
    forecast = study.forecast is not None and "quadratic" in study.forecast.forecasters
    return forecast or needs_of(config.arrangement, config.seed).influence


def _needed(config: TrialConfig, dataset: str, store: StoreLookup) -> list[tuple[str, str, str]]:
    """What a trial shares with others: name, what it is of, and its state."""
    embedder, model = embedding_model(config), config.model
    needed = [("instances", dataset, _dataset_state(config, store))]
    if looks_at_vectors(config):
        name, cost = OF_TOKENS.get(config.embedding.pooling, ("embeddings", ""))
        there = _state(store.embeddings(config) is not None, cost)
        if embedder is not None:
            needed.append(("model", embedder, _model_state(embedder, store)))
        source = embedder or f"{config.embedding.vectors} and {config.embedding.query_vectors}"
        needed.append((name, f"{dataset} by {source}", there))
    if arranges_vectors(config.arrangement):
        unit, ends = granularity_name(config.arrangement.granularity), sorted(store.lists(config))
        state = f"{' and '.join(ends)} in the store" if ends else "made as far as they are needed"
        needed.append(("lists", f"{dataset} by {unit}", state))
    if needs_of(config.arrangement, config.seed).losses:
        made = store.query_losses(config) is not None
        needed.append(("query losses", f"{dataset} by {model.reference}", _state(made)))
    if config.test_length is not None:
        made = store.test_tokens(config) is not None
        of = f"{dataset} cut to {config.test_length:,} tokens"
        needed.append(("test tokens", of, _state(made)))
    scoring = config.evaluation.generate.reward_model
    return [
        *needed,
        *(
            ("model", name, _model_state(name, store))
            for name in (model.reference, scoring)
            if name
        ),
        ("tokens", f"{dataset} for {model.reference}", _state(store.tokens(config) is not None)),
    ]


def _dataset_state(config: TrialConfig, store: StoreLookup) -> str:
    dataset = store.dataset(config.data)
    if dataset is None:
        return "will be read"
    splits = dataset.info["splits"].items()
    return "in the store: " + ", ".join(
        f"{split.replace('_', '-')} {counts['instances']:,}" for split, counts in splits
    )


def _state(there: bool, cost: str = "") -> str:
    """In words; `cost` says what making it takes."""
    return "in the store" if there else f"will be made{f': {cost}' if cost else ''}"


def _model_state(name: str, store: StoreLookup) -> str:
    if store.model(name) is not None:
        return "in the store"
    return "will be made" if name.startswith("random:") else "will be fetched"
