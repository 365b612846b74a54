"""How many rows a pool takes of each of its sources, by their `share`, `weight` and `rows`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.config.sources import SourceOptions
from orchestrator.errors import DataError

UNDRAWN = "not drawn"  # why an instance is left out of the pool


def taken_rows(sources: Mapping[str, SourceOptions], held: Mapping[str, int]) -> dict[str, int]:
    """Returns how many rows are taken of each source.

    Shares and weights alone make the largest pool that the sources allow; beside sources with
    `rows`, or that are taken whole, the pool is what they and the shares make of it.

    Args:
        sources: by name; valid together, as `config.mixture` has it.
        held: how many rows each source holds.

    Raises:
        DataError: a source holds fewer rows than are asked for, or gives none, with what would fit.
    """
    fixed = {
        name: source.rows or held[name]
        for name, source in sources.items()
        if source.share is None and source.weight is None
    }
    for name, count in fixed.items():
        if count > held[name]:
            raise DataError(
                f"data.pool, source {name}: rows is {count:,}, and it gives {held[name]:,}: set "
                f"rows to {held[name]:,} or fewer"
            )
    shares, others = _shares(sources), sum(fixed.values())
    left = 1 - math.fsum(shares.values())  # of the pool, for the others
    most = [held[name] / share for name, share in shares.items()]
    size = others / left if fixed else min(most)
    taken = fixed | {name: int(share * size + 0.5) for name, share in shares.items()}
    for name, share in shares.items():
        if taken[name] > held[name]:
            fitting = held[name] * (left + share) / (others + held[name])
            raise DataError(
                f"data.pool, source {name}: a share of {share:g} beside {others:,} rows of other "
                f"sources is {taken[name]:,} rows, and it gives {held[name]:,}: set its share to "
                f"{math.floor(fitting * 1e4) / 1e4:g} or less, or take "
                f"{int(held[name] * left / share):,} or fewer rows of the others"
            )
        if not taken[name]:
            raise DataError(
                f"data.pool, source {name}: it gives {held[name]:,} rows, and its share of "
                f"{share:.3g} of a pool of {size:,.0f} is none of them: raise its share or weight, "
                "or leave it out"
            )
    return {name: taken[name] for name in sources}


def _shares(sources: Mapping[str, SourceOptions]) -> dict[str, float]:
    """The part of the pool of each source that has one; weights divide what the shares leave."""
    shares = {name: one.share for name, one in sources.items() if one.share is not None}
    weights = {name: one.weight for name, one in sources.items() if one.weight is not None}
    left = 1 - sum(shares.values())
    whole = sum(weights.values())
    return shares | {name: left * weight / whole for name, weight in weights.items()}
