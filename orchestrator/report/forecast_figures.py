"""The curves that were forecast, beside those that were measured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orchestrator.report.arms import Arm
from orchestrator.report.figures import SETS, STEP, Line, Panel
from orchestrator.report.forecasts import Foretold


def forecast_panels(foretold: Iterable[Foretold], arms: list[Arm]) -> list[Panel]:
    """A panel for each forecast of losses and each test set that it is of.

    Bands are 95% intervals; both curves are means over the tasks that were forecast.
    """
    return [
        _panel(one, test_set, arms)
        for one in foretold
        if one.record["sized"]
        for test_set in one.pairs
    ]


def _panel(foretold: Foretold, test_set: str, arms: list[Arm]) -> Panel:
    curves, measured = foretold.record["sets"][test_set]["curves"], foretold.measured[test_set]
    lines = []
    for arm in arms:
        if arm.name in measured:
            came = measured[arm.name]
            lines.append(Line(arm, came.steps, came.losses.mean(axis=1)))
        if arm.name in curves:
            curve = {key: np.array(curves[arm.name][key]) for key in ("steps", "losses")}
            band = np.array(curves[arm.name]["low"]), np.array(curves[arm.name]["high"])
            lines.append(Line(arm, curve["steps"], curve["losses"], band, predicted=True))
    title = f"{SETS[test_set]}, as {foretold.name} expected it (dots without markers)"
    return Panel(f"forecast-{foretold.name}-{test_set}", title, STEP, "Loss", lines)
