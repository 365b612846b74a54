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
from orchestrator.storage.artifacts import append, write_text
from orchestrator.storage.files import SEARCH_FILE
from orchestrator.training.journal import measured_losses
from orchestrator.training.outcome import FAILED, ended, read_outcome
from orchestrator.training.spec import TrialSpec, has_plan
from orchestrator.trials import Expansion, Trial
from orchestrator.trials.expand import TrialCollection

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


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

    What a trial needs is made when it is chosen, while others train: nobody knows before which of
    its settings, and so which vectors and plans, the search will draw.

    Args:
        study: all its axes are distributions.
        folder: of the study; keeps `SEARCH_FILE`.
        spec_of: makes the spec of a trial: everything before its first training step.
        chosen: called with the trials so far and their specs whenever there is one more.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        spec_of: Callable[[Trial], TrialSpec],
        chosen: Callable[[Expansion, list[TrialSpec]], None],
    ) -> None:
        from ray.tune.search.optuna import OptunaSearch

        assert study.sweep.search is not None, "a study without a search has its trials at once"
        self._sweep = study.sweep
        self._metric = study.sweep.search.metric
        self._log = folder / SEARCH_FILE
        self._spec_of = spec_of
        self._chosen = chosen
        self._collection = TrialCollection(study)
        self._specs: dict[str, TrialSpec] = {}  # by the trial's key
        self._reported: set[int] = set()  # suggestions whose value the search knows
        self._keys: list[str | None] = []  # of the trial of each suggestion
        space = {key: _distribution(axis) for key, axis in study.sweep.parameters.items()}
        self._search = OptunaSearch(space, metric="value", mode="min", seed=study.sweep.seed)

    @property
    def expansion(self) -> Expansion:
        """The trials so far, and what became of the other suggestions."""
        expansion = self._collection.expansion
        broken = {text: len(where) for text, where in self._collection.broken.items()}
        return Expansion(expansion.trials, expansion.dropped | broken)

    @property
    def specs(self) -> list[TrialSpec]:
        """The specs of `expansion.trials`, in their order."""
        return list(self._specs.values())

    @property
    def missing(self) -> int:
        """How many suggestions were not yet asked for."""
        return max(0, self._sweep.samples - len(self._keys))

    def resume(self) -> None:
        """Repeat what was asked and told when the study ran before.

        Raises:
            ConfigError: it was another study that ran then.
        """
        for event in self._earlier_events():
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
        """Specs to run, those that an earlier run of the study left first."""
        earlier = [spec for spec in self.specs if not ended(spec.folder, spec.key)]
        yield from filter(has_plan, earlier)
        while self.missing:
            known = len(self._specs)
            number = len(self._keys)
            self._write({"number": number, "suggested": self._suggest()})
            spec = self._spec(number)
            if spec is None or not has_plan(spec):
                continue
            if ended(spec.folder, spec.key):
                self.tell(spec)
            elif len(self._specs) > known:  # else it repeats one that is running
                yield spec

    def tell(self, spec: TrialSpec, *, died: bool = False) -> None:
        """Tell the search how a trial ended: one that the loop gave up by its untouched model.

        Args:
            died: its process died: the search learns nothing, and the next run repeats the trial.
        """
        numbers = range(len(self._keys))
        unreported = [n for n in numbers if n not in self._reported and self._spec(n) == spec]
        if not unreported:
            return
        losses = [event[self._metric] for event in measured_losses(spec.folder)]
        outcome = read_outcome(spec.folder, spec.key)
        if not outcome.ended:
            if died or not losses or outcome.status != FAILED:
                return
            losses = losses[:1]
        for number in unreported:
            self._write({"number": number, "key": spec.key, "value": losses[-1]})
            self._complete(number, losses[-1])

    def _suggest(self) -> dict[str, Any]:
        """What the next suggestion draws for each axis; its trial is planned if it is new."""
        number = len(self._keys)
        drawn: dict[str, Any] = self._search.suggest(str(number)) or {}
        axes = self._sweep.parameters
        key = self._collection.add(tuple({k: axes[k].value(drawn[k])} for k in axes))
        self._keys.append(key)
        if key is None:
            self._complete(number, None)
        elif key not in self._specs:
            self._specs[key] = self._spec_of(self._collection.expansion.trials[-1])
            self._chosen(self.expansion, self.specs)
        return drawn

    def _spec(self, number: int) -> TrialSpec | None:
        """The spec of a suggestion's trial; None where the suggestion comes to no trial."""
        key = self._keys[number]
        return None if key is None else self._specs[key]

    def _complete(self, number: int, value: float | None) -> None:
        self._reported.add(number)
        result = None if value is None else {"value": value}
        self._search.on_trial_complete(str(number), result=result, error=value is None)

    def _earlier_events(self) -> list[dict[str, Any]]:
        """The events of earlier runs; a last line that was cut off is removed and not one."""
        if not self._log.is_file():
            return []
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):
            write_text(self._log, "".join(whole))
        return [json.loads(line) for line in whole]

    def _write(self, event: dict[str, Any]) -> None:
        append(self._log, json.dumps(event, allow_nan=False) + "\n")


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
