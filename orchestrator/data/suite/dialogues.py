"""What people want, feel and answer when they talk."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES, WEEKDAYS

INTENTS = {
    "lost card": ("my debit card fell out of my pocket", "I cannot find my credit card anywhere"),
    "balance": ("I want to know how much is in my account", "please tell me what I have left"),
    "transfer": ("I need to send money to my landlord", "please move 200 euros to my savings"),
    "loan": ("I would like to borrow money for a car", "can I get credit to renovate my flat"),
    "password": ("I cannot log in to my account", "the website rejects the code that I chose"),
}
OPENERS = ("Hello, ", "Good morning, ", "Excuse me, ", "Hi there, ")

FEELINGS = {
    "joy": ("won the first prize", "got the job of a lifetime", "became a grandparent today"),
    "anger": ("was insulted by a driver", "saw a stranger kick the dog", "was cheated by a dealer"),
    "fear": (
        "heard footsteps in the dark cellar",
        "met a bear on the path",
        "lost hold on a cliff",
    ),
    "sadness": ("buried an old friend", "said goodbye for ever", "lost a beloved cat"),
}

INVITATIONS = ("have lunch", "go swimming", "see a play", "play cards", "visit the zoo")
REPLIES = {
    "yes": ("Great idea, I will be there.", "With pleasure, see you then.", "Sure, count me in."),
    "no": ("Sorry, I have to work.", "I am afraid I am away.", "Thanks, but I would rather not."),
}


@task(
    "Classify the request of a bank customer as one of: lost card, balance, transfer, loan, "
    "password.\nCustomer: {request}",
    "A bank sorts messages into lost card, balance, transfer, loan and password. Where does this "
    'message belong? "{request}"',
    "{request} Name the intent of this customer of a bank. It is one of balance, loan, lost card, "
    "password, transfer.",
)
def bank_intent(rng: random.Random) -> Case:
    intent = rng.choice(tuple(INTENTS))
    return {"request": rng.choice(OPENERS) + rng.choice(INTENTS[intent]) + "."}, intent


@task(
    "What does the person in this situation most likely feel? Choose joy, anger, fear or sadness. "
    "Think of what most people would feel.\nSituation: {name} {event}.",
    '"You will not believe it, {name} {event}," says a neighbour. Which emotion fits {name} best: '
    "anger, fear, joy or sadness? Reply with one word.",
    "{name} {event}. Pick the feeling that goes with this event from the list sadness, joy, fear, "
    "anger. Reply with the one feeling that fits best.",
)
def emotion(rng: random.Random) -> Case:
    feeling = rng.choice(tuple(FEELINGS))
    return {"name": rng.choice(NAMES), "event": rng.choice(FEELINGS[feeling])}, feeling


@task(
    "Read the conversation and decide whether {guest} accepts the invitation. Answer yes or no.\n"
    "{host}: {invitation}\n{guest}: {reply}",
    '{host} asks {guest}: "{invitation}" {guest} replies: "{reply}" Are the two going to do '
    "this together, yes or no?",
    '"{invitation}" - "{reply}" This is a chat of {host} and {guest}. Will {guest} come along? '
    "Answer yes or no.",
)
def invitation_accepted(rng: random.Random) -> Case:
    host, guest = rng.sample(NAMES, 2)
    answer = rng.choice(tuple(REPLIES))
    plan, day = rng.choice(INVITATIONS), rng.choice(WEEKDAYS)
    return {
        "host": host,
        "guest": guest,
        "invitation": f"Shall we {plan} on {day}?",
        "reply": rng.choice(REPLIES[answer]),
    }, answer
