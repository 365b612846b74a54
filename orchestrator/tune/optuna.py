"""A search algorithm chooses the values of each trial by how the trials before it ended.

Ray Tune's adapter of Optuna decides; what it was asked and told stands in `search.jsonl`. A study
that is run again repeats that conversation, and so goes on with the choices of an undisturbed one.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import Study
from orchestrator.config.axis import Axis
from orchestrator.errors import ConfigError
from orchestrator.training.record import ERROR, ended, read_journal
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import Expansion, Trial
from orchestrator.trials.expand import Gathering

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG_FILE = "search.jsonl"


def check_search(study: Study) -> None:
    """Refuse a search whose library is not installed.

    Raises:
        ConfigError: naming what to install.
    """
    if study.sweep.search is not None and importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            ["sweep.search.type is optuna, which is not installed: pip install "
             "'arrangement-orchestrator[optuna]'"]
        )  # fmt: skip


class Suggestions:
    """The trials of a study with `sweep.search`, each one chosen when there is room for it.

    Args:
        study: all its axes are distributions.
        folder: of the study; keeps `LOG_FILE`.
        plan: makes the spec of a trial: everything before its first training step.
        chosen: told of the trials so far, and of their specs, whenever there is one more.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        plan: Callable[[Trial], TrialSpec],
        chosen: Callable[[Expansion, list[TrialSpec]], None],
    ) -> None:
        from ray.tune.search.optuna import OptunaSearch

        assert study.sweep.search is not None, "a study without a search has its trials at once"
        self._sweep = study.sweep
        self._metric = study.sweep.search.metric
        self._log = folder / LOG_FILE
        self._plan = plan
        self._chosen = chosen
        self._gathering = Gathering(study)
        self._specs: dict[str, TrialSpec] = {}  # by the trial's key
        self._told: set[int] = set()
        self._keys: list[str | None] = []  # of the trial of each suggestion
        space = {key: _distribution(axis) for key, axis in study.sweep.parameters.items()}
        self._search = OptunaSearch(space, metric="value", mode="min", seed=study.sweep.seed)

    @property
    def expansion(self) -> Expansion:
        """The trials so far, and what became of the other suggestions."""
        found = self._gathering.expansion
        broken = {text: len(where) for text, where in self._gathering.broken.items()}
        return Expansion(found.trials, found.dropped | broken)

    @property
    def specs(self) -> list[TrialSpec]:
        """Of `expansion.trials`."""
        return list(self._specs.values())

    @property
    def missing(self) -> int:
        """Suggestions that were not yet asked for."""
        return max(0, self._sweep.samples - len(self._keys))

    def resume(self) -> None:
        """Repeat what was asked and told when the study ran before.

        Raises:
            ConfigError: it was another study that ran then.
        """
        for event in self._past():
            number = event["number"]
            if "suggested" in event:
                drawn = self._suggest()
                same = drawn == event["suggested"]
            else:
                self._complete(number, event["value"])
                spec = self._spec(number)
                same = spec is not None and spec.key == event["key"]
            if not same:
                raise ConfigError(
                    [f"{self._log} was begun with other settings or data, or another version of "
                     "Optuna: give study another name, or remove that file to search anew"]
                )  # fmt: skip
        for spec in self.specs:
            self.tell(spec)  # one that was killed between a trial's end and its last line

    def unfinished(self) -> Iterator[TrialSpec]:
        """Jobs to run, those that an earlier run of the study left first."""
        yield from [spec for spec in self.specs if not ended(spec.folder, spec.key)]
        while self.missing:
            known = len(self._specs)
            number = len(self._keys)
            self._write({"number": number, "suggested": self._suggest()})
            spec = self._spec(number)
            if spec is None:
                continue
            if ended(spec.folder, spec.key):
                self.tell(spec)
            elif len(self._specs) > known:  # else it repeats one that is running
                yield spec

    def tell(self, spec: TrialSpec, *, died: bool = False) -> None:
        """A trial ended. One that the loop gave up is as good as its untouched model.

        Args:
            died: its process did; it is not told, the next run of the study repeats it.
        """
        numbers = range(len(self._keys))
        untold = [n for n in numbers if n not in self._told and self._spec(n) == spec]
        if not untold:
            return
        losses = [event[self._metric] for event in read_journal(spec.folder)
                  if event["event"] == "measure"]  # fmt: skip
        if not ended(spec.folder, spec.key):
            if died or not losses or not (spec.folder / ERROR).is_file():
                return
            losses = losses[:1]
        for number in untold:
            self._write({"number": number, "key": spec.key, "value": losses[-1]})
            self._complete(number, losses[-1])

    def _suggest(self) -> dict[str, Any]:
        """What the next suggestion draws for each axis; its trial is planned if it is new."""
        number = len(self._keys)
        drawn: dict[str, Any] = self._search.suggest(str(number)) or {}
        axes = self._sweep.parameters
        key = self._gathering.add(tuple({k: axes[k].value(drawn[k])} for k in axes))
        self._keys.append(key)
        if key is None:
            self._complete(number, None)
        elif key not in self._specs:
            self._specs[key] = self._plan(self._gathering.expansion.trials[-1])
            self._chosen(self.expansion, self.specs)
        return drawn

    def _spec(self, number: int) -> TrialSpec | None:
        """Of a suggestion; None of one that comes to no trial."""
        key = self._keys[number]
        return None if key is None else self._specs[key]

    def _complete(self, number: int, value: float | None) -> None:
        self._told.add(number)
        result = None if value is None else {"value": value}
        self._search.on_trial_complete(str(number), result=result, error=value is None)

    def _past(self) -> list[dict[str, Any]]:
        """What was said before; a last line that was cut off was not."""
        if not self._log.is_file():
            return []
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):
            self._log.write_text("".join(whole), encoding="utf-8")
        return [json.loads(line) for line in whole]

    def _write(self, event: dict[str, Any]) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, allow_nan=False) + "\n")


def _distribution(axis: Axis) -> BaseDistribution:
    """What Optuna draws: for `options` their index, so that a value may be of any kind."""
    from optuna import distributions

    if axis.choice is not None:
        return distributions.CategoricalDistribution(range(len(axis.choice)))
    if axis.options is not None:
        return distributions.IntDistribution(0, axis.options - 1)
    low, high = axis.bounds
    if axis.randint is not None:
        return distributions.IntDistribution(int(low), int(high) - 1)
    return distributions.FloatDistribution(low, high, log=axis.kind == "loguniform")
