"""Numbers without a story: sequences, rounding, number words."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@task(
    "The sequence below grows by the same step each time. Find the number that comes next and "
    "write it down.\nSequence: {sequence}",
    "Continue this pattern with one more number: {sequence}. The difference between neighbours "
    "is always the same.",
    "Look at the numbers {sequence}. Each is reached from the one before by adding a fixed amount. "
    "Which number follows the last one?",
)
def next_number(rng: random.Random) -> Case:
    start, step = rng.randint(1, 40), rng.randint(2, 15)
    return {"sequence": ", ".join(str(start + step * i) for i in range(4))}, start + step * 4


@task(
    "Round the given number to the nearest multiple of ten, up or down, whichever is closer. Reply "
    "with the rounded number. For example, 1384 becomes 1380.\nNumber: {number}",
    "A newspaper only prints round figures. If the exact count is {number}, what will it print "
    "after rounding to the nearest ten? For example, 5127 would become 5130.",
    "What is {number} rounded to the nearest ten? Remember that the last digit of your answer has "
    "to be a zero. For example, 476 gives 480.",
)
def round_to_ten(rng: random.Random) -> Case:
    # A last digit of 5 is left out: conventions differ on it.
    tens, digit = rng.randint(10, 980), rng.choice((1, 2, 3, 4, 6, 7, 8, 9))
    return {"number": tens * 10 + digit}, (tens + (digit > 5)) * 10


@task(
    "On a bank cheque the amount has to be spelled out. Write the number {number} in English "
    "words, in lower case and with a hyphen where one is needed. For example, 5 is written as "
    "five.",
    "Convert the digits into words, as in 'thirty-one' for 31. Use lower case letters only.\n"
    "Digits: {number}",
    "How do you say the number {number} in English? Spell it out in words, without capital letters "
    "and without any digits. For example, 8 is eight.",
)
def number_in_words(rng: random.Random) -> Case:
    number = rng.randint(11, 99)
    if number < 20:
        return {"number": number}, UNITS[number]
    tens, unit = divmod(number, 10)
    return {"number": number}, TENS[tens] + (f"-{UNITS[unit]}" if unit else "")
