"""What a few lines of Python print."""

from __future__ import annotations

import random
from collections.abc import Callable

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import WORDS

STRING_CALLS: dict[str, Callable[[str], object]] = {
    "'{word}'.upper()": str.upper,
    "'{word}'.capitalize()": str.capitalize,
    "len('{word}')": len,
    "'{word}'.replace('e', 'i')": lambda word: word.replace("e", "i"),
    "'{word}' + 's'": lambda word: word + "s",
    "'{word}'.count('a')": lambda word: word.count("a"),
}


@task(
    "Read the Python code and write the number that it prints when it is run.\n{code}",
    "What is the output of this short Python program? Remember that * binds more tightly than + "
    "and -.\n{code}",
    "{code}\nA student runs these lines of Python. Work out the arithmetic and say which number "
    "appears on the screen.",
)
def python_arithmetic(rng: random.Random) -> Case:
    a, b, c = rng.randint(2, 12), rng.randint(2, 9), rng.randint(1, 20)
    expression, value = rng.choice((
        (f"a * b + {c}", a * b + c), (f"{c} + a * b", c + a * b), (f"a * b - {c}", a * b - c),
    ))  # fmt: skip
    return {"code": f"a = {a}\nb = {b}\nprint({expression})"}, value


@task(
    "Read the Python code and write what it prints when it is run, without quotation marks. Work "
    "through it step by step.\n{code}",
    "What is the output of this line of Python? Think about what is done to the string. Leave out "
    "the quotation marks in your answer.\n{code}",
    "{code}\nA student runs this line of Python, which works on a string. Say what appears on the "
    "screen.",
)
def python_string(rng: random.Random) -> Case:
    word, call = rng.choice(WORDS), rng.choice(tuple(STRING_CALLS))
    return {"code": f"print({call.format(word=word)})"}, STRING_CALLS[call](word)


@task(
    "Read the Python code and write the word that it prints when it is run.\n{code}",
    "What is the output of this short Python program? Check whether the condition is true.\n{code}",
    "{code}\nA student runs these lines of Python. Follow the right branch and say which word "
    "appears on the screen.",
)
def python_branch(rng: random.Random) -> Case:
    value, limit = rng.randint(1, 30), rng.randint(1, 30)
    yes, no = rng.sample(WORDS, 2)
    code = f"x = {value}\nif x > {limit}:\n    print('{yes}')\nelse:\n    print('{no}')"
    return {"code": code}, yes if value > limit else no


@task(
    "Read the Python code and write the list that it prints when it is run.\n{code}",
    "What is the output of this short Python program? Remember that indices start at 0.\n{code}",
    "{code}\nA student runs these lines of Python. Take the right part of the list and say what "
    "appears on the screen.",
)
def python_slice(rng: random.Random) -> Case:
    items = rng.sample(range(1, 60), 5)
    start, stop = sorted(rng.sample(range(6), 2))
    return {"code": f"items = {items}\nprint(items[{start}:{stop}])"}, items[start:stop]
