"""How a figure is drawn: by plotly for the page, by matplotlib as PNG, in the same colours."""

from __future__ import annotations

import html
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.core.statistics.analysis import Floats, Steps
from orchestrator.report.arms import Arm
from orchestrator.report.figures import Line, Panel
from orchestrator.storage.artifacts import replacing

BAND_OPACITY, TRIAL_OPACITY = 0.18, 0.6
TRIAL_DIGITS = 6  # more would only make the page larger
NOTE_POINTS, NOTE_INCHES = 7, 0.12  # size and height of a line of small print

# Okabe and Ito's palette, which survives the common kinds of colour blindness, without black and
# yellow, which vanish on a dark or a white page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# What plotly, matplotlib and SVG call the same dash and the same marker (12 by 12).
DASHES = (
    ("solid", "-", "none"),
    ("dash", "--", "6 3"),
    ("dot", ":", "2 2"),
    ("dashdot", "-.", "6 2 2 2"),
)
MARKERS = (
    ("circle", "o", "M2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0"),
    ("square", "s", "M2.5 2.5h7v7h-7z"),
    ("diamond", "D", "M6 1l5 5l-5 5l-5 -5z"),
    ("triangle-up", "^", "M6 1.5l5 8.5h-10z"),
    ("cross", "P", "M4.5 1.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"),
)
REFERENCE = "#7f7f7f"  # of a straight line that is no arm's
# Ends the line of an arm that was stopped early, which has no other marker.
STOP = ("x", "X", "M3.5 2L6 4.5L8.5 2L10 3.5L7.5 6L10 8.5L8.5 10L6 7.5L3.5 10L2 8.5L4.5 6L2 3.5z")


@dataclass(frozen=True)
class Style:
    """How an arm is drawn everywhere; dash and marker are rows of the tables above."""

    colour: str
    dash: tuple[str, str, str]
    marker: tuple[str, str, str]


def arm_style(arm: Arm) -> Style:
    """Colour, dash and marker of an arm: 60 arms pass before a combination returns."""
    index = arm.index
    marker = STOP if arm.stopped else MARKERS[index % len(MARKERS)]
    return Style(COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)], marker)


def plotly_panel(panel: Panel) -> str:
    """The panel as a piece of HTML, for a page that carries plotly's library.

    Text and grid get their colours from the page's style sheet, which knows light from dark.
    """
    figure = go.Figure()
    spreads = [spread for line in panel.lines for spread in _spread_traces(line)]
    for drawn in [*spreads, *map(_mean_trace, panel.lines), *_reference_traces(panel)]:
        figure.add_scatter(**drawn)
    set_layout(figure)
    figure.update_xaxes(title=panel.x_label)
    figure.update_yaxes(title=panel.y_label)
    if panel.counts_steps:  # measures have no step 0 and stand below losses that do
        figure.update_xaxes(rangemode="tozero", hoverformat=".0f")
    return figure_html(figure, panel.key, panel.words)


def set_layout(figure: go.Figure) -> None:
    """What all plotly figures of the page share."""
    figure.update_layout(
        template="none",
        showlegend=False,  # one legend above all panels, in the page
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        margin={"l": 56, "r": 12, "t": 12, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False, automargin=True, ticklabelstandoff=6)


def line_trace(arm: Arm, x: Any, y: Any, sampled: Collection[int] = ()) -> dict[str, Any]:
    """A plotly line in the style of an arm.

    Args:
        sampled: those of x whose markers are hollow.
    """
    drawn = arm_style(arm)
    symbol = drawn.marker[0]
    symbols = [f"{symbol}-open" if step in sampled else symbol for step in x]
    marker: dict[str, Any] = {"size": 7, "maxdisplayed": 12}
    if arm.stopped:
        # Sizes that differ make plotly draw bubbles: pale, with a rim.
        marker = {"size": [0] * (len(x) - 1) + [9], "opacity": 1, "line": {"width": 0}}
    return {
        "x": x,
        "y": y,
        "name": html.escape(arm.label),  # plotly reads names as HTML
        "meta": {"arm": arm.index},  # by which the legend of the page finds the line
        "mode": "lines+markers",
        "cliponaxis": False,
        "line": {"color": drawn.colour, "dash": drawn.dash[0]},
        "marker": {"symbol": symbols if sampled else symbol, **marker},
        "hovertemplate": "%{y:.4g}",
    }


def _mean_trace(line: Line) -> dict[str, Any]:
    """The line itself. A foretold one has its arm's colour, dots and no markers."""
    drawn = line_trace(line.arm, line.x, line.y, line.sampled)
    if line.predicted:
        drawn["name"] += ", predicted"
        drawn |= {"mode": "lines", "line": {**drawn["line"], "dash": "dot"}}
    return drawn


def _reference_traces(panel: Panel) -> list[dict[str, Any]]:
    """Straight lines from one end of the others to the other end; no button of the legend hides
    them."""
    if not panel.lines:
        return []
    ends = [min(line.x[0] for line in panel.lines), max(line.x[-1] for line in panel.lines)]
    return [
        {
            "x": ends,
            "y": [reference.value] * 2,
            "name": html.escape(reference.label),
            "meta": {},
            "mode": "lines+text",
            "text": ["", html.escape(reference.label)],
            "textposition": "top left",
            "textfont": {"size": 10},
            "line": {"color": REFERENCE, "width": 1.5, "dash": "longdash"},
            "hovertemplate": "%{y:.4g}",
        }
        for reference in panel.references
    ]


def _spread_traces(line: Line) -> list[dict[str, Any]]:
    """What lies below a mean over seeds: its trials as thin lines, or else their range."""
    if line.trials:
        return [_trial_trace(line.arm, place, *curve) for place, curve in line.trials.items()]
    return [_band_trace(line, *line.band)] if line.band is not None else []


def _trial_trace(arm: Arm, place: int, x: Steps, y: Floats) -> dict[str, Any]:
    """A thin line without hover, which it has once the page's legend is unfolded at its arm."""
    return {
        "x": x.tolist(),
        "y": y.round(TRIAL_DIGITS).tolist(),
        "name": html.escape(f"{arm.label}, {arm.seed_words[place]}"),
        "meta": {"arm": arm.index, "trial": place},
        "mode": "lines",
        "line": {"color": arm_style(arm).colour, "width": 1},
        "opacity": TRIAL_OPACITY,
        "hoverinfo": "skip",  # which a template would override
        "yhoverformat": ".4g",
        "hoverlabel": {"namelength": -1},
    }


def _band_trace(line: Line, low: Floats, high: Floats) -> dict[str, Any]:
    """The range over seeds, as an area around the line."""
    return {
        "x": [*line.x, *line.x[::-1]],
        "y": [*high, *low[::-1]],
        "meta": {"arm": line.arm.index},
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"rgba{(*_rgb(arm_style(line.arm).colour), BAND_OPACITY)}",
        "hoverinfo": "skip",
    }


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def figure_html(figure: go.Figure, key: str, words: str, height: int = 340) -> str:
    """A plotly figure as a piece of HTML whose element has the id `key`; height in pixels.

    Args:
        words: what it shows, for those who do not see it.
    """
    page: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=key,
        default_width="100%",
        default_height=f"{height}px",
        config={"responsive": True, "displaylogo": False, "displayModeBar": False},
    )
    return f'<div role="img" aria-label="{html.escape(words)}">{page}</div>'


def save_png(
    panels: list[Panel],
    path: Path,
    *,
    columns: int = 3,
    panel_size: tuple[float, float] = (5.2, 4.0),
    heading: str = "",
    note: str = "",
) -> None:
    """The panels in a grid, with one legend: below them, or above under the heading.

    Args:
        columns: side by side at most.
        panel_size: width and height of a panel in inches.
        heading: a line above the panels.
        note: small print below them, in lines that fit; it takes room of its own.
    """
    columns = min(len(panels), columns)
    rows = -(-len(panels) // columns)
    width, height = panel_size
    note_height = NOTE_INCHES * len(note.splitlines())
    size = (max(width * columns, 7.0), height * rows + 0.4 + note_height)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    # Names are text, not formulas, whatever dollar signs they hold.
    with mpl.rc_context({"text.parse_math": False}):
        handles: dict[int, Line2D] = {}
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            handles |= _draw(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if note:
            figure.supxlabel(note, fontsize=NOTE_POINTS, x=0.01, ha="left")
        figure.legend(
            handles=[handles[index] for index in sorted(handles)],
            loc="outside upper center" if heading else "outside lower center",
            title=heading or None,
            ncols=2 * columns,
            frameon=False,
        )
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def _draw(axes: Axes, panel: Panel) -> dict[int, Line2D]:
    """Draw one panel; returns the drawn line of each arm for the legend."""
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles = {}
    for line in panel.lines:
        drawn = arm_style(line.arm)
        if line.predicted:
            axes.plot(line.x, line.y, color=drawn.colour, linestyle=":")
            continue
        if line.band is not None:
            axes.fill_between(
                line.x, *line.band, color=drawn.colour, alpha=BAND_OPACITY, linewidth=0
            )
        apart = max(1, len(line.x) // 12)
        marker: dict[str, Any] = {
            "marker": drawn.marker[1],
            "markersize": 6 if line.arm.stopped else 4,
        }
        (handles[line.arm.index],) = axes.plot(
            line.x,
            line.y,
            label=line.arm.label,
            color=drawn.colour,
            linestyle=drawn.dash[1],
            markevery=[-1] if line.arm.stopped else apart,
            **marker,
        )
        hollow = [at for at in range(0, len(line.x), apart) if line.x[at] in line.sampled]
        if hollow:
            marker |= {"color": drawn.colour, "markerfacecolor": "white", "linestyle": ""}
            axes.plot(line.x[hollow], line.y[hollow], **marker)
    for reference in panel.references:
        axes.axhline(reference.value, color=REFERENCE, linestyle=(0, (8, 3)), linewidth=1)
        axes.annotate(
            reference.label,
            (1, reference.value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=NOTE_POINTS,
        )
    return handles
