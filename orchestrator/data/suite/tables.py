"""Questions over a small two-column table."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES

# (heading of the names, heading of the numbers)
HEADINGS = (
    ("Player", "Points"),
    ("Student", "Marks"),
    ("Seller", "Orders"),
    ("Runner", "Laps"),
    ("Volunteer", "Hours"),
)


def _table(rng: random.Random, rows: int) -> tuple[dict[str, object], dict[str, int]]:
    """Fields `who`, `what` and `table`, and the numbers (all different) by name."""
    who, what = rng.choice(HEADINGS)
    numbers = dict(zip(rng.sample(NAMES, rows), rng.sample(range(5, 60), rows), strict=True))
    lines = [f"{who} | {what}", *(f"{name} | {number}" for name, number in numbers.items())]
    return {"who": who.lower(), "what": what.lower(), "table": "\n".join(lines)}, numbers


@task(
    "Read the table and look up how many {what} are listed for {name}.\n{table}",
    "{table}\nAccording to this table, what is the number of {what} of {name}?",
    "Use the table to answer with one number: which value stands next to the {who} {name}?\n"
    "{table}",
)
def table_lookup(rng: random.Random) -> Case:
    fields, numbers = _table(rng, 4)
    name = rng.choice(tuple(numbers))
    return {**fields, "name": name}, numbers[name]


@task(
    "Read the table and add up the {what} of all rows. Reply with the total.\n{table}",
    "{table}\nAccording to this table, how many {what} do they have in all?",
    "Use the table to answer with one number: what is the sum of the column of {what}?\n{table}",
)
def table_total(rng: random.Random) -> Case:
    fields, numbers = _table(rng, 3)
    return fields, sum(numbers.values())


@task(
    "Read the table and count the rows that have more than {limit} {what}.\n{table}",
    "{table}\nAccording to this table, how many of the people have over {limit} {what}?",
    "Use the table to answer with one number: in how many rows is the number of {what} greater "
    "than {limit}?\n{table}",
)
def table_count_above(rng: random.Random) -> Case:
    fields, numbers = _table(rng, 4)
    limit = rng.randrange(10, 50, 5)
    return {**fields, "limit": limit}, sum(number > limit for number in numbers.values())


@task(
    "Read the table and find the {who} with the most {what}. Reply with the name.\n{table}",
    "{table}\nAccording to this table, who has the highest number of {what}?",
    "Use the table to answer with one name: which {who} comes first in the ranking by {what}?\n"
    "{table}",
)
def table_highest(rng: random.Random) -> Case:
    fields, numbers = _table(rng, 4)
    return fields, max(numbers, key=lambda name: numbers[name])
