"""Scores that were made up."""

from orchestrator.core.statistics.scores import Ranked, Score


def apart(right, pairs, study="study", **more):
    """So many pairs, none of which shares an arm with another: they are as good as coins."""
    names = [(f"{study} a{at}", f"{study} b{at}") for at in range(pairs)]
    arms = {arm: [f"trial of {arm}"] for pair in names for arm in pair}
    ranked = [Ranked(a, b, at < right, False) for at, (a, b) in enumerate(names)]
    return Score(arms, ranked, **{"undecided": 0, "brier": 0.2} | more)


def ordered(expected, ended, **more):
    """All pairs of arms, ranked in one order and ended in another; arm x has the trial x."""
    ranked = [
        Ranked(a, b, ended.index(a) < ended.index(b), True)
        for at, a in enumerate(expected)
        for b in expected[at + 1 :]
    ]
    arms = {arm: [f"trial of {arm}"] for arm in expected}
    return Score(arms, ranked, **{"undecided": 0, "brier": 0.2} | more)
