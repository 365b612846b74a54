"""Hours and money: by the pace of earlier trials that computed alike here, else by arithmetic."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config import Study, dump_yaml
from orchestrator.errors import ResourceError
from orchestrator.estimate.amounts import Amount, TrialAmounts
from orchestrator.estimate.earlier import Earlier, influence_rate, query_losses_rate
from orchestrator.estimate.hours import Time, hours_line, money_line, named_parameters, trial_time
from orchestrator.estimate.memory import trained_sizes
from orchestrator.estimate.speed import check_gpu
from orchestrator.estimate.stored import StoreLookup
from orchestrator.models import fingerprint
from orchestrator.provenance import hardware
from orchestrator.storage.artifacts import build
from orchestrator.training.journal import Journal
from tests.estimate.base import BASE, config

AMOUNTS = TrialAmounts(
    Amount(40), Amount(40), Amount(10), Amount(3), Amount(1000), Amount(60), 20, 0, 0.25
)


def study(**sweep):
    return Study.model_validate({"study": "demo", **BASE, "sweep": sweep})


def earlier(output, on=None, generate=False, twin=None, at_once=1, **sections):
    """A study of one finished trial: 100 tokens in 2 s, 30 items in 3 s, 15 s in all."""
    trial = output / "before" / "trials" / "one"
    trial.mkdir(parents=True)
    (trial / "config.yaml").write_text(dump_yaml(config(**sections)))
    result = {"seconds": 15.0} | ({"twin_of": twin} if twin else {})
    (trial / "result.json").write_text(json.dumps(result))
    sweep = {"sweep": {"max_concurrent": at_once}}
    (trial.parents[1] / "study.yaml").write_text(json.dumps(sweep))
    pq.write_table(pa.table({"tokens": [60, 40], "seconds": [1.5, 0.5]}),
                   trial / "train_log.parquet")  # fmt: skip
    pq.write_table(pa.table({"step": [0] * 10 + [1] * 15 + [2] * 15}), trial / "losses.parquet")
    journal = Journal(trial, None)
    for step, seconds in ((0, 7.0), (1, 1.0), (2, 2.0)):
        journal.write("measure", step, seconds=seconds)
    if generate:
        pq.write_table(pa.table({"step": [2] * 4}), trial / "generations.parquet")
        journal.write("generate", 2, seconds=2.0)
    run = {"hardware": hardware() | (on or {}), "embeddings": [{"trials": ["one"], "rate": 12.5}]}
    (trial.parents[1] / "run.json").write_text(json.dumps(run))
    return Earlier(output)


def timed(found, amounts=AMOUNTS, gpu=None, **sections):
    trial = config(**sections)
    return trial_time(study(), trial, amounts, StoreLookup(found), Earlier(found, gpu), gpu)


def test_a_trial_takes_what_one_took_that_computed_alike_on_such_hardware(tmp_path):
    earlier(tmp_path)
    time = timed(tmp_path, training={"learning_rate": 1e-4})
    # 15 s less 2 in steps and 3 in evaluations; the items of step 0 are measured for all trials.
    assert time.seconds == pytest.approx(10 + 1000 * 0.02 + 40 * 0.1)
    assert (time.evaluating, time.mark) == (pytest.approx(4.0), "~")
    assert "the pace of 1 earlier trials" in time.by
    for other in ({"model": {"adapter": {"type": "lora"}}}, {"training": {"workers": 2}}):
        assert "earlier" not in timed(tmp_path, **other).by


def test_answers_take_what_they_took_before_and_where_none_were_given_their_share(tmp_path):
    earlier(tmp_path / "some", generate=True)
    earlier(tmp_path / "none")
    asks = AMOUNTS.__class__(**{**vars(AMOUNTS), "answered": 8})
    assert timed(tmp_path / "some", asks).evaluating == pytest.approx(40 * 0.1 + 8 * 0.5)
    assert timed(tmp_path / "none", asks).evaluating == pytest.approx(20 / 3)


def test_what_ran_on_other_hardware_tells_nothing_unless_it_is_the_gpu_that_is_asked_for(tmp_path):
    found = earlier(tmp_path, on={"gpus": ["NVIDIA H100 80GB HBM3"]})
    assert found.pace(config(), 1) is None
    assert Earlier(tmp_path, "h100").pace(config(), 1).trials == 1
    assert Earlier(tmp_path, "h10").pace(config(), 1) is None


def test_a_twin_tells_no_pace_and_no_trial_does_whose_ranks_had_other_threads(tmp_path):
    assert earlier(tmp_path / "twin", twin="other").pace(config(), 1) is None
    here = {"gpus": ["H100"], "cores": 8}
    earlier(tmp_path / "two", on=here, at_once=2)
    paces = {n: Earlier(tmp_path / "two", "H100").pace(config(), n) for n in (1, 2, 4)}
    assert [n for n, pace in paces.items() if pace] == [2]
    reserving = config(training={"cpus_per_worker": 2})
    earlier(tmp_path / "reserved", on=here, at_once=2, training={"cpus_per_worker": 2})
    assert Earlier(tmp_path / "reserved", "H100").pace(reserving, 4), "they had two threads each"


def test_by_arithmetic_a_token_costs_six_operations_a_weight_at_the_stated_share_of_a_gpu(tmp_path):
    gpus = {"workers": 2, "gpus_per_worker": 1}
    weights = trained_sizes(config(), StoreLookup(tmp_path)).parameters
    for adapter, each, share in (("none", 6, 0.25), ({"type": "lora"}, 4, 0.4)):
        model = {"adapter": adapter, "precision": "bfloat16"}
        time = timed(tmp_path, gpu="H100", training=gpus, model=model)
        training = each * weights * 1000 / (2 * share * 989e12)
        assert time.seconds == pytest.approx(training / 0.75)  # a quarter is evaluation
        assert time.evaluating == pytest.approx(time.seconds / 4)
        assert time.by == f"{share:.0%} of 989 TFLOP/s (H100)"
    with pytest.raises(ResourceError, match="--gpu H900 is not known: give one of B200, H200"):
        check_gpu("H900")
    for longer in ("L40", "GB200", "A100X"):
        with pytest.raises(ResourceError, match="is not known"):
            check_gpu(longer)
    check_gpu("NVIDIA L40S")
    check_gpu("Tesla_V100-SXM2-16GB")


def test_the_weights_of_a_model_that_is_not_here_are_those_that_its_name_tells(tmp_path):
    assert named_parameters("meta-llama/Llama-2-7b-hf") == 7e9
    assert named_parameters("smollm2-135m") == 135e6
    assert named_parameters("Qwen/Qwen2.5-0.5B") == 0.5e9
    assert named_parameters("owner/model-v2") is None
    assert timed(tmp_path, model={"name": "owner/model-7b"}).by.endswith("by the model's name")
    assert timed(tmp_path, model={"name": "owner/model"}) is None


def test_hours_are_those_of_trials_at_once_and_money_those_of_all_their_gpus():
    times = [Time(3600.0, 900.0, "~", "x"), Time(7200.0, 900.0, "~", "x"), None]
    two = study(max_concurrent=2, parameters={"seed": {"grid": [0, 1]}})
    line = hours_line(two, times, shared=120.0)
    assert line.startswith("~2.0 h for 2 trials, 2 at once with ~2 min before the first, and 1 of")
    assert "17% of it is evaluation; by x" in line
    assert hours_line(two, [], 0.0) == "none: all trials are done"
    assert "--gpu H100" in hours_line(two, [None], 0.0)
    gpus = config(training={"workers": 4, "gpus_per_worker": 1})
    spent = [(gpus, time) for time in times[:2]]
    assert money_line(spent, 0.5, 2.0) == "~25.00 for 12.50 GPU hours at 2 each"
    assert money_line([(config(), times[0])], 0.0, 2.0).startswith("none: no GPU is asked for")


def test_vectors_losses_and_gradients_take_what_they_took_before(tmp_path):
    found, made = earlier(tmp_path), StoreLookup(tmp_path)
    assert found.vector_rate(config(), made) == 12.5
    assert found.vector_rate(config(embedding={"dtype": "bfloat16"}), made) is None
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    model, name = fingerprint(folder), str(folder)
    held_out = {"reader": "builtin", "split": "held_out"}

    def of_tokens(**embedding):
        section = {"model": name, **embedding}
        return config(model={"name": name}, embedding=section, data={"held_out": held_out})

    asked = of_tokens(pooling="gradient")
    assert influence_rate(asked, made) is query_losses_rate(asked, made) is None
    warm_up = build(tmp_path, "warm_up", {"model": model}, lambda _: {})
    paths = build(tmp_path, "target_path", {"model": model}, lambda _: {})
    of_rows = {"vectors": {"warm_up": warm_up.digest}}
    build(tmp_path, "influence", of_rows, lambda _: {"rate": 2.5})
    build(tmp_path, "embeddings", of_rows, lambda _: {"rate": 3.5})
    build(tmp_path, "embeddings", {"vectors": {"paths": paths.digest}}, lambda _: {"rate": 4.5})
    assert influence_rate(asked, made) == 2.5
    for pooling, rate in (("gradient", 3.5), ("path", 4.5)):
        assert found.vector_rate(of_tokens(pooling=pooling), made) == rate
        assert found.vector_rate(of_tokens(pooling=pooling, gpus_per_worker=1), made) is None

    def measure(folder):
        pq.write_table(pa.table({"step": [0] * 30}), folder / "losses.parquet")
        (folder / "result.json").write_text(json.dumps({"seconds": 6.0}))

    build(tmp_path, "query_losses", {"model": model, "gpu": False}, measure)
    assert query_losses_rate(asked, made) == 5.0
