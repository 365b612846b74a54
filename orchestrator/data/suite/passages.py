"""Reading a short passage about somebody and finding one fact in it."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES

CITIES = ("Lisbon", "Oslo", "Vienna", "Nairobi", "Lima", "Dublin", "Hanoi", "Quito", "Riga")
JOBS = ("carpenter", "pharmacist", "librarian", "tailor", "gardener", "journalist", "mechanic")
HOBBIES = ("sails", "paints birds", "plays chess", "grows roses", "sings in a choir")


def _passage(rng: random.Random) -> dict[str, object]:
    """Fields `passage` and `name`, and those of the facts that the passage tells."""
    facts = {
        "name": rng.choice(NAMES),
        "city": rng.choice(CITIES),
        "job": rng.choice(JOBS),
        "hobby": rng.choice(HOBBIES),
        "year": rng.randint(1985, 2020),
    }
    shape = rng.choice((
        "{name} moved to {city} in {year} and works there as a {job}. On Sundays {name} {hobby}.",
        "On most evenings {name} {hobby}. Since {year} this {job} has lived in {city}.",
        "Everybody in {city} knows {name}, a {job} who arrived in {year} and often {hobby}.",
    ))  # fmt: skip
    return {**facts, "passage": shape.format(**facts)}


@task(
    "Read the passage and answer the question with one word.\nPassage: {passage}\n"
    "Question: In which city does {name} live?",
    "{passage} Where is the home of {name} according to this text? Name the city.",
    "Find the place in the text below where {name} lives, and write only its name.\n{passage}",
)
def passage_city(rng: random.Random) -> Case:
    fields = _passage(rng)
    return fields, fields["city"]


@task(
    "Read the passage and answer the question with one word.\nPassage: {passage}\n"
    "Question: What does {name} do for a living?",
    "{passage} Which profession does {name} have according to this text? Name the job.",
    "Find the occupation of {name} in the text below and write only this word.\n{passage}",
)
def passage_job(rng: random.Random) -> Case:
    fields = _passage(rng)
    return fields, fields["job"]


@task(
    "Read the passage and answer the question with a year.\nPassage: {passage}\n"
    "Question: Since when has {name} lived there?",
    "{passage} In what year did {name} come to the city according to this text?",
    "Find the year of {name}'s arrival in the text below and write only the number.\n{passage}",
)
def passage_year(rng: random.Random) -> Case:
    fields = _passage(rng)
    return fields, fields["year"]
