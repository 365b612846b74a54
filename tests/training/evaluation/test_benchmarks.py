"""Benchmarks on task files of the user's own, by the real harness and without a network."""

import socket

import pytest
import torch
from jinja2.exceptions import SecurityError
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.config.schema import TrialConfig
from orchestrator.errors import ConfigError
from orchestrator.training.evaluation.benchmark_files import forget_others, write_measured
from orchestrator.training.evaluation.benchmarks import (
    BenchmarkSpec,
    check_tasks,
    headlines,
    measure,
    measured_table,
    results_digest,
    unmeasured,
)
from tests.training.conftest import DATA
from tests.training.evaluation.harness import ITEMS, write_tasks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a test without a network asked for one")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)


@pytest.fixture
def spec_of(shared, tmp_path):
    """Makes the spec of the tiny model; `asked` is the section of the study file."""

    def make(digest="tiny", precision="float32", **asked):
        evaluation = {"benchmarks": {"path": str(tmp_path / "tasks"), **asked}}
        model = {"precision": precision}
        config = TrialConfig.model_validate(
            {"data": DATA, "model": model, "evaluation": evaluation}
        )
        return BenchmarkSpec(
            "trial", 4, config.evaluation.benchmarks, config, shared.model, None, digest,
            tmp_path / "store",
        )  # fmt: skip

    return make


@pytest.fixture
def tasks(tmp_path):
    return write_tasks(tmp_path / "tasks", "colours")


def likelihoods(folder, question, choices):
    """Log-likelihood of each answer after the question, one forward pass each."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for choice in choices:
        ids = torch.tensor([tokenizer(f"{question} {choice}")["input_ids"]])
        each = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        found.append(each[len(tokenizer(question)["input_ids"]) - 1 :].sum().item())
    return found


def test_the_accuracy_is_that_of_the_likelier_answers(spec_of, tasks, shared):
    spec = spec_of(tasks=["colours"])
    check_tasks(spec.asked)
    measure(spec)
    right = 0
    for item in ITEMS:
        found = likelihoods(shared.model, item["question"], item["choices"])
        right += max(range(3), key=found.__getitem__) == item["label"]
    assert 0 < right < len(ITEMS)
    (row,) = measured_table(spec).to_pylist()
    share = right / len(ITEMS)
    assert row.pop("value") == pytest.approx(share)
    assert row.pop("stderr") == pytest.approx((share * (1 - share) / (len(ITEMS) - 1)) ** 0.5)
    assert row == {"step": 4, "benchmark": "colours", "task": "colours", "metric": "acc",
                   "n": len(ITEMS), "higher_is_better": True}  # fmt: skip


def test_only_what_the_store_lacks_is_run(spec_of, tasks):
    write_tasks(tasks, "more")
    measure(spec_of(tasks=["colours"]))
    assert unmeasured(spec_of(tasks=["colours", "more"])) == ["more"]
    assert unmeasured(spec_of(tasks=["colours"], at=[0, 7], batch_size=2)) == []
    assert unmeasured(spec_of(tasks=["colours"], limit=3)) == ["colours"]
    assert unmeasured(spec_of(tasks=["colours"], digest="other")) == ["colours"]
    (tasks / "items.jsonl").write_text('{"question": "?", "choices": ["a", "b"], "label": 0}\n')
    assert unmeasured(spec_of(tasks=["colours"])) == ["colours"]


def test_one_model_in_two_arithmetics_is_measured_twice(spec_of, tasks):
    spec = spec_of(tasks=["colours"])
    assert results_digest(spec) == results_digest(spec_of(tasks=["colours"], at=[0], batch_size=2))
    assert results_digest(spec) != results_digest(spec_of(tasks=["colours"], precision="bfloat16"))


def test_a_table_goes_when_the_study_asks_for_other_benchmarks(spec_of, tasks, tmp_path):
    spec, folder = spec_of(tasks=["colours"], limit=1), tmp_path / "trial"
    folder.mkdir()
    measure(spec)
    write_measured(folder, [spec])
    files = {"benchmarks.json", "benchmarks.parquet"}
    forget_others(folder, spec_of(tasks=["colours"], limit=1, batch_size=2).config)
    assert {path.name for path in folder.iterdir()} == files
    none = TrialConfig.model_validate({"data": DATA})
    others = [spec_of(tasks=["colours", "more"], limit=1).config, spec_of(tasks=["colours"]).config]
    for config in (*others, spec_of(tasks=["colours"], limit=1, at=[0]).config, none):
        write_measured(folder, [spec])
        forget_others(folder, config)
        assert not list(folder.iterdir())


def test_of_a_group_its_own_line_is_the_headline_and_of_a_tag_those_of_its_tasks(spec_of, tasks):
    write_tasks(tasks, "one", "two")
    (tasks / "both.yaml").write_text(
        "group: both\ntask: [one, two]\naggregate_metric_list: [{metric: acc}]\n"
    )
    for name in ("one", "two"):
        with (tasks / f"{name}.yaml").open("a") as file:
            file.write("tag: tagged\n")
    spec = spec_of(tasks=["both", "tagged"], limit=5)
    measure(spec)
    table = measured_table(spec)
    assert len(table) == 5
    shown = headlines(table).to_pylist()
    assert [(row["benchmark"], row["task"]) for row in shown] == [
        ("both", "both"), ("tagged", "one"), ("tagged", "two")
    ]  # fmt: skip
    assert shown[1]["n"] == 5


@pytest.mark.scenario("no-pickles")
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("process_docs: !function own.process", "line 11: !function own.process names code"),
        ("class: own.Task", "line 11: class names code"),
        ("include: ../elsewhere.yaml", "line 11: include ../elsewhere.yaml lies outside of"),
        ("metric_list: [{metric: ./own}]", "line 11: metric ./own is not installed"),
        ("dataset_path: pandas", "line 11: dataset_path pandas reads pickles"),
        ("include: shared_part", "shared_part, line 1: !function own.text names code"),
    ],
)
def test_a_task_file_that_asks_for_code_is_refused_unless_it_is_trusted(
    spec_of, tasks, line, fault
):
    (tasks / "shared_part").write_text("doc_to_text: !function own.text\n")
    with (tasks / "colours.yaml").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigError) as refused:
        check_tasks(spec_of(tasks=["colours"]).asked)
    assert fault in str(refused.value)
    assert "set evaluation.benchmarks.trust_code to true" in str(refused.value)


def test_a_template_reaches_nothing_but_the_item(spec_of, tasks):
    path = tasks / "colours.yaml"
    path.write_text(path.read_text().replace("{{question}}", "{{ ''.__class__.__mro__ }}"))
    spec = spec_of(tasks=["colours"])
    check_tasks(spec.asked)
    with pytest.raises(SecurityError):
        measure(spec)


def test_a_task_that_nobody_knows_is_refused_before_anything_is_trained(
    spec_of, tasks, monkeypatch
):
    # The thousands of the harness take seconds to read: these stand in their place.
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(tasks / "manager.py"))
    with pytest.raises(ConfigError, match="'colors' is no task of lm-evaluation-harness"):
        check_tasks(spec_of(tasks=["colors", "colours"]).asked)
    with pytest.raises(ConfigError, match="is no folder"):
        check_tasks(spec_of(tasks=["colours"], path="nowhere").asked)
