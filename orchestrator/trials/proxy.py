"""The proxy of a study: the same arms, trained at less cost, to forecast how they will end."""

from __future__ import annotations

from typing import Any

from orchestrator.config.load import check_settings
from orchestrator.config.overlay import replaced
from orchestrator.config.schema import Study

# Keys of the study that the proxy has no use for: what is kept, generated or claimed.
LEFT_OUT = (
    ("forecast",), ("claim",), ("tracking", "register_model"), ("sweep", "scheduler"),
    ("training", "save_model"), ("evaluation", "generate"), ("evaluation", "benchmarks"),
)  # fmt: skip
NAME_LENGTH = 64


def proxy_study(study: Study) -> Study:
    """The study that is trained to forecast another one, whose section `forecast` is given.

    Raises:
        ConfigError: what it sets does not fit the study.
    """
    assert study.forecast is not None, "a study without the section has no proxy"
    return _with(study, study.forecast.proxy.settings)


def proxies(study: Study) -> list[Study]:
    """The study's proxy, where its forecasters ask for one.

    Raises:
        ConfigError: as `proxy_study`.
    """
    asked = study.forecast is not None and "proxy" in study.forecast.forecasters
    return [proxy_study(study)] if asked else []


def unchanged(study: Study) -> Study:
    """The proxy as it would be if it set nothing: what trains as the study does."""
    return _with(study, {})


def proxy_name(study: str) -> str:
    """The name of a study's proxy."""
    return f"{study[: NAME_LENGTH - len('-proxy')]}-proxy"


def _with(study: Study, settings: dict[str, Any]) -> Study:
    raw = study.model_dump(mode="json", exclude_unset=True)
    for path in LEFT_OUT:
        section = raw
        for key in path[:-1]:
            section = section.get(key, {})
        section.pop(path[-1], None)
    for key, value in settings.items():
        raw = replaced(raw, key.split("."), value)
    raw["study"] = proxy_name(study.study)
    return check_settings(Study, raw, "forecast.proxy")
