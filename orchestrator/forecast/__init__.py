"""What a study's arms are expected to come to, written down before the first step.

One forecaster a file: a function from a `Request` to an `Expectation`. What all forecasts share,
arms, intervals, probabilities and the file, is made in `record`; how right they were is scored by
`report.forecasts`.
"""

from __future__ import annotations

from orchestrator.config.forecast import ForecasterName
from orchestrator.forecast import distance, proxy, quadratic
from orchestrator.forecast.forecaster import Forecaster

FORECASTERS: dict[ForecasterName, Forecaster] = {
    "distance": distance.forecast,
    "proxy": proxy.forecast,
    "quadratic": quadratic.forecast,
}
