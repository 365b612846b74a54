"""Which kind a thing is of."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import CATEGORIES

KINDS = tuple(CATEGORIES)


@task(
    "Name the category that all four items belong to. Choose {options}. Reply with the name of "
    "the category only.\nItems: {items}",
    "What do these things have in common: {items}? Decide which one of {options} they all are. "
    "Reply with one of the two names.",
    "A poster in a classroom shows {items}. Which label fits all of them, {options}? Write the "
    "label.",
)
def name_category(rng: random.Random) -> Case:
    kind, other = rng.sample(KINDS, 2)
    options = " or ".join(sorted((kind, other)))
    return {"items": ", ".join(rng.sample(CATEGORIES[kind], 4)), "options": options}, kind


@task(
    "Exactly one of the items belongs to the category '{kind}'. Write this item. Copy the word "
    "exactly as it is listed.\nItems: {items}",
    "Which of the things {items} counts as an example of '{kind}'? Only one of them does. Reply "
    "with its name.",
    "In a word game the card says '{kind}'. You hold the words {items}. Which one may you put "
    "down?",
)
def category_member(rng: random.Random) -> Case:
    kinds = rng.sample(KINDS, 5)
    items = [rng.choice(CATEGORIES[kind]) for kind in kinds]
    answer = items[0]
    rng.shuffle(items)
    return {"kind": kinds[0], "items": ", ".join(items)}, answer


@task(
    "Do the two items belong to the same category, as a rose and a tulip do? Answer yes or no. "
    "Think of what kind of thing each of them is.\nItems: {items}",
    "A puzzle asks if {items} are of one kind, for example both fruit or both tools. Answer yes or "
    "no. Think of what each of them is.",
    "Would a picture dictionary show these two on the same page: {items}? Say yes if both are of "
    "one kind, otherwise no.",
)
def same_category(rng: random.Random) -> Case:
    kind, other = rng.sample(KINDS, 2)
    if rng.choice((True, False)):
        items, answer = rng.sample(CATEGORIES[kind], 2), "yes"
    else:
        items, answer = [rng.choice(CATEGORIES[kind]), rng.choice(CATEGORIES[other])], "no"
    return {"items": " and ".join(items)}, answer


@task(
    "All but one of the items belong to the same category. Write the item that does not "
    "fit. Copy the word exactly as it is listed.\nItems: {items}",
    "Which of the things {items} is the odd one out? The others are all of one kind. Reply "
    "with its name.",
    "In a word game you hold the words {items}. Throw away the one that is of a different kind "
    "from the rest. Which one is it?",
)
def odd_one_out(rng: random.Random) -> Case:
    kind, other = rng.sample(KINDS, 2)
    answer = rng.choice(CATEGORIES[other])
    items = [*rng.sample(CATEGORIES[kind], 4), answer]
    rng.shuffle(items)
    return {"items": ", ".join(items)}, answer
