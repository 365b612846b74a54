"""Letters of a word: counting, picking, turning round."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task
from orchestrator.data.suite.words import ORDINALS, WORDS

VOWELS = "aeiou"


@task(
    "You are given an English word. Count how many of its letters are consonants, that is, not a, "
    "e, i, o or u, and reply with the number only. For example, 'lamp' has 3.\nWord: {word}",
    "How many consonants are there in the word '{word}'? Every letter apart from a, e, i, o and u "
    "is one, and repeated letters count each time.",
    "A pupil wants to know how many letters of '{word}' are consonants, counting repeats. Skip the "
    "letters a, e, i, o, u and tell the pupil the result.",
)
def count_consonants(rng: random.Random) -> Case:
    word = rng.choice(WORDS)
    return {"word": word}, sum(letter not in VOWELS for letter in word)


@task(
    "You are given an English word and a letter. Count how often the letter occurs in the word and "
    "reply with the number only. For example, the letter o occurs twice in 'moon'.\nWord: {word}\n"
    "Letter: {letter}",
    "How many times does the letter '{letter}' appear in the word '{word}'? Look at every letter "
    "of the word and answer with a number. Repeats count, so the letter o appears twice in 'moon'.",
    "A pupil is marking each '{letter}' in the word '{word}' with a red pen. How many marks will "
    "there be on the paper? Go through the word with care and write down the number.",
)
def count_letter(rng: random.Random) -> Case:
    word = rng.choice(WORDS)
    letter = rng.choice(word)
    return {"word": word, "letter": letter}, word.count(letter)


@task(
    "You are given an English word. Write its letters in the opposite order, from the last one to "
    "the first one. For example, 'lamp' turns into 'pmal'.\nWord: {word}",
    "Spell the word '{word}' backwards. Keep all letters, in lower case, and put no spaces between "
    "them. For example, 'lamp' is spelled 'pmal'.",
    "In a mirror game every word is read from right to left. What does the word '{word}' turn into "
    "when its letters are reversed? In this game, 'lamp' would become 'pmal'.",
)
def spell_backwards(rng: random.Random) -> Case:
    word = rng.choice(WORDS)
    return {"word": word}, word[::-1]


@task(
    "You are given an English word and a position. Write the letter that stands at this position, "
    "counted from the left. For example, the second letter of 'lamp' is a.\nWord: {word}\n"
    "Position: {position}",
    "Which letter is the {position} one in the word '{word}'? Start counting at the beginning of "
    "the word and answer with a single letter. For example, the third letter of 'lamp' is m.",
    "A pupil spells '{word}' aloud, letter by letter, from the start. Which letter does the pupil "
    "say in {position} place? Name only this one letter.",
)
def letter_at_position(rng: random.Random) -> Case:
    word, index = rng.choice(WORDS), rng.randrange(5)
    return {"word": word, "position": ORDINALS[index]}, word[index]


@task(
    "Take the initial letter of each word below and join them, in the same order, into one string "
    "of capital letters. For example, 'red old car' gives ROC.\nWords: {words}",
    "What acronym do the words '{words}' form? Use the first letter of each word, written as a "
    "capital, with no full stops. For instance, 'big blue sea' forms BBS.",
    "A club is named after the words {words}. Its badge shows only the first letter of each, in "
    "capitals. What does the badge say?",
)
def acronym(rng: random.Random) -> Case:
    words = rng.sample(WORDS, 5)
    return {"words": " ".join(words)}, "".join(word[0].upper() for word in words)


@task(
    "You are given an English word. Count how many of its letters are vowels, that is, a, e, i, o "
    "or u, and reply with the number only. For example, 'lamp' has 1.\nWord: {word}",
    "How many vowels are there in the word '{word}'? Only a, e, i, o and u are vowels here, and a "
    "vowel that is repeated counts each time.",
    "A pupil underlines each a, e, i, o and u in the word '{word}'. How many letters are "
    "underlined in the end? Answer with a number.",
)
def count_vowels(rng: random.Random) -> Case:
    word = rng.choice(WORDS)
    return {"word": word}, sum(letter in VOWELS for letter in word)


@task(
    "You are given an English word and two letters. Replace every '{old}' in the word by '{new}' "
    "and write the result. Leave all the other letters where they are.\nWord: {word}",
    "What does the word '{word}' become when each letter '{old}' in it is changed to the letter "
    "'{new}' and the rest stays as it is?",
    "A pupil with a broken keyboard types '{new}' wherever the letter '{old}' belongs. How does "
    "the word '{word}' come out? Write it out, letter by letter.",
)
def replace_letter(rng: random.Random) -> Case:
    word = rng.choice(WORDS)
    old = rng.choice(word)
    new = rng.choice([letter for letter in "aeiorstz" if letter not in word])
    return {"word": word, "old": old, "new": new}, word.replace(old, new)
