"""The figures: described once as panels of lines, drawn by plotly (page) and matplotlib (PNG)."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.core.analysis import Floats, Steps, set_curve
from orchestrator.report.read import Trial

SETS = {"query": "Query set", "held_out": "Held-out set", "off_target": "Off-target set"}
# Points of a line at most. More training steps cannot be told apart at the width of a page, and
# the distances of single rows are too noisy to show what an arm did.
TRAIN_POINTS, PLAN_POINTS = 300, 60

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


@dataclass(frozen=True)
class Style:
    """How a trial is drawn everywhere; dash and marker are rows of the tables above."""

    colour: str
    dash: tuple[str, str, str]
    marker: tuple[str, str, str]


def style(trial: Trial) -> Style:
    """Colour, dash and marker of a trial: 60 trials pass before a combination returns."""
    index = trial.index
    return Style(
        COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)]
    )


@dataclass(frozen=True)
class Line:
    """One trial's curve: x and y of equal length, NaN-free."""

    trial: Trial
    x: Floats | Steps
    y: Floats


@dataclass(frozen=True)
class Panel:
    """Lines that share their axes. `key` names it in the page."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]


def loss_panels(trials: list[Trial]) -> list[Panel]:
    """A panel for each test set that any trial was measured on."""
    panels = []
    for key, title in SETS.items():
        lines = []
        for trial in trials:
            step, _, loss = trial.losses(key)
            lines.append(Line(trial, *set_curve(step, loss)))
        panels.append(_panel(f"loss-{key}", title, "Optimizer step", "Loss", lines))
    return [panel for panel in panels if panel.lines]


def train_panel(trials: list[Trial]) -> Panel:
    """Training loss of every step."""
    lines = [
        _line(trial, "train_log", "step", "loss", TRAIN_POINTS)
        for trial in trials
        if "train_log" in trial.tables
    ]
    return _panel("train", "Training loss", "Optimizer step", "Loss of the global batch", lines)


def distance_panel(trials: list[Trial]) -> Panel:
    """Distance to the query set along each plan; plans without distances are left out."""
    lines = [
        _line(trial, "plan", "position", "distance", PLAN_POINTS)
        for trial in trials
        if "plan" in trial.tables
    ]
    return _panel("distance", "Distance along the plan", "Plan position", "Distance", lines)


def _panel(key: str, title: str, x_label: str, y_label: str, lines: list[Line]) -> Panel:
    return Panel(key, title, x_label, y_label, [line for line in lines if len(line.x)])


def _line(trial: Trial, table: str, x_name: str, y_name: str, points: int) -> Line:
    """Two columns as a line; long ones become the means of equal stretches."""
    x = trial.tables[table][x_name].to_numpy().astype(np.float64)
    y = trial.tables[table][y_name].to_numpy().astype(np.float64)
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    if len(x) > points:
        starts = np.linspace(0, len(x), points, endpoint=False).astype(np.int64)
        sizes = np.diff(starts, append=len(x))
        x, y = np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes
    return Line(trial, x, y)


def plotly_panel(panel: Panel, *, with_library: bool) -> str:
    """The panel as a piece of HTML; exactly one piece of a page carries the library.

    Text and grid get their colours from the page's style sheet, which knows light from dark.
    """
    figure = go.Figure()
    for line in panel.lines:
        drawn = style(line.trial)
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=html.escape(line.trial.label),  # plotly reads names as HTML
            meta=line.trial.index,  # by which the legend of the page finds the line
            mode="lines+markers",
            line={"color": drawn.colour, "dash": drawn.dash[0]},
            marker={"symbol": drawn.marker[0], "size": 7, "maxdisplayed": 12},
            hovertemplate="%{y:.3f}",
        )
    figure.update_layout(
        template="none",
        showlegend=False,  # one legend above all panels, in the page
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        margin={"l": 56, "r": 12, "t": 12, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 12},
        xaxis={"title": panel.x_label, "zeroline": False, "hoverformat": ".0f"},
        yaxis={"title": panel.y_label, "zeroline": False},
    )
    page: str = figure.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=panel.key,
        default_width="100%",
        default_height="340px",
        config={"responsive": True, "displaylogo": False, "displayModeBar": False},
    )
    return page


def save_png(panels: list[Panel], path: Path) -> None:
    """The panels side by side, with one legend below them."""
    figure = Figure(figsize=(max(5.2 * len(panels), 7.0), 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    # Names are text, not formulas, whatever dollar signs they hold.
    with mpl.rc_context({"text.parse_math": False}):
        handles: dict[int, Line2D] = {}
        for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
            handles |= _draw(axes, panel)
        figure.legend(
            handles=[handles[index] for index in sorted(handles)],
            loc="outside lower center",
            ncols=2 * len(panels),
            frameon=False,
        )
        figure.savefig(path)


def _draw(axes: Axes, panel: Panel) -> dict[int, Line2D]:
    """Draw one panel; returns the drawn line of each trial for the legend."""
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles = {}
    for line in panel.lines:
        drawn = style(line.trial)
        (handles[line.trial.index],) = axes.plot(
            line.x,
            line.y,
            label=line.trial.label,
            color=drawn.colour,
            linestyle=drawn.dash[1],
            marker=drawn.marker[1],
            markevery=max(1, len(line.x) // 12),
            markersize=4,
        )
    return handles
