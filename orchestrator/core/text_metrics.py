"""How a generated answer compares with its reference, by metrics of the text (paper, section 2).

To add a metric, write its function and give it a row in `TEXT_METRICS`: a study file may then ask
for it, `generations.parquet` has its column, MLflow its curve and the report its panel.

ROUGE and exact match are as Super-NaturalInstructions scores them (arXiv 2204.07705), and the
paper's scripts after it: ROUGE F1 of Porter stems, and SQuAD's normalisation (arXiv 1606.05250)
without the removal of articles. Not for texts outside the Latin alphabet: ROUGE's tokenizer keeps
a-z and 0-9 only, so that they score 0.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

REWARD = "reward"  # the score of a reward model, which is no function of the text
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


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

    return RougeScorer([kind], use_stemmer=True)
