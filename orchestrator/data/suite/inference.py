"""What follows from a few statements."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES

# Made-up kinds, so that only the statements decide.
KINDS = ("wug", "blick", "tove", "fep", "zib", "gorp", "mib", "plonk", "snerd", "quib", "rell")

COLOURS = ("red", "blue", "green", "white", "black")
CONTENTS = ("coins", "buttons", "letters", "stamps", "shells", "keys")

# (comparative, superlative)
TRAITS = (("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"), ("richer", "richest"))


@task(
    "Read the statements and answer the question with a name.\nStatements: {statements}\n"
    "Question: Who is the {superlative} of the three?",
    "{statements} From these facts, work out which of the three people is the {superlative} one. "
    "Reply with one name.",
    "Put the three people in order and name the {superlative} of them, given what we know: "
    "{statements} Reply with one name.",
)
def greatest_of_three(rng: random.Random) -> Case:
    comparative, superlative = rng.choice(TRAITS)
    first, second, third = rng.sample(NAMES, 3)
    statements = [
        f"{first} is {comparative} than {second}.",
        f"{second} is {comparative} than {third}.",
    ]
    rng.shuffle(statements)
    return {"statements": " ".join(statements), "superlative": superlative}, first


@task(
    "Apply the rule to the case and answer yes or no.\nRule: {rule}\nCase: {name} is {age}. Does "
    "{name} get in free?",
    "{rule} This is written at the entrance. {name}, who is {age} years old, comes along. Is the "
    "visit free for {name}, yes or no?",
    "The rule of the house says: {rule} May {name}, aged {age}, go in without paying? Answer yes "
    "or no.",
)
def rule_applies(rng: random.Random) -> Case:
    limit = rng.randint(6, 65)
    age = limit + rng.randint(-5, 4)
    place = rng.choice(("museum", "zoo", "castle", "pool", "tower"))
    rule, free = rng.choice((
        (f"Visitors of the {place} who are younger than {limit} pay nothing; all others pay.",
         age < limit),
        (f"Visitors of the {place} who are {limit} or older pay nothing; all others pay.",
         age >= limit),
    ))  # fmt: skip
    return {"name": rng.choice(NAMES), "age": age, "rule": rule}, "yes" if free else "no"


@task(
    "Decide whether the claim is true, false or unknown, given the fact alone.\nFact: {fact}\n"
    "Claim: {claim}",
    '{fact} Somebody then claims: "{claim}" Judge the claim by what you were told: true, false '
    "or unknown?",
    "Suppose that this is all we know: {fact} Is the following true, false or unknown? {claim}",
)
def claim_check(rng: random.Random) -> Case:
    first, second, third = rng.sample(COLOURS, 3)
    inside, other = rng.sample(CONTENTS, 2)
    claim, answer = rng.choice((
        (f"The {first} box holds {inside}.", "true"),
        (f"The {first} box holds {other}.", "false"),
        (f"The {third} box holds {other}.", "unknown"),
    ))  # fmt: skip
    fact = f"The {first} box holds {inside} and nothing else, and the {second} box is empty."
    return {"fact": fact, "claim": claim}, answer


@task(
    "Read the statements and answer the question with yes, no or unknown.\n"
    "Statements: {statements}\nQuestion: {question}",
    "{statements} From these facts alone, {question_start} Answer yes, no or unknown.",
    "Here is a logic puzzle with made-up words. {statements} {question} Reply yes, no or unknown.",
)
def syllogism(rng: random.Random) -> Case:
    name = rng.choice(NAMES)
    kind, other = rng.sample(KINDS, 2)
    quantifier, answer = rng.choice((("All", "yes"), ("No", "no"), ("Some", "unknown")))
    return {
        "statements": f"{quantifier} {kind}s are {other}s. {name} is a {kind}.",
        "question": f"Is {name} a {other}?",
        "question_start": f"is {name} a {other}?",
    }, answer
