"""Word problems with whole-number answers."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES

GOODS = ("notebooks", "mugs", "candles", "T-shirts", "plants", "lamps", "cushions", "puzzles")


@task(
    "Solve this shopping problem. A shop sells {goods} for ${price} each. {name} buys {count} of "
    "them and pays ${fee} for delivery. What is the total cost? Answer with an amount in dollars.",
    "{name} orders {count} {goods} online. Each one costs ${price}, and shipping adds ${fee} to "
    "the order. How many dollars does {name} pay in all? Write just the amount.",
    "Work out the bill and give only the amount: {count} {goods} at ${price} apiece, plus a gift "
    "wrapping charge of ${fee}, bought by {name}. Add the charge only once.",
)
def shopping_total(rng: random.Random) -> Case:
    price, count, fee = rng.randint(3, 25), rng.randint(2, 9), rng.randint(2, 9)
    fields = {"name": rng.choice(NAMES), "goods": rng.choice(GOODS)}
    return {**fields, "price": price, "count": count, "fee": fee}, f"${price * count + fee}"


@task(
    "Solve this shopping problem. {name} buys {goods} that cost ${price} and hands the cashier "
    "${paid}. How much change should {name} get back? Give the amount with the dollar sign.",
    "At the till, {name} pays for {goods} with ${paid}. The price is ${price}. State the change "
    "that is due, in dollars. Subtract the price from what was paid.",
    "A customer called {name} owes ${price} for some {goods} and gives the shop assistant ${paid}. "
    "What amount does the assistant return? Write the amount and nothing else.",
)
def change_due(rng: random.Random) -> Case:
    paid = rng.choice((20, 50, 100, 200))
    price = rng.randint(paid // 4, paid - 1)
    fields = {"name": rng.choice(NAMES), "goods": rng.choice(GOODS)}
    return {**fields, "price": price, "paid": paid}, f"${paid - price}"


@task(
    "{name} drives at a steady speed of {speed} kilometres per hour for {hours} hours without a "
    "break. What distance does the car cover? Give the answer in kilometres.",
    "A train that {name} is on moves at {speed} km/h. How many kilometres does it travel in "
    "{hours} hours if its speed never changes? Write the number and the unit.",
    "Use distance = speed x time. {name} is on the road for {hours} hours in all, at {speed} "
    "kilometres per hour on average. How far is the trip? Write the number and the unit km.",
)
def travel_distance(rng: random.Random) -> Case:
    speed, hours = rng.randrange(15, 125, 5), rng.randint(2, 8)
    fields: dict[str, object] = {"name": rng.choice(NAMES), "speed": speed, "hours": hours}
    return fields, f"{speed * hours} km"


@task(
    "{name} is measuring a rectangular {place} that is {length} metres long and {width} metres "
    "wide. Calculate its area in square metres and write only the number.",
    "What is the area of a rectangle with sides of {length} m and {width} m? {name} needs it to "
    "order the floor of a {place}. Reply with the number of square metres.",
    "A {place} has the shape of a rectangle. Its length is {length} metres and its width is "
    "{width} metres. Help {name}: how many square metres is it? Multiply the two sides.",
)
def rectangle_area(rng: random.Random) -> Case:
    length, width = rng.randint(13, 30), rng.randint(3, 12)
    place = rng.choice(("garden", "terrace", "classroom", "car park", "workshop", "field"))
    fields = {"name": rng.choice(NAMES), "place": place}
    return {**fields, "length": length, "width": width}, length * width


@task(
    "{name} took three tests at school and scored {first}, {second} and {third} points. What is "
    "the average score? Answer with one number.",
    "Find the mean of the three marks that {name} received this term: {first}, {second}, {third}. "
    "Add them up and divide by how many there are.",
    "The school report of {name} lists these results: {first}, {second}, {third}. Compute their "
    "average and write just the number.",
)
def average_score(rng: random.Random) -> Case:
    mean, spread = rng.randint(40, 80), rng.randint(2, 9)
    tilt = rng.randint(1, 9)
    first, second, third = mean - spread, mean + spread + tilt, mean - tilt
    name = rng.choice(NAMES)
    return {"name": name, "first": first, "second": second, "third": third}, mean


@task(
    "Solve this shopping problem. A shop sells {goods} for ${price}, and today everything is "
    "{percent}% off. What does {name} pay after the discount? Give the amount in dollars.",
    "{name} has a coupon that lowers the price by {percent} percent. The {goods} normally cost "
    "${price}. How many dollars are due at the till? Take the coupon off the full price.",
    "Work out the sale price and give only the amount: the {goods} that {name} wants are marked "
    "${price} and reduced by {percent}%.",
)
def discount_price(rng: random.Random) -> Case:
    price, percent = rng.randrange(20, 220, 20), rng.randrange(5, 55, 5)
    fields = {"name": rng.choice(NAMES), "goods": rng.choice(GOODS)}
    return {**fields, "price": price, "percent": percent}, f"${price * (100 - percent) // 100}"


@task(
    "Solve this restaurant problem. {name} and {others} friends share a bill of ${bill} equally. "
    "How many dollars does each person pay? Everybody at the table pays the same.",
    "The dinner cost ${bill}. {name} ate together with {others} friends, and all of them, {name} "
    "included, pay the same amount. What is one share? Give the amount in dollars.",
    "{name} splits a ${bill} bill evenly with {others} other guests at the table. State what each "
    "of them owes, in dollars. Do not forget to count {name}.",
)
def split_bill(rng: random.Random) -> Case:
    others, share = rng.randint(2, 7), rng.randint(6, 30)
    name = rng.choice(NAMES)
    return {"name": name, "others": others, "bill": share * (others + 1)}, f"${share}"
