"""Music, genetics, chess and navigation: domains that no other module touches."""

from __future__ import annotations

import random

from orchestrator.data.suite.task import Case, task

NOTES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
COMPLEMENTS = str.maketrans("ACGT", "TGCA")
FILES = "abcdefgh"
HEADINGS = ("north", "east", "south", "west")  # clockwise
TURNS = {"starboard": 1, "port": -1}  # quarter turns clockwise


@task(
    "A melody is transposed upwards by {steps} semitones on the piano. Which note does {note} "
    "become? Use sharps, not flats. Reply with the name of the note.",
    "In music theory, what note lies {steps} half tones above {note} on the chromatic scale? Write "
    "black keys as sharps. An octave has twelve of them.",
    "A guitarist plays the note {note} and slides {steps} frets up the same string. Name the pitch "
    "that sounds now, with sharps. A fret is one semitone.",
)
def transpose_note(rng: random.Random) -> Case:
    index, steps = rng.randrange(12), rng.randint(2, 9)
    return {"note": NOTES[index], "steps": steps}, NOTES[(index + steps) % 12]


@task(
    "In the DNA double helix adenine pairs with thymine and cytosine with guanine. Give the bases "
    "opposite to the strand {strand}. Write capital letters without spaces.",
    "A geneticist sequenced one strand of a gene as {strand}. Write the complementary strand, base "
    "by base (A-T, C-G). Keep the order of the bases.",
    "During replication the polymerase reads the template {strand}. Which nucleotides does it "
    "attach, given the pairs A-T and G-C? Write them as one string of capital letters.",
)
def dna_complement(rng: random.Random) -> Case:
    strand = "".join(rng.choice("ACGT") for _ in range(5))
    return {"strand": strand}, strand.translate(COMPLEMENTS)


@task(
    "Chess: a white rook stands on {rook} and a black king on {king}, with no other piece near. Is "
    "the king in check? Answer yes or no. A rook attacks along its rank and its file.",
    "On an otherwise empty chessboard, does the rook on {rook} attack the king on {king}? Answer "
    "yes or no. Rooks attack along ranks and files.",
    "White has played the rook to {rook}. The black king is on {king} and nothing stands between "
    "them. Check, yes or no? Rooks attack along ranks and files.",
)
def rook_check(rng: random.Random) -> Case:
    file, rank = rng.choice(FILES), rng.randint(1, 8)
    other_file = rng.choice(FILES.replace(file, ""))
    other_rank = rng.choice([other for other in range(1, 9) if other != rank])
    king, answer = rng.choice((
        (f"{file}{other_rank}", "yes"),
        (f"{other_file}{rank}", "yes"),
        (f"{other_file}{other_rank}", "no"),
        (f"{other_file}{rank % 8 + 1}", "no"),
    ))  # fmt: skip
    return {"rook": f"{file}{rank}", "king": king}, answer


@task(
    "A ship sails due {heading}. The helmsman turns 90 degrees to {first} and then 90 degrees to "
    "{second}. What is the new heading? Starboard is the right-hand side of a ship.",
    "The yacht's compass shows {heading}. After a quarter turn to {first} and another to {second}, "
    "which direction does the bow point in? Port is left and starboard is right.",
    "The captain steers {heading}, then orders 'hard to {first}' for a right angle and 'hard to "
    "{second}' for another. Name the final course. Port is left, starboard is right.",
)
def ship_heading(rng: random.Random) -> Case:
    index = rng.randrange(4)
    first, second = rng.choice(tuple(TURNS)), rng.choice(tuple(TURNS))
    heading = HEADINGS[(index + TURNS[first] + TURNS[second]) % 4]
    return {"heading": HEADINGS[index], "first": first, "second": second}, heading
