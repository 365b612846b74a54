"""One trial: feed the model exactly its plan, measure as it goes, and prove the order.

Runs under any launcher that sets up `torch.distributed` (or alone); knows neither Ray nor
MLflow.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from orchestrator.errors import TrainingError
from orchestrator.storage.artifacts import write_table
from orchestrator.storage.files import MODEL_FOLDER, REALISED_FILE
from orchestrator.training.budget import TokenBudget
from orchestrator.training.checkpoint import (
    find_checkpoint,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from orchestrator.training.device import init_distributed
from orchestrator.training.engine import loss_scale, update
from orchestrator.training.evaluation.generate import generation_steps
from orchestrator.training.evaluation.losses import Evaluator
from orchestrator.training.export import forget_models_after, save_trained, step_model
from orchestrator.training.heartbeat import beat, heartbeats
from orchestrator.training.history import History, order_certificate, realised_table
from orchestrator.training.journal import Journal
from orchestrator.training.memory import for_next_attempt, measured, out_of_memory
from orchestrator.training.outcome import mark_finished
from orchestrator.training.schedule import learning_rate
from orchestrator.training.spec import (
    TrialSpec,
    evaluation_steps,
    planned_rows_fed,
    planned_steps,
    read_inputs,
)
from orchestrator.training.start import agreed_device, load
from orchestrator.training.step import FedBatch, Feeder

Report = Callable[[dict[str, float]], None]
Measured = TypeVar("Measured")


def run_trial(spec: TrialSpec, report: Report | None = None) -> None:
    """Train one trial from its first step, or its newest checkpoint, to its last; write results.

    Args:
        spec: the trial; every rank calls with the same one.
        report: called on every rank after each measurement with the step and the mean losses;
            what it raises ends the trial.

    Raises:
        TrainingError: for a loss that is not finite, before the update.
        ResourceError: if memory runs out and smaller micro-batches cannot help.
        OrderError: if the rows fed are not the planned ones.
    """
    began = time.monotonic()
    rank, ranks = init_distributed(gpu=spec.config.training.gpus_per_worker > 0)
    with heartbeats(spec.folder, rank):
        trial = TrialRun(spec, rank, ranks, began)
        every = spec.config.training.checkpoint.every
        if trial.done == 0:
            trial.evaluate(0, report)
        for step in range(trial.done + 1, trial.steps + 1):
            trial.train_step(step)
            trial.evaluate(step, report)
            # Before the checkpoint: an attempt that goes on from there has the model of its step.
            if spec.config.training.saves_after(step, trial.steps):
                trial.save_model(step)
            if every and step % every == 0 and step < trial.steps:
                trial.save(step)
        trial.finish()


class TrialRun:
    """A running trial on one rank.

    Args:
        began: when it did, in seconds of `time.monotonic`.

    Attributes:
        steps: of the whole trial.
        done: steps that a checkpoint has made already.
    """

    def __init__(self, spec: TrialSpec, rank: int, ranks: int, began: float) -> None:
        self.spec, self.rank, self.ranks, self.started = spec, rank, ranks, began
        self.device = agreed_device(spec.config, self.ranks)
        torch.manual_seed(spec.config.seed)
        self.inputs = read_inputs(spec)
        rows = len(self.inputs.plan)
        self.steps = planned_steps(spec.config, rows)
        self._evaluated = set(evaluation_steps(spec.config, rows))
        self._generated = set(generation_steps(spec.config, rows))
        self.done = self._open_journal()
        loaded = load(spec, self.device, self.started)
        self.tokens, self.engine, self.fidelity = loaded.tokens, loaded.engine, loaded.fidelity
        self._note("ready", self.done, **loaded.seconds)
        packed = loaded.why_padded is None
        if not packed:
            self._note("padded", self.done, reason=str(loaded.why_padded))
        self.feeder = Feeder(
            self.engine, self.tokens, spec.config, self.device.torch_device, self.budget,
            packed=packed,
        )  # fmt: skip
        self.evaluator = Evaluator(
            spec,
            self.inputs,
            loaded.test_tokens,
            self.engine,
            self.device,
            self.evaluation_budget,
            packed=packed,
        )
        self.history = History()
        if self.done:
            self.history = load_checkpoint(spec.folder, self.engine, self.done)
            # The result tells what the trial cost, with the steps of earlier attempts.
            self.started -= sum(entry["seconds"] for entry in self.history.log)

    def _open_journal(self) -> int:
        """Look for a checkpoint on one rank, note it in the journal, and agree on it.

        Returns:
            The step after which the trial goes on; 0 where it starts anew.
        """
        self.journal = None
        self.budget = TokenBudget.read(self.spec)
        self.evaluation_budget = TokenBudget.read(self.spec, "evaluation")
        agreed: list[Any] = [None, self.budget, self.evaluation_budget]
        if self.rank == 0:
            agreed[0], removed = find_checkpoint(
                self.spec.folder, self.spec.key, self.ranks, self.device.precision
            )
            done = agreed[0] or 0
            self.journal = Journal(self.spec.folder, agreed[0])
            forget_models_after(self.spec.folder, done)
            for step, fault in removed.items():
                text = (
                    f"trial {self.spec.trial}: the checkpoint of step {step} is not used: {fault}"
                )
                logging.warning("%s. Continuing after step %d", text, done)
                self._note("damaged", done, checkpoint=step, fault=fault)
            attempt = "resume" if done else "start"
            self._note(attempt, done, steps=self.steps, precision=self.device.precision)
            for budget in (self.budget, self.evaluation_budget):
                if budget.halvings:
                    self._note("out_of_memory", done, micro_batch_tokens=budget.tokens)
        dist.broadcast_object_list(agreed)
        self.budget, self.evaluation_budget = agreed[1:]
        return agreed[0] or 0

    def train_step(self, step: int) -> None:
        """Take one optimizer step on its rows of the plan."""
        beat("in a step")
        began = time.monotonic()
        training, plan = self.spec.config.training, self.inputs.plan
        first, end = (
            planned_rows_fed(self.spec.config, number, len(plan)) for number in (step - 1, step)
        )
        rows = plan[first:end]
        lr = learning_rate(
            step, self.steps, training.learning_rate, training.schedule,
            training.min_lr_ratio, training.warmup_steps,
        )  # fmt: skip
        overflows, norm = 0, None
        while norm is None:
            fed, norm = self._try_step(step, rows, lr)
            if norm is None:  # noted and repeated: the plan loses no step
                overflows += 1
                self._note("overflow", step, loss_scale=loss_scale(self.engine))
        entry: dict[str, float] = {
            "loss": fed.loss,
            "lr": lr,
            "grad_norm": norm,
            "tokens": int(self.tokens.lengths[rows].sum()),
            "answer_tokens": int(self.tokens.answer_counts(rows).sum()),
            "padded_tokens": fed.padded_tokens,
            "useful_share": fed.useful_share,
            "seconds": time.monotonic() - began,
        }
        if self.device.dtype == torch.float16:
            entry |= {"overflows": overflows, "loss_scale": loss_scale(self.engine)}
        if step in self._evaluated:
            entry |= self.fidelity.measure()
        self.history.fed += [(step, self.rank, row) for row in fed.rows]
        self.history.log.append({"step": step, **entry})
        self._note("step", step, **entry)

    def _try_step(
        self, step: int, rows: NDArray[np.int64], learning_rate: float
    ) -> tuple[FedBatch, float | None]:
        """Feed a global batch and update; the norm is None where the gradient overflowed."""
        fed = self.feeder.feed(step, rows)
        if fed.halvings:
            self._note("out_of_memory", step, micro_batch_tokens=self.budget.tokens)
        wider = "Set model.precision to bfloat16, lower"
        change = wider if self.device.dtype == torch.float16 else "Lower"
        advice = f"Rows {rows.tolist()}. {change} training.learning_rate, or look at these rows"
        if not math.isfinite(fed.loss):
            raise TrainingError(
                f"step {step}: the training loss is {fed.loss}. Nothing was updated. {advice}"
            )
        training = self.spec.config.training
        try:
            return fed, update(self.engine, training, self.device, learning_rate)
        except FloatingPointError as error:
            raise TrainingError(f"step {step}: {error}. {advice}") from None
        except (MemoryError, RuntimeError) as error:  # with some weights updated
            if not out_of_memory(error):
                raise
            where = "in the optimizer's step, whose states training.offload: optimizer moves away"
            raise for_next_attempt(step, training, self.budget, where) from error

    def evaluate(self, step: int, report: Report | None) -> None:
        """Do what the study asks for after this step: test losses, answers, both or neither."""
        began = time.monotonic()
        if step in self._generated:
            answers, means = self._measured(step, "while it generated", self.evaluator.answers)
            self.history.generations.append(answers)
            self._note("generate", step, seconds=time.monotonic() - began, **means)
        if step in self._evaluated:
            began = time.monotonic()
            losses, means = self._measured(step, "in an evaluation", self.evaluator.losses)
            self.history.losses.append(losses)
            self._note("measure", step, seconds=time.monotonic() - began, **means)
            if report:
                report({"step": step, **means})

    def _measured(self, step: int, where: str, measure: Callable[[int], Measured]) -> Measured:
        # Often of losses that are in the store: those after steps may take much longer.
        beat(where if step else f"{where} before the first step")
        budget = self.evaluation_budget
        halvings = budget.halvings
        result = measured(measure, step, self.spec.config.training, budget, where)
        if budget.halvings > halvings:
            self._note("out_of_memory", step, micro_batch_tokens=budget.tokens)
        return result

    def save(self, step: int) -> None:
        """Save a checkpoint of the state after a step."""
        beat("in a checkpoint")
        began = time.monotonic()
        spec = self.spec
        keep = spec.config.training.checkpoint.keep
        facts = {"step": step, "key": spec.key, "precision": self.device.precision}
        save_checkpoint(spec.folder, self.engine, self.history, facts, keep=keep)
        self._note("checkpoint", step, seconds=time.monotonic() - began)

    def save_model(self, step: int) -> None:
        """Keep the model as it is after a step."""
        beat("while it saved the model")
        began = time.monotonic()
        spec = self.spec
        save_trained(self.engine, step_model(spec.folder, step), spec.model, spec.config.model)
        self._note("model", step, seconds=time.monotonic() - began)

    def finish(self) -> None:
        """Gather what every rank fed, check it against the plan, write the results."""
        beat("at its end")
        spec, history = self.spec, self.history
        gathered: list[Any] = [None] * self.ranks
        dist.all_gather_object(gathered, history.fed)
        realised = realised_table((row for fed in gathered for row in fed), self.inputs.ids)
        if self.rank == 0:
            # Written before the check, as evidence should it fail.
            write_table(spec.folder / REALISED_FILE, realised)
        # On every rank: none goes on alone.
        certificate = order_certificate(realised, self.inputs, spec.config.training, self.steps)
        if spec.config.training.save_model:
            folder = spec.folder / MODEL_FOLDER
            save_trained(self.engine, folder, spec.model, spec.config.model)
        if self.rank != 0:
            return
        seconds = sum(entry["seconds"] for entry in history.log)
        mark_finished(
            spec.folder,
            {REALISED_FILE: realised, **history.tables()},
            {
                "trial": spec.trial,
                "key": spec.key,
                "steps": self.steps,
                **certificate,
                "seconds": time.monotonic() - self.started,
                "tokens_per_second": sum(entry["tokens"] for entry in history.log) / seconds,
                "precision": self.device.precision,
            },
        )
        remove_checkpoints(spec.folder)
        self._note("finish", self.steps)

    def _note(self, event: str, step: int, **values: float | str) -> None:
        if self.journal:
            self.journal.write(event, step, **values)
