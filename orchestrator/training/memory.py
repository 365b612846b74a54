"""Memory that ran out: how it is told from other faults, and with what words a trial ends.

Whatever part of a trial it happens in, the token budget is halved. Where nothing is half done and
no other rank waits, the same rank does the part again; otherwise the attempt ends, and the next one
goes on from the newest checkpoint.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from orchestrator.config.training import Training
from orchestrator.errors import ResourceError, SmallerBatchError, UserError
from orchestrator.training.budget import TokenBudget

Result = TypeVar("Result")


REFUSALS = ("not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED")
TYPES = (MemoryError, torch.OutOfMemoryError)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: some have a type for it, libraries a sentence."""
    return isinstance(error, TYPES) or any(sentence in str(error) for sentence in REFUSALS)


def told_out_of_memory(said: str) -> bool:
    """The same of an error of another process, of which its type and first line are told."""
    return any(word in said for word in (*REFUSALS, *(kind.__name__ for kind in TYPES)))


def exhausted(step: int, budget: TokenBudget, where: str) -> ResourceError:
    """What to tell of a step that does not fit, and what to set instead."""
    return ResourceError(_sentence(step, budget, where))


def for_next_attempt(step: int, training: Training, budget: TokenBudget, where: str) -> UserError:
    """What ends this attempt; the budget is halved for another one, if there may be another.

    The authors' loss depends on how a batch is split: it has no other.
    """
    fixed = budget.section == "training" and training.loss == "authors"
    if fixed or budget.exhausted:
        return exhausted(step, budget, where)
    sentence = _sentence(step, budget, f"{where}; the next attempt takes half")
    budget.halve(write=True)
    return SmallerBatchError(sentence)


def _sentence(step: int, budget: TokenBudget, where: str) -> str:
    fewer = f"Set {budget.section}.micro_batch_tokens to {max(1, budget.tokens // 2)} or fewer"
    kept = ", or set model.gradient_checkpointing: true" if budget.section == "training" else ""
    length = f"{'model' if budget.section == 'training' else 'evaluation'}.max_length"
    return (
        f"step {step}: out of memory with micro-batches of {budget.tokens} tokens, {where}. "
        f"{fewer}, lower {length}{kept}"
    )


def measured(
    measure: Callable[[int], Result],
    step: int,
    training: Training,
    budget: TokenBudget,
    where: str,
) -> Result:
    """What a measurement returns, with as small a budget as it needs.

    Args:
        measure: called with the step, again after it ran out of memory; reads the budget.
        where: for the error, as in `in an evaluation`.

    Raises:
        ResourceError: memory ran out, and other ranks wait or weights are gathered; or the budget
            was halved as often as is allowed.
    """
    alone = dist.get_world_size() == 1 and training.zero_stage < 3
    while True:
        try:
            return measure(step)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if not alone or budget.exhausted:
                raise for_next_attempt(step, training, budget, where) from error
        budget.halve(write=True)
        free()  # not before the error is gone, which holds what the pass had made


def free() -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
