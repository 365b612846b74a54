"""Whether the disks of a study have the room that its estimate says it will take."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.estimate.amounts import Amount, added, trial_amounts
from orchestrator.estimate.disk import bytes_in_words, study_disk
from orchestrator.estimate.stored import StoreLookup
from orchestrator.storage.disk import folder_there, free_bytes, in_units
from orchestrator.storage.files import BEGUN_FILE
from orchestrator.training.outcome import marked_outcome
from orchestrator.trials import Trial

IN_STORE = ("embeddings", "influence")  # parts of `study_disk`; the others go to the output


def check_disk(study: Study, trials: list[Trial], store: StoreLookup) -> list[str]:
    """Compare what the trials that have not ended will take with what is free.

    What is not known yet counts as nothing.

    Returns:
        A sentence for each disk that may become full: where the study takes so much at most, and
        where its trials began before, for what they left counts twice.

    Raises:
        ResourceError: a disk that a new study will fill.
    """
    layout = Layout.of(study)
    left = [trial for trial in trials if not marked_outcome(layout.trial(trial.name)).ended]
    amounts = [trial_amounts(trial.config, store) for trial in left]
    parts = study_disk(study, left, amounts, store)
    if study.tracking.uri is not None:
        parts["MLflow"] = []
    # Output and store are on one disk most often.
    disks: dict[int, tuple[Path, dict[str, list[Amount | None]]]] = {}
    for part, sizes in parts.items():
        place = layout.store if part in IN_STORE else layout.output
        device = os.stat(folder_there(place)).st_dev
        disks.setdefault(device, (place, {}))[1][part] = sizes
    faults: list[str] = []
    told: list[str] = []
    for place, on_disk in disks.values():
        needed, _ = added(size for sizes in on_disk.values() for size in sizes)
        if needed is None or needed.count <= (free := free_bytes(place)):
            continue
        sentence = _sentence(place, on_disk, free)
        sure = needed.mark != "<=" and not (layout.folder / BEGUN_FILE).is_file()
        (faults if sure else told).append(sentence)
    if faults:
        raise ResourceError("\n".join(faults))
    return told


def _sentence(place: Path, parts: dict[str, list[Amount | None]], free: int) -> str:
    words = [
        f"{part} {bytes_in_words(sizes)}"
        for part, sizes in parts.items()
        if any(size and size.count for size in sizes)
    ]
    whole = bytes_in_words([size for sizes in parts.values() for size in sizes])
    return (
        f"{place} has {in_units(free)} free, and the study takes {whole} there "
        f"({', '.join(words)}): make room, or give other places with --output DIR and --set "
        "store=DIR"
    )
