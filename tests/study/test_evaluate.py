"""What a model that no trial trained is measured by, as far as no Ray runs."""

import io
import json

import pytest
from rich.console import Console

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import ConfigError, ResourceError
from orchestrator.screen import Screen
from orchestrator.study.evaluate import _kinds, _spec, evaluate_on
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import expand
from tests.data.conftest import row

DATA = {
    "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
    "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
}
LORA = {"type": "lora", "targets": ["q_proj"]}


@pytest.fixture
def study_of(tmp_path, store):
    """Makes a study of some sections and axes."""

    def make(axes=None, **sections):
        sweep = {"parameters": {key: {"grid": values} for key, values in (axes or {}).items()}}
        return Study.model_validate({
            "study": "measured", "data": DATA, "arrangement": {"method": "random", "rows": 8},
            "model": {"name": "random:tiny-llama"}, "output": str(tmp_path / "out"),
            "store": store, "sweep": sweep, **sections,
        })  # fmt: skip

    return make


def kinds(study, adapter=None):
    return _kinds(expand(study), "random:tiny-gpt2", adapter)


def test_a_model_is_scored_against_all_right_answers_as_trials_are(study_of, tmp_path):
    lines = {"several": {**row(0), "also": ["yes", "Sure"]}, "one": {**row(0), "also": None}}
    layout = Layout.of(study_of())
    with Screen(Console(file=io.StringIO())) as screen:
        pipeline = Pipeline(layout, screen)
        for name, line in lines.items():
            path = tmp_path / f"{name}.jsonl"
            path.write_text(json.dumps(line) + "\n")
            query = {"reader": "jsonl", "path": str(path), "fields": {"references": "also"}}
            generate = {"measures": False, "generate": {"every": 1}}
            (trial,) = expand(study_of(data=DATA | {"query": query}, evaluation=generate))
            trained = pipeline.ready(trial)
            measured = _spec(trial, "a model", None, pipeline, layout)
            assert (measured.references is not None) == (name == "several")
            for field in ("references", "model", "model_digest", "reward_model"):
                assert getattr(measured, field) == getattr(trained, field), field


def test_trials_whose_hold_outs_differ_are_kinds_of_their_own(study_of):
    pool = {"data.pool.max_per_task": [2, 3]}
    held_out = {"from": "pool", "rows": 4}
    (one,) = kinds(study_of(pool, data=DATA))
    assert one.config.data.pool.max_per_task == 2
    assert len(kinds(study_of(pool, data=DATA | {"held_out": held_out}))) == 2
    assert len(kinds(study_of(pool, data=DATA | {"held_out": held_out | {"from": "query"}}))) == 1


def test_a_new_adapter_is_put_beside_no_model_that_is_measured(study_of, tmp_path):
    study = study_of(model={"name": "random:tiny-llama", "adapter": LORA})
    assert [kind.config.model.adapter for kind in kinds(study)] == ["none"]
    (saved,) = kinds(study, adapter=tmp_path)
    assert saved.config.model.adapter.targets == ["q_proj"]
    four_bits = study_of(model={"name": "random:tiny-llama", "adapter": LORA | {"type": "qlora"}})
    assert kinds(four_bits)[0].config.model.adapter.type == "qlora", "its bits change losses"


def test_results_that_would_be_lost_and_a_store_that_is_none_are_refused(study_of):
    lost = study_of(output="/tmp/working_dir_files/out")
    with pytest.raises(ResourceError, match="is a folder of the job, which ends with it"):
        evaluate_on(lost, "random:tiny-llama")
    with pytest.raises(ConfigError, match="remote_store: s3://té/x cannot be read"):
        evaluate_on(
            study_of().model_copy(update={"remote_store": "s3://té/x"}), "random:tiny-llama"
        )
