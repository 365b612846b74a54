"""In 16 bits a model learns what it learns in float32, whatever it is sharded over."""

from functools import partial

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist

from orchestrator.training import loop
from orchestrator.training.record import read_journal, read_result
from tests.training.launch import allow_float16, die, launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:20]
LORA = {"type": "lora", "r": 4}
# Half the spacing of bfloat16 at the model's weights is 6e-5: a step moves them by a third of it.
FULL = {"adapter": "none", "learning_rate": 2e-5}
ADAPTED = {"adapter": LORA, "learning_rate": 2e-4}
# How far a mean test loss may be from that in float32, as a part of what float32 learns in all.
BAND = 0.1
# A tiny model is never partitioned otherwise.
PARTITIONED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}


def make(make_job, name, precision, adapter="none", **training):
    stage_3 = training.get("zero_stage") == 3
    return make_job(
        ROWS,
        name,
        model={"precision": precision, "adapter": adapter},
        training={"global_batch": 2, "schedule": "constant"}
        | ({"deepspeed": PARTITIONED} if stage_3 else {})
        | training,
        evaluation={"every": 2},
    )


def curve(job):
    """Mean query losses of the evaluated steps."""
    table = pq.read_table(job.folder / "losses.parquet")
    table = table.filter(pc.equal(table["set"], "query"))
    means = table.group_by("step").aggregate([("loss", "mean")]).sort_by("step")
    return means["loss_mean"].to_numpy()


def column(job, name):
    return pq.read_table(job.folder / "train_log.parquet")[name].to_numpy()


@pytest.fixture(scope="module")
def reference(make_module_job):
    """The curves in float32."""
    jobs = {kind: make(make_module_job, kind, "float32", **settings) for kind, settings in KINDS}
    launch(*jobs.values())
    return {kind: curve(job) for kind, job in jobs.items()}


KINDS = [("full", FULL), ("adapted", ADAPTED)]


@pytest.mark.parametrize("ranks", [1, 2])
def test_bfloat16_stays_beside_float32_at_every_evaluated_step(make_job, reference, ranks):
    jobs = {
        (kind, stage): make(make_job, f"{kind}-{stage}", "bfloat16", zero_stage=stage, **settings)
        for stage in (0, 2, 3)  # the last one for good: it leaves its mark on the process
        for kind, settings in KINDS
    }
    launch(*jobs.values(), ranks=ranks)
    for (kind, stage), job in jobs.items():
        whole = reference[kind]
        drop = whole[0] - whole[-1]
        assert drop > 0.01, "there is something to be learned"
        np.testing.assert_allclose(
            curve(job), whole, rtol=0, atol=BAND * drop, err_msg=f"{kind}, ZeRO {stage}"
        )
        fidelity = column(job, "update_fidelity")
        assert np.nanmin(fidelity) > 0.9
        assert np.isnan(fidelity).sum() == np.isnan(column(job, "changed_weights")).sum() == 5


def sums_of(rank, to):
    """Keep the gradients that Adam is given in the first step."""
    real = loop.build_engine

    def build_engine(model, training, *others):
        engine, seen = real(model, training, *others), []

        def hook(optimizer, *_):
            groups = [group["params"] for group in optimizer.param_groups]
            seen.extend(p.grad.clone().view(-1) for group in groups for p in group)
            if dist.get_rank() == 0:
                torch.save(torch.cat(seen), to / f"{training.zero_stage}-{training.offload}.pt")

        getattr(engine.optimizer, "optimizer", engine.optimizer).register_step_pre_hook(hook)
        return engine

    loop.build_engine = build_engine


@pytest.mark.parametrize(("ranks", "budget"), [(1, 60), (2, 4096)])
def test_sums_of_bfloat16_gradients_are_not_rounded_to_bfloat16(make_job, tmp_path, ranks, budget):
    """Neither over micro-batches nor over ranks; as rounded ones, all would be exact."""
    settings = [(0, "none"), (2, "none"), (2, "optimizer"), (3, "none"), (3, "optimizer")]
    jobs = [
        make(
            make_job, f"{stage}-{offload}", "bfloat16", **FULL, max_steps=1, clip=None,
            zero_stage=stage, offload=offload, micro_batch_tokens=budget,
        )
        for stage, offload in settings
    ]  # fmt: skip
    launch(*jobs, ranks=ranks, prepare=partial(sums_of, to=tmp_path))
    for stage, offload in settings:
        sums = torch.load(tmp_path / f"{stage}-{offload}.pt")
        sums = sums[sums != 0]
        exact = (sums.bfloat16().float() == sums).double().mean()
        assert exact < 0.7, f"ZeRO {stage}, offload {offload}"


def start_at(power, **training):
    scaling = {"fp16": {"initial_scale_power": power}}
    return {**FULL, **training, "deepspeed": scaling | training.get("deepspeed", {})}


def overflows(job):
    """Step and new loss scale of each."""
    events = read_journal(job.folder)
    return [(e["step"], e["loss_scale"]) for e in events if e["event"] == "overflow"]


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 2), (2, 3)])
def test_a_step_that_overflows_float16_is_told_and_repeated(make_job, reference, ranks, stage):
    high, low = (
        make(make_job, name, "float16", **start_at(power, zero_stage=stage))
        for name, power in (("high", 30), ("low", 8))
    )
    launch(high, low, ranks=ranks, prepare=allow_float16)
    told = overflows(high)
    assert len(told) > 5
    assert [scale for _, scale in told] == [2.0 ** (29 - i) for i in range(len(told))]
    steps = [step for step, _ in told]
    assert column(high, "overflows").tolist() == [steps.count(step) for step in range(1, 11)]
    assert not overflows(low)
    certificates = [read_result(job.folder, job.key)["order_sha256"] for job in (high, low)]
    assert certificates[0] == certificates[1]
    drop = reference["full"][0] - reference["full"][-1]
    for job in (high, low):
        np.testing.assert_allclose(curve(job), reference["full"], rtol=0, atol=BAND * drop)
        assert np.nanmin(column(job, "update_fidelity")) > 0.9


def test_the_loss_scale_of_float16_is_part_of_a_checkpoint(make_job):
    checkpoint = {"checkpoint": {"every": 4, "keep": 1}}
    whole, killed = (
        make(make_job, name, "float16", **start_at(30, **checkpoint))
        for name in ("whole", "killed")
    )
    launch(whole, prepare=allow_float16)
    with pytest.raises(Exception, match="SIGKILL"):
        launch(killed, prepare=die_in_step_6)
    launch(killed, prepare=allow_float16)
    assert [event["step"] for event in read_journal(killed.folder) if event["event"] == "resume"]
    assert curve(killed).tolist() == curve(whole).tolist()
    assert overflows(killed) == overflows(whole), "none after the resume, at the scale of before"
    assert column(killed, "overflows").tolist() == column(whole, "overflows").tolist()


def die_in_step_6(rank):
    allow_float16(rank)
    real = loop.update

    def update(*args):
        update.calls += 1
        applied = real(*args)
        if applied is not None:
            update.steps += 1
        if update.steps == 6:
            die()
        return applied

    update.calls = update.steps = 0
    loop.update = update


def test_a_fixed_loss_scale_that_is_too_high_is_named(make_job):
    job = make(make_job, "high", "float16", **FULL, loss_scale=2.0**30)
    with pytest.raises(
        Exception, match=r"step 1: the norm of the gradient is .* at the loss scale"
    ):
        launch(job, prepare=allow_float16)
