"""The tables of what a study's data are: splits, leakage, near duplicates.

A study that sweeps a setting of its data has several data sets, often alike in all but which rows
were drawn: a line that is the same in several of them is written once, with their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.data.dataset import SPLITS
from orchestrator.report.figures import SETS
from orchestrator.report.read import Trial
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import shortened

TITLES = {"pool": "Training pool", **SETS}
SHOWN_CHARS = 160  # of each text of a pair

DataSet = dict[str, Any]  # an entry of section `data` of run.json
Named = list[tuple[str, DataSet]]


def describe_data(run: dict[str, Any], trials: list[Trial]) -> dict[str, Any]:
    """The section on data; a part is None, or empty, where run.json does not know of it."""
    named = name_data_sets(run.get("data", []), trials)
    near = run.get("near_duplicates")
    return {
        "names": [f"{name} (trials: {len(found['trials']):,})" for name, found in named],
        "splits": split_table(named) if named else None,
        "leakage": leakage_table(named) if named else None,
        "near": near_duplicate_table(near) if near else None,
        "pairs": pair_table(near) if near else None,
    }


def name_data_sets(data_sets: list[DataSet], trials: list[Trial]) -> Named:
    """Each data set with a name: the swept settings of data by which its trials chose it.

    A setting of which one data set has several values, as `data.near_duplicate` may have, is no
    part of what the data set is.
    """
    rows = {trial.name: trial.summary for trial in trials}
    swept = [key for key in next(iter(rows.values()), {}) if key.split(".")[0] == "data"]
    values = [
        {key: {rows[name][key] for name in found["trials"] if name in rows} for key in swept}
        for found in data_sets
    ]
    chosen = [key for key in swept if all(len(of_set[key]) == 1 for of_set in values)]
    names = [", ".join(f"{key} {min(of_set[key])}" for key in chosen) for of_set in values]
    return list(zip(names, data_sets, strict=True))


def split_table(named: Named) -> Table:
    """What was kept, left out and changed of each split."""

    def lines(found: DataSet) -> list[list[Cell]]:
        splits = found["splits"]
        return [
            [
                Cell(TITLES[split]),
                _count(splits[split]["instances"]),
                _count(splits[split]["tasks"]),
                _reasons(splits[split]["dropped"]),
                _reasons(splits[split]["notes"]),
            ]
            for split in SPLITS
            if split in splits
        ]

    return _merged(["split", "instances", "tasks", "dropped", "notes"], lines, named)


def leakage_table(named: Named) -> Table:
    """Rows of the pool by kind of leakage."""

    def lines(found: DataSet) -> list[list[Cell]]:
        return [[Cell(kind), _count(count)] for kind, count in found["leakage"].items()]

    return _merged(["leakage", "rows of the pool"], lines, named)


def _merged(
    headers: list[str], lines: Callable[[DataSet], list[list[Cell]]], named: Named
) -> Table:
    """The lines of all data sets, those of one subject (their first cell) below each other.

    Equal lines are one, with the data sets they are of where there are several.
    """
    owners: dict[tuple[Cell, ...], list[str]] = {}
    for name, found in named:
        for line in lines(found):
            owners.setdefault(tuple(line), []).append(name)
    if len(named) == 1:
        return Table(headers, [list(line) for line in owners])
    subjects = list(dict.fromkeys(subject for subject, *_ in owners))
    table = Table([headers[0], "data set", *headers[1:]])
    for subject, *rest in sorted(owners, key=lambda line: subjects.index(line[0])):
        names = owners[subject, *rest]
        text = f"all {len(named)}" if len(names) == len(named) else "; ".join(names)
        table.rows.append([subject, Cell(text, "wrapped"), *rest])
    return table


def near_duplicate_table(found: list[dict[str, Any]]) -> Table:
    """Section `near_duplicates` of run.json: rows of the pool by the test set they are near."""
    sets = [name for name in SETS if any(name in entry["counts"] for entry in found)]
    lines = [
        (
            Cell(f"{entry['threshold']:g}", "number"),
            *(_count(entry["counts"].get(name, 0)) for name in sets),
        )
        for entry in found
    ]
    headers = ["cosine at least", *(f"near the {TITLES[name].lower()}" for name in sets)]
    return Table(headers, _distinct(lines))


def pair_table(found: list[dict[str, Any]]) -> Table:
    """The nearest pairs that run.json lists, with the beginnings of their texts."""
    lines = [
        (
            Cell(f"{pair['cosine']:.4f}", "number"),
            Cell(pair["pool_id"]),
            Cell(shortened(pair["pool_text"], SHOWN_CHARS), "wrapped"),
            Cell(pair["test_id"]),
            Cell(shortened(pair["test_text"], SHOWN_CHARS), "wrapped"),
        )
        for entry in found
        for pair in entry["pairs"]
    ]
    return Table(["cosine", "pool item", "its text", "test item", "its text"], _distinct(lines))


def _distinct(lines: Iterable[tuple[Cell, ...]]) -> list[list[Cell]]:
    return [list(line) for line in dict.fromkeys(lines)]


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", "number")


def _reasons(counts: dict[str, int]) -> Cell:
    text = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    return Cell(text or "none", "wrapped")
