"""How an answer compares with its reference: ROUGE-1, ROUGE-L and exact match (paper, section 2).

As Super-NaturalInstructions scores them (arXiv 2204.07705), and the paper's scripts after it: ROUGE
F1 of Porter stems, and SQuAD's normalisation (arXiv 1606.05250) without the removal of articles.

Not for texts outside the Latin alphabet: ROUGE's tokenizer keeps a-z and 0-9 only, so that they
score 0.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(prediction: str, reference: str) -> float:
    """1 if both are equal in lower case, without punctuation and with white space collapsed."""
    return float(_normalised(prediction) == _normalised(reference))


def rouge_1(prediction: str, reference: str) -> float:
    """F1 of the stems that both share, each as often as it occurs: from 0 to 1."""
    return _rouge("rouge1", prediction, reference)


def rouge_l(prediction: str, reference: str) -> float:
    """F1 of the longest common subsequence of stems: from 0 to 1."""
    return _rouge("rougeL", prediction, reference)


# Name in the study file -> score of a prediction against its reference.
TEXT_METRICS: Mapping[str, Callable[[str, str], float]] = {
    "rouge1": rouge_1,
    "rougeL": rouge_l,
    "exact_match": exact_match,
}


def _normalised(text: str) -> str:
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def _rouge(kind: str, prediction: str, reference: str) -> float:
    return float(_scorer(kind).score(target=reference, prediction=prediction)[kind].fmeasure)


@cache
def _scorer(kind: str) -> Any:
    # Imported here: nltk behind it takes seconds, which a trial without generation need not pay.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=True)
