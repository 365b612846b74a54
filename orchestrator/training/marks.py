"""Tokens that mark: which of a tokenizer's tokens no text of the data may become, and where one of
them ends an answer."""

from __future__ import annotations

from typing import Any


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the special tokens, that of unknown text among them."""
    added = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def ending_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens at which a generated answer ends."""
    return special_ids(tokenizer) - {tokenizer.unk_token_id} | ({tokenizer.eos_token_id} - {None})


def end_marks(closed: str, behind: str, tokenizer: Any) -> int:
    """How many characters behind an answer are learned with it: up to its end marks.

    Args:
        closed: what is written behind the answer where the conversation ends with it.
        behind: what is written behind it in the whole conversation.
        tokenizer: a fast Hugging Face tokenizer.

    Returns:
        Where the last of the marks ends that follow the answer at once in both; 0 for none. Text
        before the first one counts: a model has to write it to reach its end.
    """
    end = 0
    both = zip(_tokens(closed, tokenizer), _tokens(behind, tokenizer), strict=False)
    ends = ending_ids(tokenizer)
    for (id, _, stop), (other, _, other_stop) in both:
        if id != other or closed[:stop] != behind[:other_stop]:
            break
        if id in ends:
            end = stop
        elif end and closed[end:stop].strip():
            break
    return len(closed[:end].rstrip())


def _tokens(text: str, tokenizer: Any) -> list[tuple[int, int, int]]:
    """Id, begin and end of each token of a text."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        (id, begin, end)
        for id, (begin, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]
