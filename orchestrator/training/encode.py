"""Token ids and answer marks of conversations, each row proved or refused; no files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from orchestrator.data.instance import Message, answer_places
from orchestrator.errors import DataError
from orchestrator.training.proof import Encoded, Prover, tokens_within
from orchestrator.training.templates import Piece, Template

# Conversations handed to the tokenizer at once: it runs in parallel over a batch.
TOKENIZER_BATCH = 1000
# So many rows are proved to say what their messages say; of those behind them a share, drawn with
# a fixed seed. That each message stands in its place is known of every row.
PROVED_ROWS = 20_000
PROVED_SHARE = 0.05
TOLD = 100  # refused rows of which it is remembered why


@dataclass
class Encoder:
    """Makes tokens of conversations, and remembers what it had to refuse.

    Attributes:
        refused: row -> why, of rows of the last call that would not be fed what their messages
            say.
        proved: rows whose tokens were decoded and compared.
        reshaped: rows of which the template changed white space.
        changed: what the tokenizer changes inside of messages -> in how many of the proved rows.
        examples: the same -> both texts of the first of these rows.
    """

    tokenizer: Any
    template: Template
    prover: Prover
    refused: dict[int, str] = field(default_factory=dict)
    proved: int = 0
    reshaped: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def rows(
        self,
        conversations: Iterable[Sequence[Message]],
        unlearned: Iterable[Sequence[int]],
        first: int = 0,
    ) -> Iterator[tuple[list[int], list[bool]]]:
        """Token ids and answer marks of each conversation, uncut; of a refused one, none.

        Args:
            conversations: messages of rows that follow one another.
            unlearned: of each the positions of answers that carry no loss.
            first: the number of the first row.
        """
        self.refused.clear()
        remaining = zip(conversations, unlearned, strict=False)
        drawn, row = random.Random(first), first
        while batch := list(islice(remaining, TOKENIZER_BATCH)):
            pieces = [self._pieces(row + place, batch[place][0]) for place in range(len(batch))]
            tokens = self._tokenised(pieces)
            for of_row, (messages, skipped) in zip(pieces, batch, strict=True):
                encoded = [next(tokens) for _ in of_row]
                proved = row < PROVED_ROWS or drawn.random() < PROVED_SHARE
                made: tuple[list[int], list[bool]] = [], []
                if row not in self.refused:
                    try:
                        places = iter(answer_places(messages))
                        made = self._row(of_row, encoded, places, skipped, proved=proved)
                    except DataError as error:
                        self._refuse(row, error)
                yield made
                row += 1

    def _row(
        self,
        pieces: Sequence[Piece],
        encoded: Sequence[Encoded],
        places: Iterator[int],
        unlearned: Sequence[int],
        *,
        proved: bool,
    ) -> tuple[list[int], list[bool]]:
        """Token ids and answer marks of the pieces of one conversation, with the `places` of all
        answers among its messages, and of those that are `unlearned`."""
        tokenizer, marked = self.tokenizer, self.template.marked
        ids = [tokenizer.bos_token_id] if marked and tokenizer.bos_token_id is not None else []
        marks = [False] * len(ids)
        changes: dict[str, str] = {}
        for piece, plain in zip(pieces, encoded, strict=True):
            self.prover.check_end(piece)
            piece_ids, offsets = self.prover.as_text(piece, plain)
            if proved:
                changes |= self.prover.prove(
                    piece, (piece_ids, offsets), _answer_marks(offsets, piece.answers)
                )
            learned = [span for span in piece.answers if next(places) not in unlearned]
            ids += piece_ids
            marks += _answer_marks(offsets, learned)
            if marked:
                ids.append(tokenizer.eos_token_id)
                marks.append(bool(learned))
        self.proved += proved
        self.reshaped += any(piece.reshaped for piece in pieces)
        self.changed.update(changes.keys())
        self.examples = changes | self.examples
        return ids, marks

    def _pieces(self, row: int, messages: Sequence[Message]) -> list[Piece]:
        try:
            return self.template.pieces(messages)
        except DataError as error:
            self._refuse(row, error)
            return []

    def _refuse(self, row: int, error: DataError) -> None:
        # Not the error itself, which holds on to a batch; and of a million rows not each reason.
        self.refused[row] = str(error) if len(self.refused) < TOLD else "as those before"

    def _tokenised(self, pieces: list[list[Piece]]) -> Iterator[Encoded]:
        """A piece is tokenised whole, so that the first word of an answer gets the token it has in
        running text; offsets into the text then tell which tokens belong to an answer."""
        texts = [piece.text for row in pieces for piece in row]
        if not texts:
            return iter(())
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        return zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)


def _answer_marks(
    offsets: Sequence[tuple[int, int]], answers: Sequence[tuple[int, int]]
) -> list[bool]:
    """Does each token hold a character of an answer? (begin, end) of both, in rising order."""
    marks = [False] * len(offsets)
    for begin, end in answers:
        held = tokens_within(offsets, begin, end)
        marks[held] = [True] * (held.stop - held.start)
    return marks
