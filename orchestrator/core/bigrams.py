"""Bigrams of texts as arrays, and the Kullback-Leibler divergence between their distributions.

A bigram is a pair of neighbouring words, words being what white space parts. With P the
distribution of the bigrams of the training texts seen so far and Q that of the test texts
(arXiv 2406.11721, similarity measures), over the distinct bigrams of P:

    KL(P || Q) = sum_b P(b) log(P(b) / (Q(b) + 1e-10))        in nats

Where the two share few bigrams the 1e-10 decides the value: compare it between orders of the
same pool, not between pools.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.units import Units

EPSILON = 1e-10  # the authors': what a bigram without a test occurrence counts for
WORD_BITS = 32  # of a bigram's provisional number, for each of its two words
BLOCK = 2**22  # occurrences that are counted at once


@dataclass(frozen=True)
class Bigrams:
    """Occurrences of bigrams, text by text (or unit by unit).

    Attributes:
        ids: (occurrences,) int64, numbers of the bigrams; a vocabulary shared by all texts that
            are compared.
        starts: (texts + 1,) int64; text t holds ids[starts[t]:starts[t + 1]].
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]

    def take(self, texts: NDArray[np.int64]) -> Bigrams:
        """Returns the bigrams of the texts with the given numbers (n,) int64, in their order."""
        picked = Units(self.ids, self.starts)
        sizes = picked.sizes_of(texts)
        return Bigrams(picked.expand(texts), np.concatenate([[0], np.cumsum(sizes)]))

    def of_units(self, units: Units) -> Bigrams:
        """Returns the bigrams of each unit, put together from those of each row of the pool."""
        by_row = self.take(units.rows)
        return Bigrams(by_row.ids, by_row.starts[units.starts])


def count_bigrams(texts: Iterable[str], queries: Iterable[str]) -> tuple[Bigrams, Bigrams]:
    """The bigrams of training texts and of test texts, numbered alike.

    Memory: 8 bytes for each occurrence (a few times that while numbering) and one string for
    each distinct word.
    """
    words: dict[str, int] = {}
    pairs = array("q")

    def read(side: Iterable[str]) -> NDArray[np.int64]:
        starts = array("q", [len(pairs)])
        for text in side:
            numbers = [words.setdefault(word, len(words)) for word in text.split()]
            pairs.extend(first << WORD_BITS | second for first, second in pairwise(numbers))
            starts.append(len(pairs))
        return np.array(starts, np.int64)

    of_texts, of_queries = read(texts), read(queries)
    ids = np.unique(np.array(pairs, np.int64), return_inverse=True)[1]
    middle = of_texts[-1]
    return Bigrams(ids[:middle], of_texts), Bigrams(ids[middle:], of_queries - middle)


def kl_scores(units: Bigrams, queries: Bigrams) -> NDArray[np.float64]:
    """KL(unit || all queries) of each unit by itself, in nats.

    Returns:
        (units,) float64; NaN for a unit without a bigram.
    """
    vocabulary = _vocabulary(units, queries)
    known = np.bincount(queries.ids, minlength=vocabulary) / max(len(queries.ids), 1)
    log_known = np.log(known + EPSILON)
    sizes = np.diff(units.starts)
    scores = np.full(len(sizes), np.nan)
    first = 0
    while first < len(sizes):
        end = int(np.searchsorted(units.starts, units.starts[first] + BLOCK, side="right")) - 1
        end = max(end, first + 1)
        unit = np.repeat(np.arange(end - first), sizes[first:end])
        key = unit * vocabulary + units.ids[units.starts[first] : units.starts[end]]
        distinct, counts = np.unique(key, return_counts=True)
        unit, bigram = np.divmod(distinct, vocabulary)
        share = counts / sizes[first:end][unit]
        terms = share * (np.log(share) - log_known[bigram])
        sums = np.bincount(unit, weights=terms, minlength=end - first)
        scores[first:end] = np.where(sizes[first:end] > 0, sums, np.nan)
        first = end
    return scores


def kl_curves(
    plan: Bigrams,
    queries: Bigrams,
    groups: NDArray[np.int64],
    points: NDArray[np.int64],
    *,
    per_occurrence: bool = False,
) -> NDArray[np.float64]:
    """KL(first n rows of a plan || query set), and against each group of the queries.

    Counts grow from point to point: the plan is walked once, and a point costs the vocabulary
    and the bigrams of the queries.

    Args:
        plan: bigrams of the plan's rows, in the order of the plan.
        queries: bigrams of the queries.
        groups: (queries,) int64, 0 to G - 1, the test task of each query.
        points: (p,) int64 row counts, not falling.
        per_occurrence: the authors' value, for comparison with the paper's figures: every
            term counts as often as its bigram occurs in the whole plan and the queries. It is
            no divergence.

    Returns:
        (p, 1 + G) float64, nats, the whole query set first; NaN where there is no bigram.
    """
    vocabulary = _vocabulary(plan, queries)
    weights = np.ones(vocabulary, np.int64)
    if per_occurrence:
        weights = np.bincount(np.concatenate([plan.ids, queries.ids]), minlength=vocabulary)
    group, bigram, gain, totals = _targets(queries, groups, vocabulary)
    counts = np.zeros(vocabulary)
    result = np.full((len(points), len(totals)), np.nan)
    for at, (start, end) in enumerate(pairwise([0, *points.tolist()])):
        counts += np.bincount(plan.ids[plan.starts[start] : plan.starts[end]], minlength=vocabulary)
        if plan.starts[end] == 0:
            continue
        share = counts / plan.starts[end]
        weighted = weights * share
        # As if no bigram had a test occurrence, then less what those that have gain by it.
        unknown = np.sum(weighted * (np.log(np.where(share > 0, share, 1.0)) - np.log(EPSILON)))
        gained = np.bincount(group, weights=weighted[bigram] * gain, minlength=len(totals))
        result[at] = np.where(totals > 0, unknown - gained, np.nan)
    return result


def _vocabulary(*collections: Bigrams) -> int:
    return 1 + max((int(bigrams.ids.max(initial=0)) for bigrams in collections), default=0)


def _targets(
    queries: Bigrams, groups: NDArray[np.int64], vocabulary: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The bigrams of the whole query set (group 0) and of each group (1 + its number).

    Returns:
        group and bigram (entries,), log(Q + eps) - log(eps) of each entry, and the occurrences
        of each group.
    """
    own = 1 + np.repeat(groups, np.diff(queries.starts))
    group_of = np.concatenate([np.zeros_like(own), own])
    totals = np.bincount(group_of, minlength=2 + int(groups.max(initial=-1)))
    key = group_of * vocabulary + np.tile(queries.ids, 2)
    distinct, counts = np.unique(key, return_counts=True)
    group, bigram = np.divmod(distinct, vocabulary)
    return group, bigram, np.log(counts / totals[group] + EPSILON) - np.log(EPSILON), totals
