"""Proof that a model is fed what the data says, row by row.

The template has shown where each message stands in the text that is tokenised. What is left to
prove is that the tokens are that text, that no text of the data became a token that marks, and
that the tokens which carry loss are the answers with their end marks and nothing else. White space
inside messages and Unicode forms (2³ and 23) belong to the text, but some tokenizers always change
them: a row is fed then, and what was changed is told.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import compress, pairwise
from operator import itemgetter
from typing import Any

from orchestrator.errors import DataError
from orchestrator.training.marks import special_ids
from orchestrator.training.spans import THINK_TAG, parting
from orchestrator.training.templates import Piece, endless

CUTS = 8  # rounds in which look-alikes of special tokens are cut apart
AROUND = 40  # characters shown on each side of where two texts part
# What of a message may be changed on its way to the model, counted and told.
WHITE_SPACE = "white space"
FORMS = "forms of characters"

Encoded = tuple[list[int], list[tuple[int, int]]]  # ids, and (begin, end) of each in its text


class Prover:
    """What a tokenizer makes of pieces of text, and whether it is what they say."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = special_ids(tokenizer)
        self._added = frozenset(tokenizer.added_tokens_decoder) - self._special

    def as_text(self, piece: Piece, encoded: Encoded) -> Encoded:
        """The tokens of a piece, those that do not keep to their message cut in two.

        Text of the data that looks like a special token, or like another one that the template
        writes, becomes plain text, and a token that holds
        text of the template and of an answer becomes one of each. Other pieces stay as they are.

        Raises:
            DataError: text of the data stays a special token, as what the tokenizer does not know.
        """
        cuts: set[int] = set()
        for _ in range(CUTS):
            wrong = self._look_alikes(piece, encoded) | _straddling(piece, encoded)
            if not wrong - cuts:
                break
            cuts |= wrong
            encoded = self._encode(piece.text, sorted(cuts))
        if left := self._look_alikes(piece, encoded):
            at = min(left)
            raise DataError(
                f"the tokenizer makes a special token of text of the data, at "
                f"{_around(piece.text, at)}. Mend the text, or leave the row out"
            )
        return encoded

    def prove(self, piece: Piece, encoded: Encoded, marks: Sequence[bool]) -> dict[str, str]:
        """Refuse tokens that are not their text, or marks that are not the answers.

        Args:
            piece: with an end mark behind each answer, if the template writes it.
            encoded: its tokens, and where they stand.
            marks: for each token, whether it carries loss.

        Returns:
            What the tokenizer changes of messages and is fed all the same, WHITE_SPACE or FORMS,
            with the first place of each in both texts.

        Raises:
            DataError: with both texts.
        """
        ids, offsets = encoded
        fed = self._compare(piece.text, ids, "")
        for begin, end in piece.answers:
            held = tokens_within(offsets, begin, end)
            marked = list(compress(ids[held], marks[held]))
            self._compare(piece.text[begin:end], marked, " as the answer")
        return {} if _composed(fed) == _composed(piece.text) else self._changes(piece, encoded)

    def _changes(self, piece: Piece, encoded: Encoded) -> dict[str, str]:
        """What is changed inside of messages; their ends belong to the template."""
        changes: dict[str, str] = {}
        for begin, end in piece.messages:
            ids = encoded[0][tokens_within(encoded[1], begin, end)]
            wanted, fed = _composed(piece.text[begin:end]), _composed(self._decode(ids))
            if wanted in fed:
                continue
            forms = "".join(wanted.split()) not in "".join(fed.split())
            at = parting(wanted, fed)
            change = f"the data: {_around(wanted, at)}; the model is fed: {_around(fed, at)}"
            changes.setdefault(FORMS if forms else WHITE_SPACE, change)
        return changes

    def _decode(self, ids: list[int]) -> str:
        # Not through the tokenizer's own `decode`, which looks at the type of each id.
        text: str = self._tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def check_end(self, piece: Piece) -> None:
        """Refuse a piece with an answer that no token ends.

        Raises:
            DataError: what to type instead.
        """
        if not piece.ended:
            raise DataError(endless(self._tokenizer, piece.text[piece.messages[-1][1] :]))

    def _compare(self, text: str, ids: list[int], what: str) -> str:
        """What the ids say; raises DataError unless it is the text, white space and Unicode forms
        aside."""
        fed = self._decode(ids)
        wanted, given = _plain(text), _plain(fed)
        if wanted != given:
            at = parting(wanted, given)
            raise DataError(
                f"the tokenizer does not keep the text. The data: {_around(wanted, at)}; the model "
                f"would be fed{what}: {_around(given, at)} (both without white space). Mend the "
                "text, leave the row out, or take another model"
            )
        return fed

    def _look_alikes(self, piece: Piece, encoded: Encoded) -> set[int]:
        """The places, behind a character, that cut special tokens that a message became."""
        cuts: set[int] = set()
        marks = self._special | self._framing(piece, encoded)
        if marks.isdisjoint(encoded[0]):
            return cuts
        for id, place in zip(*encoded, strict=True):
            if id in marks:
                begin, end = _core(piece.text, place)
                if any(
                    begin < stop and end > start and not self._reasons(id, piece, start)
                    for start, stop in piece.messages
                ):
                    cuts.add(begin + 1)
        return cuts

    def _framing(self, piece: Piece, encoded: Encoded) -> set[int]:
        """Added tokens that are not special and that the template writes: with them data could
        forge a turn."""
        if self._added.isdisjoint(encoded[0]):
            return set()
        framing = set()
        for id, place in zip(*encoded, strict=True):
            if id in self._added:
                begin, end = _core(piece.text, place)
                # White space is no mark, and some tokenizers have tokens for runs of it.
                if begin < end and not any(
                    begin < stop and end > start for start, stop in piece.messages
                ):
                    framing.add(id)
        return framing

    def _reasons(self, id: int, piece: Piece, start: int) -> bool:
        """Is this token of the message that starts there a tag around the reasoning of an answer?
        Templates write it around answers that have none, too."""
        if id not in self._added or not any(begin <= start < end for begin, end in piece.answers):
            return False
        return THINK_TAG.fullmatch(self._tokenizer.added_tokens_decoder[id].content) is not None

    def _encode(self, text: str, cuts: list[int]) -> Encoded:
        """The tokens of a text whose parts are tokenised apart."""
        places = [0, *cuts, len(text)]
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, stop in pairwise(places):
            part_ids, part_offsets = self._encode_part(text[start:stop], begins=start == 0)
            ids += part_ids
            offsets += [(start + begin, start + end) for begin, end in part_offsets]
        return ids, offsets

    def _encode_part(self, part: str, *, begins: bool) -> Encoded:
        """The tokens of a part of a text, as they are inside of it: some tokenizers put a space
        before what they think is the beginning."""
        anchors = ("",) if begins else ("a", "\n", "")
        for anchor in anchors:
            encoded = self._tokenizer(
                anchor + part, add_special_tokens=False, return_offsets_mapping=True
            )
            ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
            size = len(anchor)
            if not any(begin < size < end for begin, end in offsets):
                break
        kept = [place for place, (_, end) in enumerate(offsets) if end > size or not size]
        return [ids[i] for i in kept], [(offsets[i][0] - size, offsets[i][1] - size) for i in kept]


def tokens_within(offsets: Sequence[tuple[int, int]], begin: int, end: int) -> slice:
    """The tokens that hold a character from `begin` to before `end`; (begin, end) of each, in
    rising order."""
    first = bisect_right(offsets, begin, key=itemgetter(1))
    return slice(first, max(first, bisect_left(offsets, end, key=itemgetter(0))))


def _straddling(piece: Piece, encoded: Encoded) -> set[int]:
    """The places where answers begin inside a token that holds text of the template, too."""
    offsets = encoded[1]
    return {
        at
        for at, _ in piece.answers
        for first, last in offsets[tokens_within(offsets, at, at + 1)]
        if first < at < last and last - first > 1 and piece.text[first:at].strip()
    }


def _core(text: str, place: tuple[int, int]) -> tuple[int, int]:
    """The place of a token without the white space that some marks take in."""
    held = text[slice(*place)]
    begin = place[0] + len(held) - len(held.lstrip())
    return begin, begin + len(held.strip())


def _plain(text: str) -> str:
    """A text without white space, in the Unicode form that tokenizers agree on."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _composed(text: str) -> str:
    """A text without white space at its ends, in the one Unicode form that changes no character."""
    return unicodedata.normalize("NFC", text).strip()


def _around(text: str, at: int) -> str:
    begin, end = max(0, at - AROUND), at + AROUND
    return repr("..." * (begin > 0) + text[begin:end] + "..." * (end < len(text)))
