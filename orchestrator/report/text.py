"""Numbers and names as the report prints them."""

from __future__ import annotations

from orchestrator.core.statistics.comparison import Comparison

MISSING = "–"
MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Three decimals; never a minus before zeros."""
    text = f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def signed(value: float) -> str:
    """Three decimals and always a sign, but for 0.000."""
    text = number(value)
    return text if text == "0.000" or text.startswith(MINUS) else f"+{text}"


def interval(comparison: Comparison) -> str:
    """The 95% interval of a difference."""
    return f"{signed(comparison.low)} to {signed(comparison.high)}"


def by_chance(count: float) -> str:
    """A count that is a mean over random pairings: one decimal."""
    return f"{count:.1f}"


def p_value(value: float) -> str:
    """Three decimals, for the eye alone: whether p is below a threshold is asked of the number."""
    return f"{value:.3f}"


def short_hash(value: str) -> str:
    """Enough of a digest to recognise it by."""
    return value[:12]


def short_text(text: str, characters: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
