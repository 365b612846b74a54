"""Ten optimizer steps and an evaluation: ours against the way of the paper's authors.

    python tests/benchmarks/train.py --texts train.jsonl

All train the same small Llama of random weights, in float32, on the same rows in the same order,
with the same loss and optimizer, and measure the same test rows. `authors` pads every row to the
maximum length in training and evaluation, writes all weights to disk for each evaluation, and
evaluates in a new process that loads the base weights and then these. `packed` is the loop of this
project: micro-batches by token budget, rows end to end, logits at answers only, the test losses
measured where the model is. `padded` is the same loop with rows of like length together and padded
to the longest, as it goes where a model does not keep rows apart.

They alternate. A ratio is the median over the rounds, and holds only where the losses of every
step and of every test row are equal; that is checked. The machine's rate is timed on a large
square product beside each round. The texts' lengths decide the ratio: it says nothing of others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from llama2_7b import random_tokens
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from orchestrator.config.schema import TrialConfig
from orchestrator.data import suite as builtin
from orchestrator.models.presets import BOS, EOS, PAD, preset_config
from orchestrator.training import tokens as token_table
from orchestrator.training.attention import why_padded
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import init_distributed, pick_device
from orchestrator.training.encode import Encoder
from orchestrator.training.engine import build_engine, update
from orchestrator.training.evaluation.losses import instance_losses
from orchestrator.training.proof import Prover
from orchestrator.training.step import Feeder
from orchestrator.training.templates import make_template
from orchestrator.training.tokens import Tokens

BATCH, AUTHORS_ROWS = 16, 4  # instances in a step, and in one forward pass of the authors' scripts
VOCABULARY, SQUARE = 4096, 1024


def read_messages(path: str | None, count: int) -> list:
    """A random sample of conversations, the same each time."""
    if path is None:
        found = [instance.messages for instance in builtin.read("pool")]
    else:
        with open(path, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        found = [
            [{"role": "user", "content": record["prompt"]},
             {"role": "assistant", "content": record["completion"]}]
            for record in records
        ]  # fmt: skip
    return [found[row] for row in np.random.default_rng(0).permutation(len(found))[:count]]


def make_tokenizer(messages: list) -> PreTrainedTokenizerFast:
    """Byte pairs of the texts themselves: words as a large model has them, a small last layer."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    texts = (message["content"] for pair in messages for message in pair)
    special = [PAD, BOS, EOS]
    tokenizer.train_from_iterator(
        texts, vocab_size=VOCABULARY, special_tokens=special, show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )


def padded_losses(model, tokens: Tokens, rows, width: int) -> torch.Tensor:
    """Sums of the token losses of rows that are all padded on the right to one width."""
    ids, answer = (torch.zeros(len(rows), width, dtype=kind) for kind in (torch.int64, torch.bool))
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        part = slice(tokens.starts[row], tokens.starts[row + 1])
        length = part.stop - part.start
        ids[i, :length] = torch.as_tensor(tokens.ids[part].astype(np.int64))
        answer[i, :length] = torch.as_tensor(np.array(tokens.answer[part]))
        mask[i, :length] = 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (losses * answer[:, 1:]).sum(dim=1)


class Authors:
    """Everything padded; a checkpoint and a process for each evaluation."""

    def __init__(self, base: Path, tokens: Tokens, config: TrialConfig, scratch: Path) -> None:
        self.base, self.tokens, self.scratch, self.config = base, tokens, scratch, config
        self.model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        training = config.training
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, betas=tuple(training.betas),
            eps=training.eps, weight_decay=0.0, fused=True,
        )  # fmt: skip
        self.computed = self.written = 0

    def step(self, rows) -> float:
        self.computed += len(rows) * self.config.model.max_length
        count, total = int(self.tokens.answer_counts(rows).sum()), 0.0
        for start in range(0, len(rows), AUTHORS_ROWS):
            part = rows[start : start + AUTHORS_ROWS]
            loss = padded_losses(self.model, self.tokens, part, self.config.model.max_length)
            loss = loss.sum() / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def evaluate(self, rows) -> np.ndarray:
        checkpoint = self.scratch / "checkpoint"
        self.model.save_pretrained(checkpoint)
        self.written = sum(file.stat().st_size for file in checkpoint.iterdir())
        np.save(self.scratch / "rows.npy", rows)
        command = [sys.executable, __file__, "--evaluate", str(self.scratch)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return np.load(self.scratch / "losses.npy")


def evaluate_checkpoint(scratch: Path) -> None:
    """The process that the authors start for each checkpoint."""
    AutoModelForCausalLM.from_pretrained(scratch / "base", dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(scratch / "checkpoint", dtype=torch.float32)
    tokens, rows = token_table.load(scratch / "tokens"), np.load(scratch / "rows.npy")
    width = json.loads((scratch / "width.json").read_text())
    with torch.no_grad():
        parts = [
            padded_losses(model, tokens, rows[i : i + AUTHORS_ROWS], width)
            for i in range(0, len(rows), AUTHORS_ROWS)
        ]
    np.save(scratch / "losses.npy", torch.cat(parts).numpy() / tokens.answer_counts(rows))


class Ours:
    """The project's loop."""

    def __init__(self, base: Path, tokens: Tokens, config: TrialConfig, *, packed: bool) -> None:
        self.tokens, self.config, self.packed = tokens, config, packed
        self.device = pick_device("float32", gpu=False)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self.engine = build_engine(model, config.training, self.device, config.seed)
        assert not packed or why_padded(self.engine.module, config.model, self.device) is None
        budget = TokenBudget(base, "benchmark", "training", config.training.micro_batch_tokens)
        self.feeder = Feeder(
            self.engine, tokens, config, self.device.torch_device, budget, packed=packed
        )
        self.computed = self.written = 0

    def step(self, rows) -> float:
        fed = self.feeder.feed(0, rows)
        self.computed += fed.padded_tokens
        update(self.engine, self.config.training, self.device, self.config.training.learning_rate)
        return fed.loss

    def evaluate(self, rows) -> np.ndarray:
        budget = self.config.training.micro_batch_tokens
        return instance_losses(
            self.engine, self.tokens, rows, budget, self.device.torch_device, packed=self.packed
        )


def interval(arm, plan, tests) -> tuple[float, float, np.ndarray]:
    """Seconds of the steps, seconds of the evaluation, and all losses."""
    began = time.perf_counter()
    losses = [arm.step(rows) for rows in plan]
    middle = time.perf_counter()
    measured = arm.evaluate(tests)
    return middle - began, time.perf_counter() - middle, np.concatenate([losses, measured])


def machine_rate() -> float:
    """FLOP a second of a large square float32 product, the best of a few."""
    square, best = torch.randn(SQUARE, SQUARE), float("inf")
    for _ in range(8):
        began = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - began)
    return 2 * SQUARE**3 / best


def prepare(chosen: argparse.Namespace, scratch: Path, rows: int) -> tuple[Tokens, TrialConfig]:
    """Base weights, token table and settings that all arms read."""
    messages = read_messages(chosen.texts, rows)
    tokenizer = make_tokenizer(messages)
    (scratch / "tokens").mkdir()
    encoder = Encoder(tokenizer, make_template("user_assistant", tokenizer), Prover(tokenizer))
    part = token_table.tokenised(encoder, messages, chosen.max_length)
    token_table.write([part], scratch / "tokens")
    if chosen.flan_lengths:
        made = random_tokens(rows, len(tokenizer))
        for name in ("ids", "answer", "starts"):
            np.save(scratch / "tokens" / f"{name}.npy", getattr(made, name))
    config: AutoConfig = preset_config("tiny-llama")
    config.update({"vocab_size": len(tokenizer), "hidden_size": chosen.hidden,
                   "num_hidden_layers": chosen.layers, "head_dim": 32,
                   "num_attention_heads": chosen.hidden // 32,
                   "num_key_value_heads": chosen.hidden // 32,
                   "intermediate_size": 8 * chosen.hidden // 3})  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(scratch / "base")
    (scratch / "width.json").write_text(str(chosen.max_length))
    data = {name: {"reader": "builtin", "split": name} for name in ("pool", "query")}
    training = {"global_batch": BATCH, "micro_batch_tokens": chosen.micro_batch_tokens,
                "learning_rate": 1e-4}  # fmt: skip
    settings = {"data": data, "model": {"max_length": chosen.max_length}, "training": training}
    return token_table.load(scratch / "tokens"), TrialConfig.model_validate(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", help="JSON lines with prompt and completion; else the suite's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of a round, before its evaluation")
    parser.add_argument("--tests", type=int, default=32, help="rows of the evaluation")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--without-authors", action="store_true", help="packed and padded alone")
    parser.add_argument(
        "--flan-lengths",
        action="store_true",
        help="random tokens whose lengths are spread as those of instruction data",
    )
    parser.add_argument("--evaluate", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.evaluate:
        return evaluate_checkpoint(chosen.evaluate)
    trained = (chosen.rounds + 1) * chosen.steps * BATCH
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        tokens, config = prepare(chosen, scratch, trained + chosen.tests)
        init_distributed(gpu=False)
        arms: dict[str, Authors | Ours] = {
            name: Ours(scratch / "base", tokens, config, packed=name == "packed")
            for name in ("packed", "padded")
        }
        if not chosen.without_authors:
            arms["authors"] = Authors(scratch / "base", tokens, config, scratch)
        compare(chosen, arms, tokens, np.arange(trained, len(tokens.starts) - 1))


def compare(chosen: argparse.Namespace, arms, tokens: Tokens, tests: np.ndarray) -> None:
    """A short warm-up, then the rounds; prints what each took and what all computed."""
    for arm in arms.values():
        arm.step(np.arange(BATCH))
        arm.computed = 0
    real, times, rates = 0, {name: [] for name in arms}, []
    for number in range(chosen.rounds):
        first = (1 + number * chosen.steps) * BATCH
        plan = np.arange(first, first + chosen.steps * BATCH).reshape(-1, BATCH)
        real += int(tokens.lengths[plan.ravel()].sum())
        rates.append(machine_rate())
        losses = {}
        for name, arm in arms.items():
            steps, evaluation, losses[name] = interval(arm, plan, tests)
            times[name].append((steps, evaluation))
            print(
                f"{name:<8} {steps:7.2f} s in steps, {evaluation:6.2f} s in evaluation", flush=True
            )
        apart = max(float(np.abs(losses["packed"] - losses[name]).max()) for name in arms)
        assert apart < 1e-5, f"the losses differ by {apart}: the times cannot be compared"
        print(f"round {number + 1}: losses equal within {apart:.1e}")
    report(arms, {name: np.array(taken) for name, taken in times.items()}, real, np.array(rates))


def report(arms, seconds, real: int, rates: np.ndarray) -> None:
    for name in arms.keys() - {"packed"}:
        ratios = seconds[name].sum(axis=1) / seconds["packed"].sum(axis=1)
        print(f"{name} / packed, steps and evaluation: {np.median(ratios):.2f} times "
              f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})")  # fmt: skip
        for part, what in enumerate(("steps", "evaluation")):
            part_ratio = np.median(seconds[name][:, part] / seconds["packed"][:, part])
            print(f"  {what} alone: {part_ratio:.2f} times")
    module = arms["packed"].engine.module
    matrices = (
        sum(p.numel() for p in module.parameters()) - module.get_input_embeddings().weight.numel()
    )
    for name, arm in arms.items():
        speed = real / seconds[name][:, 0].sum()
        share = 6 * matrices * speed / np.median(rates)
        useful = real / arm.computed
        print(f"{name:<8} {speed:8.0f} real tokens/s in steps, {share:.0%} of the machine's "
              f"{np.median(rates) / 1e9:.0f} GFLOP/s; {useful:.3f} of the computed tokens are "
              f"real; {arm.written:,} bytes written for an evaluation")  # fmt: skip


if __name__ == "__main__":
    main()
