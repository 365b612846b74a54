"""Customers' opinions: mood, rating and what the complaint is about."""

from __future__ import annotations

import random
from collections.abc import Mapping

from orchestrator.data.suite.task import Case, task

MOVIE_REMARKS = {
    "positive": (
        "The story moved me to tears", "The acting is brilliant", "I laughed from start to finish",
        "The music fits every scene", "The ending is perfect", "I would watch it again tomorrow",
    ),
    "negative": (
        "The story makes no sense", "The acting is wooden", "I fell asleep half way through",
        "The dialogue is painful to hear", "The ending is a letdown", "I want my two hours back",
    ),
}  # fmt: skip
RESTAURANT_REMARKS = {
    "positive": (
        "The soup was delicious", "Our waiter was friendly", "The pasta was cooked to perfection",
        "We got a lovely table", "The dessert was divine", "The portions were generous",
    ),
    "negative": (
        "The soup was cold", "Our waiter was rude", "The pasta tasted of nothing",
        "We waited an hour for a table", "The dessert was stale", "The bill was full of mistakes",
    ),
}  # fmt: skip
HOTEL_REMARKS = {
    "yes": (
        "The bed was wonderfully soft", "The view of the bay is stunning",
        "Breakfast was rich and fresh", "The staff solved everything with a smile",
        "The room was spotless", "We are already planning to return",
    ),
    "no": (
        "The bed was hard as stone", "The view is of a noisy building site",
        "Breakfast was a dry roll", "The staff ignored us",
        "The room smelled of smoke", "We left a day early",
    ),
}  # fmt: skip
PRODUCTS = ("phone", "laptop", "tablet", "camera")
PRODUCT_REMARKS = {
    "battery": ("the battery lasts for days", "the battery is empty by noon"),
    "screen": ("the screen is bright and clear", "the screen scratches far too easily"),
    "price": ("the price is a bargain", "the price is much too high"),
    "delivery": ("delivery took just a day", "delivery took five weeks"),
    "manual": ("the manual explains everything", "the manual is impossible to follow"),
}
# (remark, whether it is praise)
APP_REMARKS = (
    ("It starts in a second", True),
    ("The design is beautiful", True),
    ("Support answered at once", True),
    ("It saves me hours", True),
    ("The new search is great", True),
    ("It crashes every day", False),
    ("The menus are confusing", False),
    ("Support never answered my mail", False),
    ("It drains my battery", False),
    ("The adverts are unbearable", False),
)


def _agreeing_remarks(rng: random.Random, remarks: Mapping[str, tuple[str, ...]]) -> Case:
    label = rng.choice(tuple(remarks))
    return {"review": ". ".join(rng.sample(remarks[label], 3)) + "."}, label


@task(
    "Read this restaurant review and decide whether the guest's opinion is positive or negative."
    "\nReview: {review}",
    'A guest wrote about a restaurant: "{review}" Is the sentiment of this review positive or '
    "negative?",
    "{review} This is what a diner says about an evening out. Label the opinion of the meal as "
    "positive or negative.",
)
def restaurant_review_sentiment(rng: random.Random) -> Case:
    return _agreeing_remarks(rng, RESTAURANT_REMARKS)


@task(
    "Read this product review and name the thing that the customer complains about: {aspects}."
    "\nReview: {review}",
    'A customer wrote about a new {product}: "{review}" Which of these was a disappointment: '
    "{aspects}?",
    "{review} One thing is praised here and another is criticised. Which one is criticised? "
    "Choose from {aspects}.",
)
def product_complaint(rng: random.Random) -> Case:
    praised, criticised = rng.sample(tuple(PRODUCT_REMARKS), 2)
    good, bad = PRODUCT_REMARKS[praised][0], PRODUCT_REMARKS[criticised][1]
    first, second = rng.choice(((good, bad), (bad, good)))
    product = rng.choice(PRODUCTS)
    return {
        "product": product,
        "aspects": " or ".join(sorted((praised, criticised))),
        "review": f"About this {product}: {first}, but {second}.",
    }, criticised


@task(
    "Turn the app review into stars. Two good points give 5 stars, one good and one bad point 3, "
    "two bad points 1.\nReview: {review}",
    'A user says about an app: "{review}" Give 5 stars for praise only, 3 for a mixed review '
    "and 1 for complaints only. How many stars?",
    "{review} Rate the app from this comment: 1 if it only complains, 3 if it is mixed, 5 if it "
    "only praises. Reply with the number.",
)
def app_stars(rng: random.Random) -> Case:
    (first, praise), (second, more_praise) = rng.sample(APP_REMARKS, 2)
    return {"review": f"{first}. {second}."}, 1 + 2 * (praise + more_praise)


@task(
    "Read this movie review and decide whether the viewer's opinion is positive or negative."
    "\nReview: {review}",
    'A viewer wrote about a film: "{review}" Is the sentiment of this review positive or negative?',
    "{review} This is what someone says after an evening at the cinema. Label the opinion of the "
    "film as positive or negative.",
)
def movie_review_sentiment(rng: random.Random) -> Case:
    return _agreeing_remarks(rng, MOVIE_REMARKS)


@task(
    "Read this hotel review and decide whether the guest would recommend the hotel. Answer yes or "
    "no.\nReview: {review}",
    'A guest wrote about a hotel: "{review}" Would this person tell friends to stay there, yes '
    "or no?",
    "{review} This is what a traveller says after a weekend at a hotel. Is it a recommendation? "
    "Answer yes or no.",
)
def hotel_recommendation(rng: random.Random) -> Case:
    return _agreeing_remarks(rng, HOTEL_REMARKS)
