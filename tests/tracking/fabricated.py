"""A study as its trials leave it, without training."""

import io
import json
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from orchestrator.config import dump_yaml, load_study
from orchestrator.screen import Screen
from orchestrator.storage.files import LOSSES_SCHEMA, REALISED_SCHEMA, TRAIN_LOG_SCHEMA
from orchestrator.tracking import Tracker, certificate, describe, finished
from orchestrator.training.journal import Journal
from orchestrator.training.outcome import mark_finished
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand

ROWS, BATCH = 12, 2
STEPS = ROWS // BATCH
STUDY = {
    "study": "tiny",
    "data": {
        "pool": {"reader": "builtin", "split": "pool"},
        "query": {"reader": "builtin", "split": "query"},
    },
    "arrangement": {"selection": "nearest", "rows": ROWS},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": BATCH},
    "sweep": {
        "parameters": {
            "arrangement.order": {"grid": ["nearest_first", "random"]},
            "seed": {"grid": [0, 1]},
        }
    },
}


def study_in(output, **changes):
    """The study as it is read from a file, with some of its sections changed."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "study-file.yaml"
    file.write_text(yaml.safe_dump(STUDY | changes))
    return load_study(file, [f"output={json.dumps(str(output))}"])


class Fabricated:
    """A study folder with the files that trials leave, and no training."""

    def __init__(self, output, **changes):
        self.study = study_in(output, **changes)
        self.folder = output / "tiny"
        self.trials = expand(self.study)
        self.specs = [self._spec(trial) for trial in self.trials]
        (self.folder / "report" / "figures").mkdir(parents=True, exist_ok=True)
        (self.folder / "study.yaml").write_text(dump_yaml(self.study))
        for name in ("summary.csv", "report/index.html", "report/figures/loss.png"):
            (self.folder / name).write_text(name)
        self.journals = {}

    def _spec(self, trial):
        folder = self.folder / "trials" / trial.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(dump_yaml(trial.config))
        rows = np.random.default_rng(trial.config.seed).permutation(ROWS)
        plan = pa.table({"row": rows, "id": [f"item-{row}" for row in rows]})
        pq.write_table(plan, folder / "plan.parquet")
        nowhere = folder / "nowhere"
        return TrialSpec(
            trial.name, trial.key, trial.config, nowhere, "", folder.parent / "0123456789abcdef",
            nowhere, "", folder, nowhere,
        )  # fmt: skip

    def record(self, tags=None):
        return describe(
            self.study, self.trials, self.specs, tags or {}, ["config.yaml", "plan.parquet"],
            self.folder, trial_tags={spec.key: certificate(spec) for spec in self.specs},
        )  # fmt: skip

    def ended(self, record):
        metrics = {trial.name: {"final_query_loss": 1.5} for trial in self.trials}
        endings = {name: {"ended": "finished", "precision": "float32"} for name in metrics}
        files, said = ["summary.csv", "study.yaml", "report"], "nearest_first is the best."
        return finished(record, files, {}, endings, metrics, description=said)

    def train(self, spec, first, last, kept_to=None):
        """Steps first to last of a trial, as the training loop notes them."""
        if first == 1 or kept_to is not None:
            self.journals[spec.trial] = Journal(spec.folder, kept_to)
            self.journals[spec.trial].write("start", first - 1, steps=STEPS)
        journal = self.journals[spec.trial]
        for step in range(first, last + 1):
            journal.write(
                "step", step, loss=3 / step, lr=1e-3, grad_norm=1.0, tokens=30,
                padded_tokens=40, useful_share=0.75, seconds=0.5,
            )  # fmt: skip
            journal.write("measure", step, seconds=0.1, query_loss=2 / step, made_up_loss=1.0)
        if last == STEPS:
            journal.write("generate", last, seconds=0.1, query_rougeL=0.5, query_exact_match=0.25)
            self._finish(spec)
            journal.write("finish", last)

    def _finish(self, spec):
        losses = pa.table(
            {"step": [0, 0, STEPS, STEPS], "set": ["query"] * 4, "id": ["a", "b"] * 2,
             "task": ["x", "$y_1$"] * 2, "loss": [2.0, 3.0, 1.0, None], "tokens": [5] * 4},
            schema=LOSSES_SCHEMA,
        )  # fmt: skip
        tables = {
            "realised.parquet": REALISED_SCHEMA.empty_table(),
            "losses.parquet": losses,
            "train_log.parquet": TRAIN_LOG_SCHEMA.empty_table(),
        }
        mark_finished(spec.folder, tables, {"trial": spec.trial, "key": spec.key})

    def train_all(self):
        for spec in self.specs:
            self.train(spec, 1, STEPS)


@contextmanager
def tracking(fabricated, screen=None):
    """What keeps MLflow equal to the study's record; `screen` takes what it prints."""
    console = Console(file=screen or io.StringIO(), width=200)
    tracker = Tracker(fabricated.record(), fabricated.folder, Screen(console))
    try:
        yield tracker
    finally:
        tracker.close(0)
