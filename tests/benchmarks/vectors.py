"""What does the vector of a row cost, by what it is of: texts, gradients or a target path?

    python tests/benchmarks/vectors.py --texts train.jsonl --limit 40 --threads 1

Each makes the vectors of the same rows in turn, several times over, each time of other rows; the
adapters are untrained, which costs the same. `step` trains them on the rows once. Seconds are those
that the process computed, which others that want the cores change less than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from orchestrator import models
from orchestrator.config.embedding import Embedding
from orchestrator.config.gradients import Gradients
from orchestrator.config.path import TargetPath
from orchestrator.data.dataset import embedding_text
from orchestrator.data.instance import single_turn
from orchestrator.models.embedder import Embedder
from orchestrator.stages.token_vectors import CPU_BATCH_TOKENS
from orchestrator.training.device import pick_device
from orchestrator.training.encode import Encoder
from orchestrator.training.gradients import GradientModel
from orchestrator.training.proof import Prover
from orchestrator.training.target_path import PathModel
from orchestrator.training.templates import load_tokenizer, make_template
from orchestrator.training.tokens import Tokens, tokenised


def read(path: str, limit: int):
    """The messages of a random sample, the same each time."""
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    chosen = np.random.default_rng(0).permutation(len(records))[:limit]
    made = (single_turn(str(i), "", records[i]["prompt"], records[i]["completion"]) for i in chosen)
    return [instance.messages for instance in made]


def token_table(folder: Path, conversations, length: int) -> Tokens:
    tokenizer = load_tokenizer(folder)
    encoder = Encoder(tokenizer, make_template("user_assistant", tokenizer), Prover(tokenizer))
    made = tokenised(encoder, conversations, length)
    return Tokens(made.ids, made.answer, np.concatenate([[0], np.cumsum(made.lengths)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", required=True, help="JSON lines with prompt and completion")
    parser.add_argument("--limit", type=int, default=40, help="rows")
    parser.add_argument("--rounds", type=int, default=2, help="parts of the rows, each taken once")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--embedder", default="all-MiniLM-L6-v2")
    parser.add_argument("--groups", type=int, default=TargetPath().clusters)
    parser.add_argument("--length", type=int, default=Embedding().max_length)
    parser.add_argument("--store", type=Path, default=Path("outputs/store"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()

    conversations = read(options.texts, options.limit)
    texts = [embedding_text(messages) for messages in conversations]
    folder, device = models.resolve(options.model, options.store), pick_device("float32", gpu=False)
    tokens = token_table(folder, conversations, options.length)
    embedder = Embedder(
        models.resolve(options.embedder, options.store), Embedding(), CPU_BATCH_TOKENS,
        options.threads, "cpu",
    )  # fmt: skip
    gradients, path = (
        GradientModel(folder, Gradients(), device), PathModel(folder, TargetPath(), device)
    )  # fmt: skip
    gradients.moments = torch.ones(sum(adapter.matrix.numel() for adapter in gradients.adapters))
    path.follow(tokens, [np.empty(0, np.int64)] * options.groups, CPU_BATCH_TOKENS)
    arms = {
        options.embedder: lambda rows: embedder.embed([texts[row] for row in rows]),
        f"path, {options.groups} groups": lambda rows: path.vectors(tokens, rows, CPU_BATCH_TOKENS),
        "gradient": lambda rows: gradients.vectors(tokens, rows, CPU_BATCH_TOKENS, pool=True),
        "step": lambda rows: gradients.train(tokens, [rows], 1e-3, CPU_BATCH_TOKENS)[1][None],
    }
    print(f"{len(texts)} rows, {tokens.lengths.sum()} tokens, {options.threads} threads")
    for number in range(options.rounds):
        rows = np.arange(number, len(texts), options.rounds)
        for name, arm in arms.items():
            started, clock = time.process_time(), time.monotonic()
            vectors = arm(rows)
            seconds = (time.process_time() - started) / len(rows) * 1000
            clock = (time.monotonic() - clock) / len(rows) * 1000
            size = "" if name == "step" else f", {vectors.nbytes / len(rows):,.0f} bytes a vector"
            print(
                f"{name:<20} 1,000 rows: {seconds:,.0f} s (clock {clock:,.0f} s){size}", flush=True
            )


if __name__ == "__main__":
    main()
