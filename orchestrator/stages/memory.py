"""Memory that runs out in a process of Ray's: its work begins anew with less, and is bounded.

An allocation that is refused is an error of the process; a process that takes too much is killed,
by the kernel or by Ray, and can say nothing. Neither is left to Ray, which would do the same again
for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orchestrator.config.embedding import Embedding
from orchestrator.errors import ResourceError, crash
from orchestrator.training.budget import MAX_HALVINGS

Result = TypeVar("Result")


def with_fewer_tokens(
    work: Callable[[int], Result],
    tokens: int,
    embedding: Embedding,
    tell: Callable[[str], None],
    made: Callable[[], int] = lambda: 0,
) -> Result:
    """What work on Ray returns, with as few tokens in a forward pass as its memory allows.

    Args:
        work: called with the tokens of a forward pass; after its memory ran out, or a process of
            it died, again with half of them, which are halved three times at most.
        tokens: of a forward pass, at first.
        embedding: how many models there are, and how much of a text they read.
        tell: called with a sentence before work is called again.
        made: how much there is that work does not make again. As long as it grows, a process may
            die more often: whole nodes go away, too.

    Raises:
        ResourceError: naming what to set.
    """
    from ray.exceptions import RayError

    halvings, before = 0, made()
    while True:
        now = max(1, tokens >> halvings)
        try:
            return work(now)
        except RayError as error:
            why = lacking_memory(error)
            if why is None:
                raise
            there = made()
            if halvings == MAX_HALVINGS and there == before:
                raise ResourceError(_sentence(why, now, embedding)) from error
        halvings, before = min(halvings + 1, MAX_HALVINGS), there
        tell(f"{why}; going on with {max(1, tokens >> halvings):,} tokens at once")


def lacking_memory(error: BaseException) -> str | None:
    """What happened, in a few words, where an error of Ray says that memory ran out in a process,
    or that one died, for which there is hardly another reason; else None."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    from orchestrator.training.memory import told_out_of_memory

    # What an actor's constructor raises is told as the actor's death.
    raised = isinstance(error, RayActorError) and error.actor_init_failed
    died = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError)
    if isinstance(error, died) and not raised:
        return "a process died, most likely killed because memory ran out"
    said = crash(error)
    return f"memory ran out ({said})" if told_out_of_memory(said) else None


def _sentence(why: str, tokens: int, embedding: Embedding) -> str:
    fewer = f", embedding.workers below {embedding.workers}" if embedding.workers > 1 else ""
    return (
        f"{why}, even with {tokens:,} tokens in a forward pass: set embedding.batch_tokens to "
        f"{max(1, tokens // 2):,} or fewer, lower its max_length{fewer}, or take a smaller "
        "model for it. What was embedded is kept: the same command goes on from there"
    )
