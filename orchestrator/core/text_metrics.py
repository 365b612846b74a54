"""How a generated answer compares with its reference, by metrics of the text (paper, section 2).

To add a metric, write its function and give it a row in `TEXT_METRICS`: a study file may then ask
for it, `generations.parquet` has its column, MLflow its curve and the report its panel.

ROUGE and exact match are as Super-NaturalInstructions scores them (arXiv 2204.07705), and the
paper's scripts after it: ROUGE F1 of Porter stems, and SQuAD's normalisation (arXiv 1606.05250)
without the removal of articles. ROUGE's own tokenizer keeps a-z and 0-9 only: words of another
alphabet would score 0, so they are told apart by Unicode here. The official scores of the
cross-lingual track cut them into GPT-2's byte pairs instead, and are other numbers.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

REWARD = "reward"  # the score of a reward model, which is no function of the text
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Scripts that put no space between words: each of their characters counts as one.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_LATIN_BLOCKS = 0x24F  # the last character of the blocks that Unicode begins with


class TextMetric(NamedTuple):
    """A metric of how near a generated answer comes to its reference.

    Attributes:
        title: its name in the report.
        score: gives a number to a prediction and its reference, in this order.
    """

    title: str
    score: Callable[[str, str], float]


def exact_match(prediction: str, reference: str) -> float:
    """1 if both are equal in lower case, without punctuation and with white space collapsed."""
    return float(_normalised(prediction) == _normalised(reference))


def rouge_1(prediction: str, reference: str) -> float:
    """F1 of the stems that both share, each as often as it occurs: from 0 to 1."""
    return _rouge("rouge1", prediction, reference)


def rouge_l(prediction: str, reference: str) -> float:
    """F1 of the longest common subsequence of stems: from 0 to 1."""
    return _rouge("rougeL", prediction, reference)


# By the name in the study file, which is also the column of generations.parquet.
TEXT_METRICS: Mapping[str, TextMetric] = {
    "rouge1": TextMetric("ROUGE-1", rouge_1),
    "rougeL": TextMetric("ROUGE-L", rouge_l),
    "exact_match": TextMetric("Exact match", exact_match),
}


def best_score(metric: TextMetric, prediction: str, references: Sequence[str]) -> float:
    """The highest score of a prediction over its references, of which there is at least one (as
    Super-NaturalInstructions scores them)."""
    return max(metric.score(prediction, reference) for reference in references)


def score_titles() -> dict[str, str]:
    """The title of every score that an answer may have, by its name; the reward is the last."""
    titles = {name: metric.title for name, metric in TEXT_METRICS.items()}
    return titles | {REWARD: "Reward-model score"}


def _normalised(text: str) -> str:
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def _rouge(kind: str, prediction: str, reference: str) -> float:
    return float(_scorer(kind).score(target=reference, prediction=prediction)[kind].fmeasure)


@cache
def _scorer(kind: str) -> Any:
    # Imported here: nltk behind it takes seconds, which a trial without generation need not pay.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    return RougeScorer([kind], tokenizer=_WordTokenizer(DefaultTokenizer(use_stemmer=True)))


class _WordTokenizer:
    """ROUGE's tokens of Latin words, and of other words those that Unicode knows."""

    def __init__(self, latin: Any) -> None:
        self._latin = latin

    def tokenize(self, text: str) -> list[str]:
        """The stems and words of a text, in its order."""
        if text.isascii():
            return self._latin.tokenize(text)  # type: ignore[no-any-return]
        return [token for word in _words(text) for token in self._tokens(word)]

    def _tokens(self, word: str) -> Iterator[str]:
        if not any(map(_is_foreign, word)):
            yield from self._latin.tokenize(word)
            return
        for alone, run in groupby(word.casefold(), _stands_alone):
            characters = list(run)
            yield from characters if alone else ["".join(characters)]


def _words(text: str) -> list[str]:
    """The runs of letters, their marks and numbers of a text."""
    kept = (char if unicodedata.category(char)[0] in "LMN" else " " for char in text)
    return "".join(kept).split()


def _is_foreign(char: str) -> bool:
    """Whether a character is a letter outside of the Latin alphabet."""
    return (
        ord(char) > _LATIN_BLOCKS
        and unicodedata.category(char)[0] == "L"
        and "LATIN" not in unicodedata.name(char, "")
    )


def _stands_alone(char: str) -> bool:
    return unicodedata.name(char, "").startswith(_UNSPACED)
