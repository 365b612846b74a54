"""Calendar, clock and units."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import MONTHS, NAMES, WEEKDAYS

# (larger unit, smaller unit, how many of the smaller are in the larger)
UNITS = (
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("kilograms", "grams", 1000),
    ("litres", "millilitres", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("weeks", "days", 7),
    ("centimetres", "millimetres", 10),
)


@task(
    "It is {month} now. Which month of the year will it be in {count} months? Count forward on "
    "the calendar, across the new year if needed, and name the month.",
    "{name} signs a contract in {month} that ends {count} months later. Name the month of the year "
    "in which it ends. Write the full name of the month, not its number.",
    "Calendar question: what month comes {count} months after {month}? {name} needs the name of "
    "the month only. Remember that January follows December.",
)
def month_after(rng: random.Random) -> Case:
    index, count = rng.randrange(12), rng.randint(2, 11)
    fields: dict[str, object] = {"name": rng.choice(NAMES), "month": MONTHS[index], "count": count}
    return fields, MONTHS[(index + count) % 12]


@task(
    "A bus leaves the station at {start} and the ride takes {minutes} minutes. At what time does "
    "it arrive? Use the 24-hour clock.",
    "{name} starts cooking at {start}. The dish has to stay in the oven for {minutes} minutes. "
    "Give the time at which it is ready, as HH:MM.",
    "Clock question: what time is it {minutes} minutes after {start}? {name} needs the answer on "
    "the 24-hour clock.",
)
def arrival_time(rng: random.Random) -> Case:
    start, minutes = rng.randrange(6 * 60, 21 * 60, 5), rng.randrange(15, 120, 5)
    end = start + minutes
    return {
        "name": rng.choice(NAMES),
        "start": f"{start // 60:02d}:{start % 60:02d}",
        "minutes": minutes,
    }, f"{end // 60:02d}:{end % 60:02d}"


@task(
    "Rewrite the date in the format YYYY-MM-DD, with two digits for the month and two for the "
    "day.\nDate: {day} {month} {year}",
    "A form only accepts dates that are written year-month-day in digits. How do you enter "
    "{month} {day}, {year} in this form?",
    "The file is dated {day} {month} {year}. Turn this calendar date into the ISO style, such as "
    "1999-12-31.",
)
def iso_date(rng: random.Random) -> Case:
    year, month, day = rng.randint(1950, 2030), rng.randint(1, 12), rng.randint(1, 28)
    fields: dict[str, object] = {"day": day, "month": MONTHS[month - 1], "year": year}
    return fields, f"{year}-{month:02d}-{day:02d}"


@task(
    "Convert the measurement to the smaller unit and write only the number. Think about how many "
    "of one make up the other.\nMeasurement: {count} {large}\nConvert to: {small}",
    "How many {small} are there in {count} {large}? Multiply by the right factor and answer with "
    "one number.",
    "A note says {count} {large}, but the form asks for {small}. Which number has to go into the "
    "form after the conversion? Write the number without a unit.",
)
def convert_units(rng: random.Random) -> Case:
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 15)
    return {"count": count, "large": large, "small": small}, count * factor


@task(
    "It is {day} today. Which day of the week will it be in {count} days? Count forward on the "
    "calendar, across the weekend if needed, and name the day.",
    "{name} posts a parcel on a {day} and it arrives {count} days later. Name the day of the week "
    "on which it arrives. Write the full name of the day, not a short form.",
    "Calendar question: what weekday comes {count} days after a {day}? {name} needs the name of "
    "the day only. Remember that Monday follows Sunday.",
)
def weekday_after(rng: random.Random) -> Case:
    index, count = rng.randrange(7), rng.randint(2, 13)
    fields: dict[str, object] = {"name": rng.choice(NAMES), "day": WEEKDAYS[index], "count": count}
    return fields, WEEKDAYS[(index + count) % 7]
