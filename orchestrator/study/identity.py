"""By what a trial counts as trained: what is known before anything runs, and what ended already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.layout import Layout
from orchestrator.core.arrangements import method_version
from orchestrator.estimate.stored import StoreLookup
from orchestrator.stages.arrange import ARRANGE_VERSION, arranges_vectors, needs_of
from orchestrator.stages.given import listed_rows, rows_digest
from orchestrator.storage.artifacts import Artifact, key_digest
from orchestrator.training.outcome import Outcome, read_outcome
from orchestrator.training.spec import TRAIN_VERSION
from orchestrator.trials import Trial


def spec_key(  # noqa: PLR0917  (what a key is made of)
    trial: Trial,
    tokens: Artifact,
    embeddings: Artifact | None,
    reward_digest: str | None,
    listed: NDArray[np.int64] | None,
    losses: Artifact | None,
    influence: Artifact | None,
) -> str:
    """The key of a trial's spec: the content of files counts, not only their names.

    Args:
        trial: with its configuration.
        tokens: what its model is fed.
        embeddings: vectors of pool and test items; None where nothing looks at them.
        reward_digest: of the model that scores answers; None where none does.
        listed: rows that the file of its arrangement names; None where it has none.
        losses: of the untouched model on the queries; None where no plan looks at them.
        influence: of rows on the queries; None where no plan is searched by it.
    """
    arrangement = trial.config.arrangement
    return key_digest(
        [
            {"arrange": ARRANGE_VERSION, "train": TRAIN_VERSION},
            trial.key,
            tokens.digest,
            embeddings.digest if embeddings and arranges_vectors(arrangement) else None,
            method_version(arrangement.method),
            reward_digest,
            *([] if listed is None else [rows_digest(listed[: arrangement.rows])]),
            *([] if losses is None else [losses.digest]),
            *([] if influence is None else [influence.digest]),
        ]
    )


def outcome_before(trial: Trial, layout: Layout, store: StoreLookup) -> Outcome:
    """How a trial ended in an earlier run, as far as the store tells.

    Where an artifact that determines it is not there any more, the name of its folder decides,
    which is that of its configuration.
    """
    return read_outcome(layout.trial(trial.name), _known_key(trial, store))


def _known_key(trial: Trial, store: StoreLookup) -> str | None:
    """The key of a trial's spec, of what is in the store; None where a part of it is not."""
    config, needs = trial.config, needs_of(trial.config.arrangement, trial.config.seed)
    scorer, listed = config.evaluation.generate.reward_model, None
    dataset, tokens = store.dataset(config.data), store.tokens(config)
    reward = store.fingerprint(scorer) if scorer else None
    vectors = store.embeddings(config) if arranges_vectors(config.arrangement) else None
    losses = store.query_losses(config) if needs.losses else None
    influence = store.influence(config) if needs.influence else None
    needed = [
        (True, dataset), (True, tokens), (scorer, reward), (needs.losses, losses),
        (arranges_vectors(config.arrangement), vectors), (needs.influence, influence),
    ]  # fmt: skip
    if any(asked and found is None for asked, found in needed):
        return None
    assert dataset is not None, "asked above"
    assert tokens is not None, "asked above"
    if needs.listed:
        listed = listed_rows(config.arrangement, config.data, dataset)
    return spec_key(trial, tokens, vectors, reward and reward[1], listed, losses, influence)
