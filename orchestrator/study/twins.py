"""The twins of a study: told before the first step, and given their results after the last one.

`training.twins` says which trials these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.screen import Screen
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import ERROR_FILE
from orchestrator.study.fleet import joins
from orchestrator.training.drawn import pairs_in_words, varied_by
from orchestrator.training.spec import TrialSpec
from orchestrator.training.twins import find_twins, take_result
from orchestrator.tune.run import INTERRUPTED


def told_twins(specs: Sequence[TrialSpec], screen: Screen) -> dict[str, TrialSpec]:
    """The twins among the trials of a study, and a note of them on the screen."""
    twins = find_twins(specs, one_machine=not joins())
    if not twins:
        return twins
    named = {twin: first.trial for twin, first in twins.items()}
    another = [spec for spec in specs if spec.trial in twins
               and spec.config.seed != twins[spec.trial].config.seed]  # fmt: skip
    screen.tell(
        f"{len(twins):,} of {len(specs):,} trials cannot differ from another one (same rows in the "
        "same order, same model and settings, nothing drawn) and are not trained: they take its "
        f"result, and are no repetitions of it: {pairs_in_words(named)}",
        mark="note",
    )
    if another:
        varied = varied_by(another[0].config.model_dump(mode="json"))
        screen.tell(f"their seed decides nothing; to repeat such an arm sweep {varied}", "note")
    return twins


def share_results(
    twins: Mapping[str, TrialSpec],
    specs: Sequence[TrialSpec],
    errors: Mapping[str, str],
    screen: Screen,
) -> dict[str, str]:
    """Give all twins their results; returns the error of each whose first one did not end.

    Args:
        twins: as `told_twins` has them.
        specs: of all trials.
        errors: of the trials that were trained.
    """
    failed = {}
    for spec in specs:
        if (first := twins.get(spec.trial)) is None:
            continue
        if take_result(spec, first).ended:
            screen.line(spec.trial).done(f"as {first.trial}", mark="reused")
            continue
        failed[spec.trial] = why = errors.get(first.trial, INTERRUPTED)
        if why != INTERRUPTED:
            failed[spec.trial] = f"it cannot differ from {first.trial}, which failed: {why}"
            write_text(spec.folder / ERROR_FILE, failed[spec.trial])
    return failed
