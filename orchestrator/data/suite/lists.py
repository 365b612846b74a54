"""Short lists: sorting, picking, comparing."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import CATEGORIES, ORDINALS, WORDS

THINGS = tuple(thing for things in CATEGORIES.values() for thing in things)


@task(
    "Arrange the following numbers in ascending order, from the smallest to the largest. Separate "
    "them with commas.\nNumbers: {numbers}",
    "Here are some numbers in no particular order: {numbers}. List them again so that they go up "
    "from lowest to highest.",
    "Sort the list {numbers} in increasing order. Your answer should contain the same numbers "
    "with commas between them.",
)
def sort_numbers(rng: random.Random) -> Case:
    numbers = rng.sample(range(1, 100), 5)
    return {"numbers": ", ".join(map(str, numbers))}, ", ".join(map(str, sorted(numbers)))


@task(
    "Put the following words in alphabetical order, as they would stand in a dictionary. Separate "
    "them with commas.\nWords: {words}",
    "A librarian files cards from A to Z. In which order do the cards {words} go into the drawer? "
    "Write the words with commas.",
    "Sort the list {words} alphabetically. Your answer should contain the same words with commas "
    "between them.",
)
def sort_words(rng: random.Random) -> Case:
    words = rng.sample(WORDS, 5)
    return {"words": ", ".join(words)}, ", ".join(sorted(words))


@task(
    "Exactly one item is on both of the lists below. Find it and write it down.\n"
    "List 1: {first}\nList 2: {second}",
    "Two players each note four words. One notes: {first}. The other notes: {second}. Which word "
    "do both of them note?",
    "Compare the two lists and name the single thing that they have in common. One list is "
    "{first}; the other list is {second}.",
)
def common_item(rng: random.Random) -> Case:
    shared, *others = rng.sample(THINGS, 7)
    first, second = [shared, *others[:3]], [shared, *others[3:]]
    rng.shuffle(first)
    rng.shuffle(second)
    return {"first": ", ".join(first), "second": ", ".join(second)}, shared


@task(
    "Below is a list of things, separated by commas. Write the {position} thing on the list and "
    "nothing else. Count from the beginning of the list.\nList: {things}",
    "Someone read these words aloud, one after the other: {things}. Which of them was the "
    "{position} to be read? Repeat just this word.",
    "A row of picture cards shows {things}. Name the {position} card of this row, counted from "
    "the left.",
)
def item_at_position(rng: random.Random) -> Case:
    things, index = rng.sample(THINGS, 6), rng.randrange(5)
    return {"things": ", ".join(things), "position": ORDINALS[index]}, things[index]
