"""The trials of a study outside of Ray, as if nothing could disturb them."""

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.screen import Screen
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import expand
from tests.training.launch import launch


def train_undisturbed(path, output, store):
    """Train the trials of a study file, whose shared artifacts a store holds, on gloo ranks."""
    study = load_study(path, [f"output={output}", f"store={store}"])
    trials = expand(study)
    with Screen() as screen:
        pipeline = Pipeline(Layout.of(study), screen)
        with pipeline.fetching_models([trial.config for trial in trials], training=True):
            specs = pipeline.prepare(trials)
    assert all(stage["reused"] for stage in pipeline.shared.stages if "reused" in stage)
    for spec in specs:
        launch(spec, ranks=spec.config.training.workers)
