"""What a model learns in bfloat16, beside what it learns in float32: the same arms of one study.

    python tests/benchmarks/arithmetic.py experiments/quickstart.yaml --output outputs

The ways differ in nothing but the arithmetic and in where the float32 masters start:

    float32       the reference
    spread        bfloat16, as this project trains: masters spread over their rounding intervals
    centred       bfloat16, masters equal to the working weights, as mixed precision starts them
    file          bfloat16, masters equal to the weights as the model's file holds them
    file+spread   as `file`, and spread where the file's weight is a bfloat16 number

A line for each arm and way: the query loss at each evaluated step, its area, how far that is from
float32's, the update fidelity (the lowest and the last), the share of weights that changed, and the
seconds of a step. Everything is one process on the CPU; Ray serves the plans alone.

    python tests/benchmarks/arithmetic.py --layer

simulates one layer of LLaMA-2-7B's shape and spread: Adam on random gradients at 1e-6.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import torch

from orchestrator.config.layout import Layout
from orchestrator.config.load import load_study
from orchestrator.core.statistics.analysis import area_under_curve, set_curve
from orchestrator.screen import Screen
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.pipeline import Pipeline
from orchestrator.training import engine, masters
from orchestrator.training.device import leave_distributed
from orchestrator.training.loop import run_trial
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expansion

WAYS = ("float32", "spread", "centred", "file", "file+spread")
LAYER = (4096, 11008)  # an MLP matrix of LLaMA-2-7B, whose weights deviate by 0.02
spread, start_masters = masters.spread, masters.start_masters


def prepare(arguments: argparse.Namespace) -> list[tuple[str, TrialSpec]]:
    """Each arm with its spec."""
    settings = [*arguments.set, f"output={arguments.output}"]
    study = load_study(arguments.study, settings)
    layout = Layout.of(study)
    trials = [t for t in expansion(study).trials if not arguments.arms or t.arm in arguments.arms]
    with Screen() as screen, cluster(threads(study, trials)):
        pipeline = Pipeline(layout, screen)
        pipeline.read_data(trials)
        specs = pipeline.prepare(trials)
    return [(trial.arm, spec) for trial, spec in zip(trials, specs, strict=True)]


def of_file(model: Path) -> dict[str, torch.Tensor]:
    """The weights as the model's files hold them, in float32."""
    from safetensors.torch import load_file

    return {
        name: weight.float()
        for file in sorted(model.glob("*.safetensors"))
        for name, weight in load_file(file).items()
    }


@contextmanager
def started(way: str, model: Path) -> Iterator[None]:
    """Masters that start as a way has it."""
    weights = of_file(model) if way.startswith("file") else {}
    if way == "file+spread":
        for name, weight in weights.items():
            rounded = weight.view(-1).bfloat16()
            moved = spread(rounded, name, 0, 0)
            weights[name] = torch.where(rounded.float() == weight.view(-1), moved, weight.view(-1))
    centred = (lambda working, *_: working.float()) if way == "centred" else spread

    def start(built, given, seed):
        start_masters(built, {**given, **weights}, seed)

    with (
        mock.patch.object(engine, "start_masters", start),
        mock.patch.object(masters, "spread", centred),
    ):
        yield


def train(spec: TrialSpec, way: str) -> TrialSpec:
    precision = "float32" if way == "float32" else "bfloat16"
    folder = spec.folder.parents[1] / "arithmetic" / f"{spec.folder.name}.{way}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(spec.folder / "plan.parquet", folder)
    model = spec.config.model.model_copy(update={"precision": precision})
    spec = replace(spec, folder=folder, config=spec.config.model_copy(update={"model": model}))
    with started(way, spec.model):
        run_trial(spec)
        leave_distributed()
    return spec


def query_curve(spec: TrialSpec) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(spec.folder / "losses.parquet")
    rows = np.asarray(table["set"]) == "query"
    return set_curve(table["step"].to_numpy()[rows], table["loss"].to_numpy()[rows])


def compare(arguments: argparse.Namespace) -> None:
    for arm, spec in prepare(arguments):
        reference = None
        for way in arguments.ways:
            done = train(spec, way)
            steps, curve = query_curve(done)
            area = area_under_curve(steps, curve)
            reference = area if reference is None else reference
            log = pq.read_table(done.folder / "train_log.parquet").to_pandas()
            fidelity = log["update_fidelity"].dropna()
            print(
                f"{arm:<20} {way:<12}",
                " ".join(f"{step}:{loss:.3f}" for step, loss in zip(steps, curve, strict=True)),
                f"area {area:.3f} ({area / reference - 1:+.1%})",
                f"fidelity {fidelity.min():.3f} {fidelity.iloc[-1]:.3f}",
                f"changed {log['changed_weights'].dropna().iloc[-1]:.1%}",
                f"{log['seconds'].median():.2f} s a step",
                flush=True,
            )


def simulate(steps: tuple[int, ...] = (1, 10, 30, 100, 300)) -> None:
    """Fidelity after so many steps, with the masters spread and without."""
    working = (torch.randn(LAYER, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    working = working.view(-1)
    for way, start in {
        "spread": spread(working, "layer", 0, 0),
        "centred": working.float(),
    }.items():
        master = start.clone().requires_grad_()
        optimizer = torch.optim.AdamW(
            [master], lr=1e-6, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0, fused=True
        )
        draws = torch.Generator().manual_seed(1)
        for step in range(1, steps[-1] + 1):
            master.grad = torch.randn(master.shape, generator=draws)
            optimizer.step()
            if step in steps:
                asked = (master.detach() - start).double()
                arrived = master.detach().bfloat16().double() - working.double()
                fidelity = float(arrived @ asked / (asked @ asked))
                changed = float((arrived != 0).double().mean())
                print(f"{way:<8} step {step:>3}: fidelity {fidelity:.3f}, changed {changed:.1%}",
                      flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("study", nargs="?", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--arms", nargs="*", default=[], help="of the study; all where not given")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=["float32", "spread"])
    parser.add_argument("--layer", action="store_true", help="simulate a layer instead")
    arguments = parser.parse_args()
    if arguments.layer:
        return simulate()
    if arguments.study is None:
        sys.exit("give a study file, or --layer")
    return compare(arguments)


if __name__ == "__main__":
    main()
