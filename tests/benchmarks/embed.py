"""How fast are texts embedded, and how near is that to what the machine can multiply?

    python tests/benchmarks/embed.py --texts train.jsonl
    python tests/benchmarks/embed.py --texts train.jsonl --arms encode float32
    python tests/benchmarks/embed.py --arms encode float32 --batch-tokens 512 1024 2048 4096

Every arm embeds the same texts in turn, after a warm-up, several times over: `single` calls
`encode` for one text after the other, `encode` calls it once with batches of 32, `float32` and
`bfloat16` are ours. A ratio is the median over the rounds of "seconds of the other / seconds of
ours", with a bootstrap interval, and holds only where the vectors are those of `encode`.

The limit counts the linear layers over the real tokens alone: no padding, no attention, nothing
between the layers. It is timed on matrices of the model's own shapes, and as one large square.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from orchestrator import models
from orchestrator.config.embedding import Embedding
from orchestrator.data import suite as builtin
from orchestrator.data.dataset import embedding_text
from orchestrator.models.embedder import Embedder
from orchestrator.stages.encoder import CPU_BATCH_TOKENS

SQUARE = 2048
PLAIN, OURS = ("single", "encode"), ("float32", "bfloat16")
LOWEST_COSINE = {"float32": 0.99999, "bfloat16": 0.99}


def read_texts(path: str | None, limit: int) -> list[str]:
    """A random sample, the same each time."""
    if path is None:
        texts = [embedding_text(instance.messages) for instance in builtin.read("pool")]
    else:
        with open(path, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        texts = [f"{record['prompt']} {record['completion']}".strip() for record in records]
    chosen = np.random.default_rng(0).permutation(len(texts))[:limit]
    return [texts[row] for row in chosen]


def seconds(work, repeats=1) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - started) / repeats


def limits(model: SentenceTransformer, tokens: int, rows: int) -> dict[str, float]:
    """Seconds of the linear layers over so many tokens: at their own shapes, and at best.

    Args:
        model: whose layers are counted.
        tokens: in all texts.
        rows: tokens of a batch.
    """
    shapes = Counter(
        tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    own = 0.0
    for (out, into), count in shapes.items():
        inputs, weight = torch.randn(rows, into), torch.randn(out, into)
        product = lambda a=inputs, b=weight: torch.nn.functional.linear(a, b)  # noqa: E731
        own += count * min(seconds(product, 5) for _ in range(4)) * tokens / rows
    square = torch.randn(SQUARE, SQUARE)
    best = min(seconds(lambda: square @ square) for _ in range(4))
    flop = 2 * tokens * sum(out * into * count for (out, into), count in shapes.items())
    return {"own shapes": own, "large square": flop / (2 * SQUARE**3) * best}


def interval(ratios: list[float]) -> tuple[float, float]:
    """Bootstrap 95% interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    return tuple(np.quantile(medians, [0.025, 0.975]))


def make_arms(options, folder: Path, plain: SentenceTransformer, texts: list[str]):
    """Name -> a call that embeds all texts."""
    arms = {
        "single": lambda: np.stack([plain.encode(t, normalize_embeddings=True) for t in texts]),
        "encode": lambda: plain.encode(texts, batch_size=32, normalize_embeddings=True),
    }
    arms = {name: arm for name, arm in arms.items() if name in options.arms}
    for dtype in filter(options.arms.__contains__, OURS):
        for tokens in options.batch_tokens:
            embedder = Embedder(folder, Embedding(dtype=dtype), tokens, options.threads, "cpu")
            arms[f"{dtype}, {tokens} tokens"] = lambda e=embedder: e.embed(texts)
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", help="JSON lines with prompt and completion; else the suite's")
    parser.add_argument("--limit", type=int, default=512, help="texts embedded")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--store", type=Path, default=Path("outputs/store"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[CPU_BATCH_TOKENS])
    parser.add_argument("--arms", nargs="+", choices=[*PLAIN, *OURS], default=[*PLAIN, *OURS])
    options = parser.parse_args()

    texts = read_texts(options.texts, options.limit)
    folder = models.resolve(options.model, options.store)
    plain = SentenceTransformer(str(folder), device="cpu")
    plain.max_seq_length = min(plain.max_seq_length, Embedding().max_length)
    torch.set_num_threads(options.threads)
    arms = make_arms(options, folder, plain, texts)
    tokens = int(plain.preprocess(texts)["attention_mask"].sum())
    print(f"{len(texts)} texts, {tokens} tokens, {options.threads} threads")

    expected = plain.encode(texts, batch_size=32, normalize_embeddings=True)
    for name, arm in arms.items():
        cosine = float((arm() * expected).sum(axis=1).min())  # the warm-up, too
        least = LOWEST_COSINE["bfloat16" if "bfloat16" in name else "float32"]
        assert cosine > least, (
            f"{name}: lowest cosine to encode {cosine}, at least {least} expected"
        )
        print(f"{name:<24} lowest cosine to encode {cosine:.7f}")

    times: dict[str, list[float]] = {name: [] for name in arms}
    bounds: list[dict[str, float]] = []
    for _ in range(options.rounds):
        bounds.append(limits(plain, tokens, options.batch_tokens[0]))
        for name, arm in arms.items():
            times[name].append(seconds(arm))
        print("seconds", {name: round(taken[-1], 2) for name, taken in times.items()}, flush=True)
    report(len(texts), times, bounds)


def report(count: int, times: dict[str, list[float]], bounds: list[dict[str, float]]) -> None:
    """Print speeds, shares of the limit round by round, and the ratios."""
    for name, taken in times.items():
        shares = ", ".join(
            f"{np.median([b[key] / t for b, t in zip(bounds, taken, strict=True)]):.0%} of {key}"
            for key in bounds[0]
        )
        print(f"{name:<24} {count / np.median(taken):8.1f} texts/s  {shares}")
    theirs = [name for name in times if name in PLAIN]
    for ours, other in itertools.product([name for name in times if name not in PLAIN], theirs):
        ratios = [a / b for a, b in zip(times[other], times[ours], strict=True)]
        low, high = interval(ratios)
        print(f"{ours} against {other}: {np.median(ratios):.2f} times ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main()
