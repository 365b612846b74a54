"""The tables of what a study's data are: splits, leakage, near duplicates.

A study that sweeps a setting of its data has several data sets, often alike in all but which rows
were drawn: a line that is the same in several of them is written once, with their names.
"""

from __future__ import annotations

from typing import Any

from orchestrator.data.dataset import SPLITS
from orchestrator.report.figures import SETS
from orchestrator.report.tables import MISSING, Cell, Table, count_cell, short_text
from orchestrator.report.trial import Trial

TITLES = {"pool": "Training pool", **SETS}
SHOWN_CHARS = 160  # of each text of a pair
# Counts of the sections `tokens`, `test_tokens` and `embeddings`, and what the report calls them.
FED = {
    "instances": "rows",
    "tokens": "tokens",
    "proved": "proved to be fed as they are",
    "reshaped": "white space changed by the template",
    "cut": "cut at max_length",
    "unanswered": "left without an answer",
}
VECTORS = {
    "texts": "texts embedded",
    "cut": "longer than what is read",
    "different": "different texts",
    "distinct": "distinct vectors",
    "alike": "texts that share a vector",
}

Entry = dict[str, Any]  # of a section of run.json that tells of the data
NamedEntries = list[tuple[str, Entry]]  # each with the name of its data set


def data_section(run: dict[str, Any], trials: list[Trial]) -> dict[str, Any]:
    """The section on data; a part is None, or empty, where run.json does not know of it."""
    named = named_data_sets(run.get("data", []), trials)
    near = named_entries(run.get("near_duplicates", []), named)
    return {
        "names": [f"{name} (trials: {len(data_set['trials']):,})" for name, data_set in named],
        "splits": split_table(named) if named else None,
        "leakage": leakage_table(named) if named else None,
        # That a hold-out of single items shares tasks with its pool was asked for: not counted.
        "shares_tasks": any(_held_out_one_by_one(trial.config.get("data", {})) for trial in trials),
        "near": near_duplicate_table(near, len(named)) if near else None,
        "pairs": pair_table(near, len(named)) if near else None,
        "fed": _count_table(run, "tokens", named, FED),
        "measured": _count_table(run, "test_tokens", named, FED),
        "vectors": _count_table(run, "embeddings", named, VECTORS),
        "own": own_vectors_table(named_entries(run.get("embeddings", []), named), len(named)),
    }


def _held_out_one_by_one(data: dict[str, Any]) -> bool:
    held_out = data.get("held_out") or {}
    return held_out.get("from") == "pool" and held_out.get("by", "instance") == "instance"


def _count_table(
    run: dict[str, Any], section: str, named: NamedEntries, columns: dict[str, str]
) -> Any:
    """A table of counts that a section of run.json holds; None where it holds none."""
    entries = named_entries(run.get(section, []), named)
    lines = [
        (name, [count_cell(entry[key]) for key in columns])
        for name, entry in entries
        if entry.keys() >= columns.keys()
    ]
    return _merged_table(list(columns.values()), lines, len(named)) if lines else None


def named_data_sets(data_sets: list[Entry], trials: list[Trial]) -> NamedEntries:
    """Each data set with a name: the swept settings of data by which its trials chose it.

    A setting of which one data set has several values, as `data.near_duplicate` may have, is no
    part of what the data set is.
    """
    rows = {trial.name: trial.summary for trial in trials}
    swept = [key for key in next(iter(rows.values()), {}) if key.split(".")[0] == "data"]
    values = [
        {key: {rows[name][key] for name in data_set["trials"] if name in rows} for key in swept}
        for data_set in data_sets
    ]
    chosen = [key for key in swept if all(len(of_set[key]) == 1 for of_set in values)]
    names = [", ".join(f"{key} {min(of_set[key])}" for key in chosen) for of_set in values]
    return list(zip(names, data_sets, strict=True))


def named_entries(entries: list[Entry], named: NamedEntries) -> NamedEntries:
    """Each entry with the name of the data set that its trials share."""
    names = {trial: name for name, data_set in named for trial in data_set["trials"]}
    return [(names[entry["trials"][0]], entry) for entry in entries]


def split_table(named: NamedEntries) -> Table:
    """What was kept, left out and changed of each split and, of several, of each source."""
    lines = []
    for name, data_set in named:
        for split in SPLITS:
            if split not in data_set["splits"]:
                continue
            counts = data_set["splits"][split]
            lines.append((name, _split_line(TITLES[split], counts)))
            for source, of_source in counts.get("sources", {}).items():
                lines.append((name, _split_line(f"{TITLES[split]}: {source}", of_source)))
    headers = ["split", "instances", "tasks", "repeated texts", "dropped", "notes", "not read"]
    return _merged_table(headers, lines, len(named))


def _split_line(title: str, counts: Entry) -> list[Cell]:
    numbers = [
        count_cell(counts[key]) if key in counts else Cell(MISSING, "number")
        for key in ("tasks", "repeated")
    ]
    reasons = [_reason_cell(counts.get(key, {})) for key in ("dropped", "notes", "unread")]
    return [Cell(title), count_cell(counts["instances"]), *numbers, *reasons]


def leakage_table(named: NamedEntries) -> Table:
    """Rows of the pool by kind of leakage."""
    lines = [
        (name, [Cell(kind), count_cell(count)])
        for name, data_set in named
        for kind, count in data_set["leakage"].items()
    ]
    return _merged_table(["leakage", "rows of the pool"], lines, len(named))


def own_vectors_table(entries: NamedEntries, data_sets: int) -> Table | None:
    """Vectors that no model of the study made; None where there are none."""
    lines = [
        (
            name,
            [
                Cell(TITLES[split]),
                count_cell(entry["splits"][split]),
                count_cell(entry["own"][split]["rows"]),
                Cell(entry["own"][split]["matched"]),
                Cell(entry["own"][split]["sha256"][:12]),
            ],
        )
        for name, entry in entries
        for split in SPLITS
        if split in entry.get("own", {})
    ]
    headers = ["split", "instances", "rows of the file", "matched by", "SHA-256"]
    return _merged_table(headers, lines, data_sets) if lines else None


def near_duplicate_table(near: NamedEntries, data_sets: int) -> Table:
    """Section `near_duplicates` of run.json: rows of the pool by the test set they are near."""
    sets = [key for key in SETS if any(key in entry["counts"] for _, entry in near)]
    lines = [
        (
            name,
            [
                Cell(f"{entry['threshold']:g}", "number"),
                *(
                    count_cell(entry["counts"][key])
                    if key in entry["counts"]
                    else Cell("not looked for")
                    for key in sets
                ),
            ],
        )
        for name, entry in near
    ]
    headers = ["cosine at least", *(f"near the {TITLES[key].lower()}" for key in sets)]
    return _merged_table(headers, lines, data_sets)


def pair_table(near: NamedEntries, data_sets: int) -> Table:
    """The nearest pairs that run.json lists, with the beginnings of their texts."""
    pairs = [(name, pair) for name, entry in near for pair in entry["pairs"]]
    lines = [
        (
            name,
            [
                Cell(f"{pair['cosine']:.4f}", "number"),
                Cell(pair["pool_id"]),
                Cell(short_text(pair["pool_text"], SHOWN_CHARS), "wrapped"),
                Cell(pair["test_id"]),
                Cell(short_text(pair["test_text"], SHOWN_CHARS), "wrapped"),
            ],
        )
        for name, pair in sorted(pairs, key=lambda named: -named[1]["cosine"])
    ]
    headers = ["cosine", "pool item", "its text", "test item", "its text"]
    return _merged_table(headers, lines, data_sets)


def _merged_table(headers: list[str], lines: list[tuple[str, list[Cell]]], data_sets: int) -> Table:
    """The lines of all data sets, those of one subject (their first cell) below each other.

    Equal lines are one, with the data sets they are of where the study has several.

    Args:
        lines: each with the name of its data set.
        data_sets: how many the study has.
    """
    owners: dict[tuple[Cell, ...], list[str]] = {}
    for name, line in lines:
        names = owners.setdefault(tuple(line), [])
        if name not in names:
            names.append(name)
    if data_sets < 2:
        return Table(headers, [list(line) for line in owners])
    subjects = list(dict.fromkeys(subject for subject, *_ in owners))
    table = Table([headers[0], "data set", *headers[1:]])
    for subject, *rest in sorted(owners, key=lambda line: subjects.index(line[0])):
        names = owners[subject, *rest]
        text = f"all {data_sets}" if len(names) == data_sets else "; ".join(names)
        table.rows.append([subject, Cell(text, "wrapped"), *rest])
    return table


def _reason_cell(counts: dict[str, int]) -> Cell:
    text = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    return Cell(text or "none", "wrapped")
