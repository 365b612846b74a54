"""A model that no trial of a study trained, measured as the study measures its own.

The model may be any that `model.name` takes, or what `training.save_model` kept of a trial.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from orchestrator import models
from orchestrator.config import Study, TrialConfig, dump_yaml
from orchestrator.config.layout import Layout
from orchestrator.data.dataset import TEST_SETS
from orchestrator.errors import UserError
from orchestrator.host.versions import check_versions
from orchestrator.models.adapter import adapter_base
from orchestrator.report.build import build_report
from orchestrator.report.tables import number
from orchestrator.screen import Screen, quiet_streams, shown_path
from orchestrator.storage.artifacts import key_digest, write_text
from orchestrator.storage.files import (
    CONFIG_FILE,
    EVALUATED_FOLDER,
    LOGS_FOLDER,
    RAY_FOLDER,
    RESULT_FILE,
    SUMMARY_FILE,
)
from orchestrator.storage.lock import locked
from orchestrator.storage.remote import check_remote_store
from orchestrator.study.benchmarks import run_models
from orchestrator.study.checks import (
    check_benchmarks,
    check_places,
    check_settings,
    check_with_ray,
)
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.fleet import check_this_machine, joins
from orchestrator.study.model_checks import check_model_files, check_templates
from orchestrator.study.pipeline import Pipeline
from orchestrator.training.adapters import adapter_type
from orchestrator.training.evaluation.benchmark_files import forget_others, write_measured
from orchestrator.training.evaluation.benchmarks import BenchmarkSpec
from orchestrator.training.outcome import FINISHED, read_outcome
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import Trial, expand
from orchestrator.tune.evaluate import run_evaluation
from orchestrator.tune.run import INTERRUPTED

EVALUATE_VERSION = 1
LOG = "evaluate.log"


def evaluate_on(study: Study, name: str) -> None:
    """Measure a model on the test sets of a study, under the settings of its trials.

    Where trials differ in test sets, template, lengths, arithmetic or generated answers, the model
    is measured once for each kind. What was measured before is not measured again.

    Args:
        name: as `model.name`, or the folder of an adapter in peft's format.

    Raises:
        UserError: a model that cannot be had or cannot do what it is for, and what `run` refuses.
    """
    check_versions()
    folder = Path(name).expanduser().resolve()
    base = adapter_base(folder) if models.is_path(name) else None
    adapter = None if base is None else folder
    layout, trials = Layout.of(study), _kinds(expand(study), base or name, adapter)
    check_places(layout, starts_ray=not joins())
    if study.remote_store:
        check_remote_store(study.remote_store)
    scorers = {trial.config.evaluation.generate.reward_model for trial in trials} - {None}
    needed = [base or name, *filter(None, scorers)]
    for model in needed:
        models.check_access(model, layout.store)
    check_settings(trials)
    check_benchmarks(trial.config for trial in trials)
    check_this_machine(study, trials)
    log = layout.folder / LOGS_FOLDER / LOG
    with locked(layout.folder), quiet_streams(log) as console, Screen(console) as screen:
        pipeline = Pipeline(layout, screen)
        with cluster(threads(study, trials)), pipeline.shared.fetching(needed):
            check_with_ray(study, trials, layout, screen)
            _check_fetched([trial.config for trial in trials], pipeline, screen)
            for trial in trials:
                _evaluate(trial, name, adapter, pipeline, layout, screen)
        if (layout.folder / SUMMARY_FILE).is_file():
            screen.line("report").done(shown_path(build_report(layout.folder)))


def _kinds(trials: Iterable[Trial], name: str, adapter: Path | None) -> list[Trial]:
    """The first trial of each kind, with the model in the place of its own.

    Args:
        name: of the model, or of the one that `adapter` belongs to.
        adapter: folder of a trained one; None: the model is measured as it is.
    """
    kinds: dict[str, Trial] = {}
    for trial in trials:
        own = trial.config.model
        # A revision is that of the study's own model; this one's stands in its name.
        changes: dict[str, Any] = {"name": name, "revision": None}
        if adapter is None and adapter_type(own.adapter).frozen_bits is None:
            # A new one changes no loss, and may name layers that this model does not have.
            changes["adapter"] = "none"
        config = trial.config.model_copy(update={"model": own.model_copy(update=changes)})
        kinds.setdefault(key_digest(_measured_by(config)), replace(trial, config=config))
    return list(kinds.values())


def _measured_by(config: TrialConfig) -> dict[str, Any]:
    """The settings, and the sources, that losses and answers of a model depend on."""
    sources = set(TEST_SETS)
    if config.data.hold_out is not None:
        sources.add(config.data.hold_out.origin)
    return {
        "sets": config.data.model_dump(mode="json", include=sources),
        "model": config.model.model_dump(mode="json", exclude={"cache"}),
        "length": config.test_length,
        "generate": config.evaluation.generate.model_dump(mode="json"),
    }


def _check_fetched(configs: list[TrialConfig], pipeline: Pipeline, screen: Screen) -> None:
    """Refuse models that cannot do what they are for, now that they are here."""
    folder_of = pipeline.shared.model_folder
    for config in configs:
        check_model_files(config, "model.name", folder_of(config.model.name))
        if scorer := config.evaluation.generate.reward_model:
            check_model_files(config, "evaluation.generate.reward_model", folder_of(scorer))
    check_templates(configs, folder_of, screen)


def _evaluate(
    trial: Trial,
    name: str,
    adapter: Path | None,
    pipeline: Pipeline,
    layout: Layout,
    screen: Screen,
) -> None:
    """Measure the model under the settings of a trial, unless it was."""
    label = _label(name, layout.folder)
    spec = _spec(trial, label, adapter, pipeline, layout)
    line = screen.line(f"evaluate {label}")
    before = read_outcome(spec.folder, spec.key).status == FINISHED
    if not before:
        spec.folder.mkdir(parents=True, exist_ok=True)
        write_text(spec.folder / CONFIG_FILE, dump_yaml(spec.config))
        facts = {
            "model": label,
            "fingerprint": spec.model_digest,
            "tokens_digest": spec.tokens_digest,
        }
        run_evaluation(spec, adapter, facts, layout.folder / RAY_FOLDER)
    forget_others(spec.folder, spec.config)
    if asked := spec.config.evaluation.benchmarks:
        model = BenchmarkSpec(
            label, 0, asked, spec.config, spec.model, adapter, spec.model_digest, spec.store
        )
        for error in run_models([model], screen).values():
            if error == INTERRUPTED:
                raise KeyboardInterrupt
            raise UserError(f"benchmarks of {label}: {error}")
        write_measured(spec.folder, [model])
    means = json.loads((spec.folder / RESULT_FILE).read_bytes())["means"]
    words = ", ".join(f"{key} {number(value)}" for key, value in means.items())
    line.done(words, mark="reused" if before else "done")
    screen.print(f"        in {escape(shown_path(spec.folder))}")


def _spec(
    trial: Trial, label: str, adapter: Path | None, pipeline: Pipeline, layout: Layout
) -> TrialSpec:
    config = trial.config
    # Of the test sets alone: a pool of millions need not be read for them.
    fields, reward_digest, references_digest = pipeline.measuring(config, trained=False)
    tokens, tokens_digest = fields["test_tokens"]
    if adapter is not None:
        digest = key_digest([fields["model_digest"], models.fingerprint(adapter)])
        fields = fields | {"model_digest": digest}
    settings = config.model.model_dump(mode="json", exclude={"cache", "name"})
    generate = config.evaluation.generate.model_dump(mode="json")
    key = key_digest(
        [
            EVALUATE_VERSION,
            fields["model_digest"],
            tokens_digest,
            settings,
            generate,
            reward_digest,
            config.seed,
            *([] if references_digest is None else [references_digest]),
        ]
    )
    slug = re.sub(r"[^a-z0-9_]+", "-", label.lower()).strip("-_")[-48:].strip("-_")
    return TrialSpec(
        trial=f"{slug}-{key[:8]}",
        key=key,
        tokens=tokens,
        tokens_digest=tokens_digest,
        folder=layout.folder / EVALUATED_FOLDER / f"{slug}-{key[:8]}",
        **fields,
    )


def _label(name: str, study_folder: Path) -> str:
    """What the model is called: of one inside the study's folder its path there."""
    if models.is_path(name):
        path = Path(name).expanduser().resolve()
        if path.is_relative_to(study_folder):
            return path.relative_to(study_folder).as_posix()
    return name
