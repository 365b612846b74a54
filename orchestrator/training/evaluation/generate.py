"""Greedy answers to test prompts inside the training loop, and their scores (paper, section 2).

Loss is the stable measure of early generalisation; these are the others that the paper holds
against it. A step of generation costs far more than one of test losses: ask for few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from orchestrator.config.evaluation import scheduled_steps
from orchestrator.config.schema import TrialConfig
from orchestrator.core.text_metrics import REWARD, TEXT_METRICS, best_score
from orchestrator.data import references
from orchestrator.data.dataset import load_messages_of, load_unlearned_of
from orchestrator.data.instance import answer_places
from orchestrator.storage.files import ANSWER_COLUMNS
from orchestrator.training.batches import split
from orchestrator.training.device import Device
from orchestrator.training.evaluation.reward import rewards
from orchestrator.training.heartbeat import beat
from orchestrator.training.spec import TrialSpec, planned_steps
from orchestrator.training.templates import text_after_answer
from orchestrator.training.tokens import Tokens

SCORED = pa.schema([("row", pa.int64()), *ANSWER_COLUMNS])


def generation_steps(config: TrialConfig, rows: int) -> list[int]:
    """The steps after which answers are generated, rising; none if the study asks for none."""
    every = config.evaluation.generate.every
    return [] if every is None else scheduled_steps(every, planned_steps(config, rows))


def generated_scores(
    engine: Any,
    tokens: Tokens,
    rows: NDArray[np.int64],
    spec: TrialSpec,
    device: Device,
    token_budget: int,
) -> pa.Table:
    """Answer the first prompt of each row whose answer is learned, and score it against that: where
    a row has several right answers, against the one that it comes nearest to.

    Every rank calls with the same rows, best those of all test sets at once: the reward model is
    loaded in each call.

    Args:
        engine: DeepSpeed's; put back into training mode afterwards.
        rows: (n,) int64 rows of the token table.
        spec: its model folder has the tokenizer, its dataset the texts, its references the further
            right answers; its reward model scores.
        token_budget: padded tokens in one forward pass.

    Returns:
        On every rank a table of `SCORED`, all rows in their order. Metrics not asked for are null;
        so are prediction and scores of a row whose answer was cut away, or whose prompt leaves the
        model no positions for max_new_tokens.
    """
    wanted = spec.config.evaluation.generate.metrics
    messages = list(load_messages_of(spec.dataset, rows))
    firsts = [
        next(place for place in answer_places(turns) if place not in unlearned)
        for turns, unlearned in zip(messages, load_unlearned_of(spec.dataset, rows), strict=True)
    ]
    prompts = [
        next(turn["content"].strip() for turn in turns[first::-1] if turn["role"] == "user")
        for turns, first in zip(messages, firsts, strict=True)
    ]
    learned = [
        turns[first]["content"].strip() for turns, first in zip(messages, firsts, strict=True)
    ]
    right = references.load(spec.references, rows, learned)
    mine = _greedy_answers(engine, tokens, rows, spec, device, token_budget)
    scores: dict[int, dict[str, Any]] = {
        place: {"prediction": answer} for place, answer in mine.items()
    }
    for name in TEXT_METRICS.keys() & set(wanted):
        for place, answer in mine.items():
            scores[place][name] = best_score(TEXT_METRICS[name], answer, right[place])
    if spec.reward_model is not None:
        asked = [prompts[place] for place in mine]
        given = rewards(spec.reward_model, asked, list(mine.values()), token_budget, device)
        for place, reward in zip(mine, given.tolist(), strict=True):
            scores[place][REWARD] = reward
    shares: list[dict[int, dict[str, Any]]] = [{}] * dist.get_world_size()
    dist.all_gather_object(shares, scores)
    every = {place: values for share in shares for place, values in share.items()}
    lines = [
        {"row": row, "reference": reference, **every.get(place, {})}
        for place, (row, reference) in enumerate(zip(rows.tolist(), learned, strict=True))
    ]
    return pa.Table.from_pylist(lines, schema=SCORED)


def _greedy_answers(
    engine: Any,
    tokens: Tokens,
    rows: NDArray[np.int64],
    spec: TrialSpec,
    device: Device,
    budget: int,
) -> dict[int, str]:
    """This rank's share of the answers, by their places in rows."""
    from transformers import AutoTokenizer

    longest = spec.config.evaluation.generate.max_new_tokens
    tokenizer = AutoTokenizer.from_pretrained(spec.model, trust_remote_code=False)
    prompts = [_prompt(tokens, row) for row in rows.tolist()]
    lengths = np.array([len(prompt) for prompt in prompts])
    limit = getattr(engine.module.config, "max_position_embeddings", None) or np.inf
    places = np.flatnonzero((lengths > 0) & (lengths + longest <= limit))
    if not len(places):
        return {}
    ranks, tail = dist.get_world_size(), text_after_answer(spec.config.model.template)
    settings = {
        "generation_config": _greedy(tokenizer, longest),
        # With weights in partitions no rank may stop while another still computes.
        "synced_gpus": engine.zero_optimization_stage() == 3 and ranks > 1,
    }
    answers: dict[int, str] = {}
    engine.eval()
    for batch in split(places, lengths + longest, budget, ranks)[dist.get_rank()]:
        chosen = batch.rows.tolist()
        inputs = _left_padded([prompts[place] for place in chosen], device.torch_device)
        ids = engine.module.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
        beat()
        if not batch.filler:
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
            texts = [text.partition(tail)[0] if tail else text for text in texts]
            answers |= zip(chosen, map(str.strip, texts), strict=True)
    engine.train()
    return answers


def _prompt(tokens: Tokens, row: int) -> NDArray[np.int32]:
    """The tokens before the first answer; none where the answer was cut away."""
    part = slice(tokens.starts[row], tokens.starts[row + 1])
    return np.asarray(tokens.ids[part])[: int(np.argmax(tokens.answer[part]))]


def _left_padded(
    prompts: Sequence[NDArray[np.int32]], device: torch.device
) -> dict[str, torch.Tensor]:
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(lengths.max()) >= (lengths.max() - lengths)[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate(prompts)
    return {
        "input_ids": torch.as_tensor(ids, device=device),
        "attention_mask": torch.as_tensor(mask.astype(np.int64), device=device),
    }


def _greedy(tokenizer: Any, max_new_tokens: int) -> Any:
    """Settings of greedy search; what they left out would come from the model's own settings."""
    from transformers import GenerationConfig

    # A chat template may end its answers with another token than the tokenizer's end of text.
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = (special - {tokenizer.unk_token_id} | {tokenizer.eos_token_id}) - {None}
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),  # what follows an end is not read
        use_cache=True,
    )
