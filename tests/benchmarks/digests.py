"""What a study determines, as digests: run it on two commits and compare what is printed.

    python tests/benchmarks/digests.py OUTPUT

OUTPUT is the output folder of a run, as of `orchestrator run experiments/quickstart.yaml --set
model.precision=float32 --output OUTPUT`. A line for each file of each artifact, for each table of
each trial without its timings, for each column of the summary without them, and for the text of
the report without numbers of seconds. Paths and timings are left out; everything else counts.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq

TIMINGS = {"seconds", "tokens_per_second", "rate"}
NOT_DETERMINED = {"vectors"}  # parts of the cache are cut by the clock


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def artifacts(store: Path) -> list[str]:
    lines = []
    for manifest in sorted(store.glob("*/*/manifest.json")):
        if manifest.parent.parent.name in NOT_DETERMINED:
            continue
        record = json.loads(manifest.read_bytes())
        info = {key: value for key, value in record.get("info", {}).items() if key not in TIMINGS}
        name = f"{manifest.parent.parent.name}/{manifest.parent.name}"
        lines.append(f"{name} remembers {digest(json.dumps(info, sort_keys=True).encode())}")
        lines += [
            f"{name}/{file} {entry['sha256'][:16]}" for file, entry in record["files"].items()
        ]
    return lines


def trials(study: Path) -> list[str]:
    lines = []
    for path in sorted(study.glob("trials/*/*")):
        name = f"{path.parent.name}/{path.name}"
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            table = table.drop_columns([c for c in table.column_names if c in TIMINGS])
            content = repr((table.schema.to_string(), table.to_pydict()))
            lines.append(f"{name} {digest(content.encode())}")
        elif path.suffix == ".yaml":
            lines.append(f"{name} {digest(path.read_bytes())}")
        elif path.name == "result.json":
            result = json.loads(path.read_bytes())
            kept = {key: value for key, value in result.items() if key not in TIMINGS}
            kept["files"].pop("train_log.parquet")  # holds seconds; its other columns are above
            lines.append(f"{name} {json.dumps(kept, sort_keys=True)}")
    return lines


def summary(study: Path) -> list[str]:
    with (study / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [f"summary {column} {[row[column] for row in rows]}" for column in rows[0]
            if column not in TIMINGS]  # fmt: skip


def report(study: Path) -> list[str]:
    page = (study / "report" / "index.html").read_text()
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "\n", page).replace("\n\n", "\n"))
    return ["report " + sentence for sentence in re.split(r"(?<=[.!?]) ", text)
            if not re.search(r"\d s\b|seconds|tokens/s|started|/", sentence)]  # fmt: skip


def main() -> None:
    output = Path(sys.argv[1])
    (study,) = (path.parent for path in output.glob("*/summary.csv"))
    for line in [*artifacts(output / "store"), *trials(study), *summary(study), *report(study)]:
        print(line)


if __name__ == "__main__":
    main()
