"""Forms and meanings of English words, and the order of words in a sentence."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import NAMES, WEEKDAYS


def _pairs(text: str) -> list[list[str]]:
    return [pair.split(":") for pair in text.split()]


PLURALS = _pairs("""
    child:children mouse:mice goose:geese foot:feet tooth:teeth man:men woman:women wolf:wolves
    leaf:leaves knife:knives wife:wives half:halves shelf:shelves loaf:loaves thief:thieves
    city:cities baby:babies story:stories berry:berries lady:ladies box:boxes fox:foxes
    church:churches brush:brushes glass:glasses potato:potatoes tomato:tomatoes hero:heroes
    day:days key:keys toy:toys monkey:monkeys photo:photos piano:pianos roof:roofs chief:chiefs
""")

PAST_TENSES = _pairs("""
    go:went see:saw eat:ate write:wrote speak:spoke take:took give:gave begin:began drink:drank
    sing:sang swim:swam run:ran drive:drove break:broke choose:chose know:knew grow:grew throw:threw
    catch:caught teach:taught buy:bought bring:brought think:thought find:found feel:felt keep:kept
    sleep:slept leave:left carry:carried try:tried stop:stopped plan:planned hope:hoped walk:walked
""")

COMPARATIVES = _pairs("""
    tall:taller short:shorter fast:faster slow:slower big:bigger hot:hotter thin:thinner wet:wetter
    happy:happier easy:easier busy:busier heavy:heavier funny:funnier early:earlier dirty:dirtier
    good:better bad:worse large:larger nice:nicer safe:safer wide:wider brave:braver cold:colder
    strong:stronger cheap:cheaper young:younger deep:deeper bright:brighter noisy:noisier
    sad:sadder
""")

SYNONYMS = _pairs("""
    quick:fast begin:start big:large happy:glad angry:furious clever:smart tired:weary odd:strange
    rich:wealthy silent:quiet brave:courageous easy:simple repair:fix gift:present help:assist
    choose:select error:mistake shout:yell buy:purchase end:finish garbage:rubbish ill:sick
    hard:difficult thin:slim answer:reply journey:trip jump:leap permit:allow hide:conceal
    scared:afraid
""")

ANTONYMS = _pairs("""
    hot:cold big:small fast:slow early:late full:empty light:heavy happy:sad rich:poor wet:dry
    loud:quiet strong:weak clean:dirty young:old sharp:blunt high:low wide:narrow deep:shallow
    brave:cowardly cheap:expensive safe:dangerous simple:complicated polite:rude true:false
    permanent:temporary arrive:depart push:pull buy:sell lend:borrow
""")


def _choice_of_four(rng: random.Random, pairs: list[list[str]]) -> Case:
    (word, answer), *others = rng.sample(pairs, 4)
    options = [answer, *(other[1] for other in others)]
    rng.shuffle(options)
    return {"word": word, "options": ", ".join(options)}, answer


@task(
    "Choose the word that means nearly the same as the given word, its synonym. Copy it from the "
    "options exactly as it stands.\nWord: {word}\nOptions: {options}",
    "Which of the words {options} is a synonym of '{word}'? Copy the word whose meaning comes "
    "closest to it.",
    "In a vocabulary quiz you may replace '{word}' by one of these: {options}. Pick the one that "
    "keeps the meaning. Reply with that word only.",
)
def synonym(rng: random.Random) -> Case:
    return _choice_of_four(rng, SYNONYMS)


@task(
    "Write the plural of the English noun below, paying attention to irregular forms and to "
    "changes in spelling. For example, the plural of 'dish' is 'dishes'.\nNoun: {noun}",
    "Complete the sentence with the right form of the noun '{noun}'. There was only one {noun} "
    "before, and now there are two ... Write only the missing word, spelled correctly.",
    "A learner of English writes 'one {noun}' and wonders how to write about several of them. What "
    "is the plural form? Spell it out in full and write nothing else.",
)
def plural_form(rng: random.Random) -> Case:
    noun, plural = rng.choice(PLURALS)
    return {"noun": noun}, plural


@task(
    "Write the simple past tense of the English verb below. Many of these verbs are irregular. For "
    "example, the past of 'sit' is 'sat'.\nVerb: {verb}",
    "Complete the sentence with the right form of the verb '{verb}'. Today they {verb} again, and "
    "yesterday they ... too. Write only the missing word, spelled correctly.",
    "A learner of English wants to tell what happened last week with the verb '{verb}'. What is "
    "its simple past? Spell it out in full and write nothing else.",
)
def past_tense(rng: random.Random) -> Case:
    verb, past = rng.choice(PAST_TENSES)
    return {"verb": verb}, past


@task(
    "Write the comparative of the English adjective below, the form that is used before 'than'. "
    "For example, 'small' becomes 'smaller'.\nAdjective: {adjective}",
    "Complete the sentence with the right form of the adjective '{adjective}'. The first one is "
    "{adjective}, but the second one is even ... Write only the missing word, spelled correctly.",
    "A learner of English compares two things with the adjective '{adjective}'. Which form has to "
    "stand before the word 'than'? Spell it out in full and write nothing else.",
)
def comparative_form(rng: random.Random) -> Case:
    adjective, comparative = rng.choice(COMPARATIVES)
    return {"adjective": adjective}, comparative


@task(
    "The words of a sentence got mixed up. Put them in the right order, beginning with the name "
    "and ending with the day.\nWords: {words}",
    "Build one correct English sentence from the words {words}. The name comes first, and the day "
    "of the week comes last.",
    "Unscramble these words so that they form a sentence that starts with a name and ends with a "
    "weekday: {words}.",
)
def sentence_order(rng: random.Random) -> Case:
    verb, adjective, noun = rng.choice((
        ("buys", "fresh", "bread"), ("reads", "old", "letters"), ("paints", "wooden", "chairs"),
        ("bakes", "sweet", "rolls"), ("sells", "used", "books"), ("washes", "dirty", "shirts"),
    ))  # fmt: skip
    words = [rng.choice(NAMES), verb, adjective, noun, "every", rng.choice(WEEKDAYS)]
    return {"words": " / ".join(rng.sample(words, len(words)))}, " ".join(words)


@task(
    "Choose the word that means the contrary of the given word, its antonym. Copy it from the "
    "options exactly as it stands.\nWord: {word}\nOptions: {options}",
    "Which of the words {options} is an antonym of '{word}'? Copy the word whose meaning is the "
    "opposite of it.",
    "In a vocabulary quiz you have to turn '{word}' round with one of these: {options}. Pick the "
    "one that reverses the meaning. Reply with that word only.",
)
def antonym(rng: random.Random) -> Case:
    return _choice_of_four(rng, ANTONYMS)
