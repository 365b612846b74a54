"""A study measured on all test items beside the same one measured on a part of them.

    python tests/benchmarks/sampled.py outputs/full outputs/sampled --sample 0.25 --draws 200

Both have run already. For each two arms the difference by area with its interval, in both studies;
at how many steps the verdicts are the same; what the measurements took. Then other draws of the
part, made from the losses of the full study: how often the verdicts are those of all items, and how
often the mean of all items lies within the margin that the report gives.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.core.statistics.sampled import draw, sample_size
from orchestrator.report.arms import group_arms
from orchestrator.report.contrast import Contrast, arm_contrast
from orchestrator.report.read import StudyRecord, read_study
from orchestrator.report.tables import interval, signed
from orchestrator.report.trial import Trial
from orchestrator.training.evaluation.sampled import completed
from orchestrator.training.journal import read_journal


def contrasts(trials: list[Trial]) -> Iterator[Contrast]:
    """Each two arms of a study, set against each other."""
    for a, b in combinations(group_arms(trials), 2):
        contrast = arm_contrast(a, b)
        assert contrast is not None, f"{a.name} and {b.name} share nothing"
        yield contrast


def same_steps(full: Contrast, part: Contrast) -> tuple[int, int]:
    """At how many steps after the first the verdicts are the same, of how many."""
    steps = [*full.by_step][1:]
    same = sum(full.by_step[step].verdict == part.by_step[step].verdict for step in steps)
    return same, len(steps)


def thinned(trial: Trial, sample: float, seed: int) -> Trial:
    """The trial as if only a part of the query items had been measured between the ends."""
    lines = trial.tables["losses"].to_pandas().query("set == 'query'")
    first = lines[(lines["step"] == 0) & lines["loss"].notna()]
    tasks = first["task"].to_numpy()
    drawn = draw(tasks, sample_size(len(tasks), len(set(tasks)), sample), seed)
    ends = lines["step"].isin([0, lines["step"].max()])
    kept = ends | lines["id"].isin(first["id"].to_numpy()[drawn])
    table = pa.Table.from_pandas(lines[kept], preserve_index=False)
    return replace(trial, tables={**trial.tables, "losses": completed(table)})


def print_studies(full: StudyRecord, part: StudyRecord) -> None:
    print("| Arms | all items | verdict | a part | verdict | same at steps |")
    print("| --- | --- | --- | --- | --- | --- |")
    for a, b in zip(contrasts(full.trials), contrasts(part.trials), strict=True):
        cells = [
            f"{signed(c.by_area.difference)} ({interval(c.by_area)}) | {c.by_area.verdict}"
            for c in (a, b)
        ]
        same, count = same_steps(a, b)
        print(f"| {a.a_name} - {a.b_name} | {' | '.join(cells)} | {same} of {count} |")


def print_seconds(study: Path) -> None:
    """What the trials' steps and measurements took, without those of the untouched model."""
    sums = {"step": 0.0, "measure": 0.0}
    for folder in sorted((study / "trials").iterdir()):
        for event in read_journal(folder):
            if event["event"] in sums and event["step"]:
                sums[event["event"]] += event["seconds"]
    share = sums["measure"] / sum(sums.values())
    print(f"{study}: steps {sums['step']:.0f} s, evaluation {sums['measure']:.0f} s ({share:.0%})")


def print_draws(record: StudyRecord, sample: float, draws: int) -> None:
    full = list(contrasts(record.trials))
    by_area = by_step = steps = 0
    inside, widths = [], []
    for seed in range(draws):
        trials = [thinned(trial, sample, seed) for trial in record.trials]
        for a, b in zip(full, contrasts(trials), strict=True):
            by_area += a.by_area.verdict == b.by_area.verdict
            same, count = same_steps(a, b)
            by_step, steps = by_step + same, steps + count
            spans = [contrast.by_area.high - contrast.by_area.low for contrast in (a, b)]
            widths.append(spans[1] / spans[0])
        for trial, part in zip(record.trials, trials, strict=True):
            off = np.abs(trial.mean_losses("query")[1] - part.mean_losses("query")[1])
            lines = part.tables["losses"].to_pandas().groupby("step")["margin"].first()
            inside += (off <= lines.to_numpy())[1:-1].tolist()
    pairs = draws * len(full)
    print(
        f"{draws} draws: the same verdict by area {by_area / pairs:.1%}, at a step "
        f"{by_step / steps:.1%}; intervals by area {np.mean(widths):.2f} times as wide; the mean "
        f"of all items within the margin {np.mean(inside):.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", type=Path)
    parser.add_argument("sampled", type=Path)
    parser.add_argument("--sample", type=float, default=0.25)
    parser.add_argument("--draws", type=int, default=200)
    arguments = parser.parse_args()
    full = read_study(arguments.full)
    print_studies(full, read_study(arguments.sampled))
    print_seconds(arguments.full)
    print_seconds(arguments.sampled)
    print_draws(full, arguments.sample, arguments.draws)


if __name__ == "__main__":
    main()
