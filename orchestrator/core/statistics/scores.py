"""How right forecasts of arms were, and how their scores add up over studies.

The share of pairs ranked right has a 95% interval, too. Pairs of a study share arms, so that one
arm out of place makes several of them wrong: under random rankings the count of right pairs spreads
wider than that of as many coins. With P pairs, and d_v the number of arms that v was ranked ahead
of minus those that it was ranked behind, the count has under random rankings the variance

    V = (P + sum over arms of d_v^2) / 12,

which for all pairs of n arms is Kendall's n (n - 1) (2n + 5) / 72, against P / 4 of coins. The
interval is Wilson's of n_eff = P^2 / (4 V) coins, at most P, with the correction for continuity,
half a pair to either side. Of forecasts that know nothing it excludes 50% in at most 5%, counted
exactly for 3 to 10 arms and 1 to 8 studies; at other shares n_eff is an approximation. A pair
counts once, however many studies train it, and arms of several studies that share a trial are one
arm. Else studies are taken as independent, which they are not where they share pool or queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.forecasting import PRIOR_ERROR, WIDTH

PRIOR_RIGHT, PRIOR_PAIRS = 2, 3
LEAST = 0.51


@dataclass(frozen=True, slots=True)
class Ranked:
    """A pair of arms that a forecast ranked, and that ended apart, whatever their seeds.

    Attributes:
        ahead, behind: the arms as it ranked them.
        right: whether they ended so.
        clear: whether the measured gap is clear.
    """

    ahead: str
    behind: str
    right: bool
    clear: bool


@dataclass(frozen=True, slots=True)
class Score:
    """How right a forecast was, on one test set.

    Attributes:
        arms: of each arm what tells its trials from others, in any study.
        ranked: each pair of arms that it ranked and that ended apart.
        undecided: pairs that it left open, at a probability of one half.
        brier: mean over ranked and open pairs of (probability - what came)^2; 0.25 by always
            saying one half, None without a pair.
        cells, covered: of arms and steps those compared, and those whose loss lay in the interval.
        error: mean absolute error of the arms' losses in nats, over arms and steps but 0.
        gap_error: the same of their differences from the arms' mean; `naive_error` of the guess
            that no arm differs from it.
        relative_error: root mean square error, by the root mean square of the expected changes
            since step 0. Errors are None of a forecast of the order alone.
    """

    arms: dict[str, list[str]]
    ranked: list[Ranked]
    undecided: int
    brier: float | None
    cells: int = 0
    covered: int = 0
    error: float | None = None
    gap_error: float | None = None
    naive_error: float | None = None
    relative_error: float | None = None

    def __post_init__(self) -> None:
        """Refuse pairs of arms that it does not name."""
        named = {arm for pair in self.ranked for arm in (pair.ahead, pair.behind)}
        if unknown := named - self.arms.keys():
            raise ValueError(f"arms lacks {', '.join(sorted(unknown))}, which ranked names")

    @property
    def clear(self) -> list[Ranked]:
        """The ranked pairs whose measured gap is clear."""
        return [pair for pair in self.ranked if pair.clear]


@dataclass(frozen=True, slots=True)
class Standing:
    """The scores of one forecaster on one test set, summed over studies that say something new.

    Attributes:
        studies: how many they are.
        pairs, right: pairs that were ranked, each once, and those of them that ended so.
        clear, clear_right: the same of the pairs whose measured gap is clear.
        undecided: pairs that were left open.
        low, high: 95% interval of the share of pairs ranked right; 0 and 1 without a pair.
        brier: mean over studies; None where none has one.
        relative_error: as the intervals of its next forecast take it, the prior among it.
    """

    studies: int
    pairs: int
    right: int
    clear: int
    clear_right: int
    undecided: int
    low: float
    high: float
    brier: float | None
    relative_error: float

    @property
    def share(self) -> float:
        """How often it is taken to rank a usual pair right: its record and the prior, as q."""
        return max(LEAST, (self.right + PRIOR_RIGHT) / (self.pairs + PRIOR_PAIRS))


def standing(scores: Iterable[Score]) -> Standing:
    """The sum of a forecaster's scores, none of them perhaps, the earliest first."""
    counted = _counted_once(scores)
    kept = [score for score, _ in counted]
    pairs = {places: pair for _, new in counted for places, pair in new.items()}
    clear = [pair for pair in pairs.values() if pair.clear]
    right = right_of(pairs.values())
    low, high = share_interval(right, len(pairs), count_variance(pairs)) if pairs else (0.0, 1.0)
    briers = [score.brier for score in kept if score.brier is not None]
    errors = [score.relative_error for score in kept if score.relative_error is not None]
    return Standing(
        len(kept), len(pairs), right, len(clear), right_of(clear),
        sum(score.undecided for score in kept),
        low, high, float(np.mean(briers)) if briers else None,
        float(np.sqrt(np.mean(np.square([PRIOR_ERROR, *errors])))),
    )  # fmt: skip


def right_of(pairs: Iterable[Ranked]) -> int:
    """How many of the pairs ended as they were ranked."""
    return sum(pair.right for pair in pairs)


def _counted_once(scores: Iterable[Score]) -> list[tuple[Score, dict[tuple[int, int], Ranked]]]:
    """The scores that say something new, with the ranked pairs that no score before them has.

    Pairs are told by the places of their arms, ahead and behind; arms that share a trial have one
    place. A score without any ranked pair is kept: its errors and open pairs say something.
    """
    places: dict[str, int] = {}
    seen: set[frozenset[int]] = set()
    kept = []
    for score in scores:
        of_arm = {}
        for arm, trials in score.arms.items():
            known = (places[trial] for trial in trials if trial in places)
            of_arm[arm] = next(known, len(places))
            places = dict.fromkeys(trials, of_arm[arm]) | places
        new: dict[tuple[int, int], Ranked] = {}
        for pair in score.ranked:
            ahead, behind = of_arm[pair.ahead], of_arm[pair.behind]
            both = frozenset((ahead, behind))
            if len(both) == 2 and both not in seen:
                seen.add(both)
                new[ahead, behind] = pair
        if new or not score.ranked:
            kept.append((score, new))
    return kept


def count_variance(pairs: Iterable[tuple[int, int]]) -> float:
    """Variance of how many pairs a ranking by chance gets right, as V above.

    Args:
        pairs: the arms of each, as they were ranked: ahead, behind.
    """
    surplus: Counter[int] = Counter()
    count = 0
    for ahead, behind in pairs:
        surplus[ahead] += 1
        surplus[behind] -= 1
        count += 1
    return (count + sum(value**2 for value in surplus.values())) / 12


def share_interval(right: int, pairs: int, variance: float) -> tuple[float, float]:
    """95% interval of the share of pairs ranked right: Wilson's, for n_eff coins, as above.

    Newcombe 1998, method 4, where n_eff is the number of pairs.

    Args:
        right, pairs: how many of how many pairs, one or more.
        variance: of `right` under a ranking by chance.
    """
    coins = min(float(pairs), pairs**2 / (4 * variance))
    low, high = max(0.0, (right - 0.5) / pairs), min(1.0, (right + 0.5) / pairs)
    return _wilson(low, coins, -WIDTH), _wilson(high, coins, WIDTH)


def _wilson(share: float, coins: float, width: float) -> float:
    """The limit at which a share of so many coins lies so many standard errors off."""
    middle = share + width**2 / (2 * coins)
    half = width * np.sqrt(share * (1 - share) / coins + (width / (2 * coins)) ** 2)
    return float((middle + half) / (1 + width**2 / coins))
