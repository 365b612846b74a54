"""In 16 bits a model learns what it learns in float32, whatever it is sharded over."""

from collections import Counter
from functools import partial

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessExitedException

from orchestrator.training import engine, loop, masters, start
from orchestrator.training.journal import read_journal
from orchestrator.training.masters import fragments, spread
from orchestrator.training.outcome import read_outcome
from tests.training.launch import allow_float16, die, launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:20]
LORA = {"type": "lora", "r": 4}
# Half the spacing of bfloat16 at the model's weights is 3e-5 to 6e-5: ten steps come that far.
FULL = {"adapter": "none", "learning_rate": 4e-6}
ADAPTED = {"adapter": LORA, "learning_rate": 5e-5}
# How far a mean test loss may be from that in float32, as a part of what float32 learns in all.
BAND = 0.1
# A tiny model is never partitioned otherwise.
PARTITIONED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}


def make(make_spec, name, precision, adapter="none", **training):
    return make_spec(
        ROWS,
        name,
        model={"precision": precision, "adapter": adapter},
        training={"global_batch": 2, "schedule": "constant"} | training,
        evaluation={"every": 2},
    )


def curve(spec):
    """Mean query losses of the evaluated steps."""
    table = pq.read_table(spec.folder / "losses.parquet")
    table = table.filter(pc.equal(table["set"], "query"))
    means = table.group_by("step").aggregate([("loss", "mean")]).sort_by("step")
    return means["loss_mean"].to_numpy()


def column(spec, name):
    return pq.read_table(spec.folder / "train_log.parquet")[name].to_numpy()


@pytest.fixture(scope="module")
def reference(make_module_spec):
    """The curves in float32."""
    specs = {kind: make(make_module_spec, kind, "float32", **settings) for kind, settings in KINDS}
    launch(*specs.values())
    return {kind: curve(spec) for kind, spec in specs.items()}


KINDS = [("full", FULL), ("adapted", ADAPTED)]


# ZeRO 3 last: it leaves its mark on the process.
STAGES = {
    "1": {"zero_stage": 0},
    "2": {"zero_stage": 2},
    "3": {"zero_stage": 3, "deepspeed": PARTITIONED},
    "3-persistent": {"zero_stage": 3},
}


def farthest(spec, whole):
    """How far a curve is from that in float32 at most, as a part of what float32 learns."""
    drop = whole[0] - whole[-1]
    assert drop > 0.004, "there is something to be learned"
    return float(np.abs(curve(spec) - whole).max() / drop)


@pytest.mark.parametrize("ranks", [1, 2])
def test_bfloat16_stays_beside_float32_at_every_evaluated_step(make_spec, reference, ranks):
    specs = {
        (kind, stage): make(make_spec, f"{kind}-{stage}", "bfloat16", **settings, **sharding)
        for stage, sharding in STAGES.items()
        for kind, settings in KINDS
    }
    launch(*specs.values(), ranks=ranks)
    for (kind, stage), spec in specs.items():
        assert farthest(spec, reference[kind]) < BAND, f"{kind}, ZeRO {stage}"
        fidelity = column(spec, "update_fidelity")
        assert np.nanmin(fidelity) > 0.9
        assert np.isnan(fidelity).sum() == np.isnan(column(spec, "changed_weights")).sum() == 5


def centred(_rank):
    """Masters that start as copies of the working weights, as elsewhere."""
    masters.spread = lambda working, *_: working.float()


def test_with_masters_in_the_middle_of_their_intervals_it_would_not(make_spec, reference):
    spec = make(make_spec, "centred", "bfloat16", **FULL)
    launch(spec, prepare=centred)
    assert farthest(spec, reference["full"]) > 3 * BAND
    assert np.nanmin(column(spec, "update_fidelity")) < 0.5


@pytest.mark.parametrize(("ranks", "kind", "stage"), [(1, "full", "1"), (2, "adapted", "3")])
def test_so_does_a_trial_that_was_killed_and_resumed(make_spec, reference, ranks, kind, stage):
    settings = dict(KINDS)[kind] | STAGES[stage] | {"checkpoint": {"every": 4}}
    spec = make(make_spec, "killed", "bfloat16", **settings)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launch(spec, ranks=ranks, prepare=die_in_step_6)
    launch(spec, ranks=ranks)
    assert [event["step"] for event in read_journal(spec.folder) if event["event"] == "resume"]
    assert farthest(spec, reference[kind]) < BAND


def start_of(rank, to):
    """Keep the masters and working weights that each rank holds at step 0."""
    real = start.build_engine

    def build_engine(model, training, *others):
        built = real(model, training, *others)
        name = f"{training.zero_stage}-{training.offload}-{bool(training.deepspeed)}"
        parts = [(p.name, p.first, p.master.clone(), p.working.clone()) for p in fragments(built)]
        torch.save(parts, to / f"{name}-{rank}.pt")
        return built

    start.build_engine = build_engine


@pytest.mark.parametrize("ranks", [1, 2])
def test_seed_name_and_element_alone_place_a_master(make_spec, shared, tmp_path, ranks):
    offloads = [{"offload": "none"}, {"offload": "optimizer"}]
    settings = [STAGES["1"], *(STAGES[s] | o for s in ("2", "3", "3-persistent") for o in offloads)]
    settings.append(STAGES["3"] | {"offload": "parameters"})
    launch(
        *(make(make_spec, str(i), "bfloat16", **s, max_steps=1) for i, s in enumerate(settings)),
        ranks=ranks,
        prepare=partial(start_of, to=tmp_path),
    )
    file = load_file(shared.model / "model.safetensors")
    saved = sorted(tmp_path.glob("*.pt"))
    assert len(saved) == ranks * len(settings)
    covered = Counter()
    for path in saved:
        for name, first, master, working in torch.load(path):
            weights = file[name].view(-1).bfloat16()
            place = slice(first, first + len(master))
            assert torch.equal(working, weights[place]), (path.name, name)
            assert torch.equal(master, spread(weights, name, 0, 0)[place]), (path.name, name)
            covered[path.name.rpartition("-")[0]] += len(master)
    assert set(covered.values()) == {sum(weights.numel() for weights in file.values())}


def sums_of(rank, to):
    """Keep the gradients that Adam is given in the first step."""
    allow_float16(rank)
    real = start.build_engine

    def build_engine(model, training, *others):
        built, seen = real(model, training, *others), []

        def hook(optimizer, *_):
            groups = [group["params"] for group in optimizer.param_groups]
            seen.extend(p.grad.clone().view(-1) for group in groups for p in group)
            if dist.get_rank() == 0:
                torch.save(torch.cat(seen), to / f"{training.zero_stage}-{training.offload}.pt")

        getattr(built.optimizer, "optimizer", built.optimizer).register_step_pre_hook(hook)
        return built

    start.build_engine = build_engine


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(("ranks", "budget"), [(1, 60), (2, 4096)])
def test_sums_of_16_bit_gradients_are_not_rounded_to_16_bits(
    make_spec, tmp_path, ranks, budget, precision
):
    """Neither over micro-batches nor over ranks; as rounded ones, all would be exact."""
    settings = [(0, "none"), (2, "none"), (2, "optimizer"), (3, "none"), (3, "optimizer")]
    specs = [
        make(
            make_spec, f"{stage}-{offload}", precision, **FULL, max_steps=1, clip=None,
            zero_stage=stage, offload=offload, micro_batch_tokens=budget,
        )
        for stage, offload in settings
    ]  # fmt: skip
    launch(*specs, ranks=ranks, prepare=partial(sums_of, to=tmp_path))
    for stage, offload in settings:
        sums = torch.load(tmp_path / f"{stage}-{offload}.pt")
        sums = sums[sums != 0]
        exact = (sums.to(getattr(torch, precision)).float() == sums).double().mean()
        assert exact < 0.7, f"ZeRO {stage}, offload {offload}"


def start_at(power, **training):
    scaling = {"fp16": {"initial_scale_power": power}}
    return {**FULL, **training, "deepspeed": scaling | training.get("deepspeed", {})}


def grow_every_3_steps(rank):
    allow_float16(rank)
    engine.SOUND_STEPS = 3


def overflows(spec):
    """Step and new loss scale of each."""
    events = read_journal(spec.folder)
    return [(e["step"], e["loss_scale"]) for e in events if e["event"] == "overflow"]


@pytest.mark.parametrize(
    ("ranks", "stage", "offload"),
    [(1, 0, "none"), (1, 2, "optimizer"), (2, 2, "none"), (2, 3, "none"), (2, 3, "optimizer")],
)
def test_a_step_that_overflows_float16_is_told_and_repeated(
    make_spec, reference, ranks, stage, offload
):
    high, low = (
        make(make_spec, name, "float16", **start_at(power, zero_stage=stage, offload=offload))
        for name, power in (("high", 30), ("low", 8))
    )
    launch(high, low, ranks=ranks, prepare=allow_float16)
    told = overflows(high)
    assert len(told) > 5
    assert [scale for _, scale in told] == [2.0 ** (29 - i) for i in range(len(told))]
    steps = [step for step, _ in told]
    assert column(high, "overflows").tolist() == [steps.count(step) for step in range(1, 11)]
    assert not overflows(low)
    certificates = [
        read_outcome(spec.folder, spec.key).result["order_sha256"] for spec in (high, low)
    ]
    assert certificates[0] == certificates[1]
    for spec in (high, low):
        assert farthest(spec, reference["full"]) < BAND
        assert np.nanmin(column(spec, "update_fidelity")) > 0.9


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_loss_scale_that_grows_changes_no_gradient(make_spec, stage):
    """At the step where it grows, DeepSpeed itself would halve the gradient."""
    growing, still = (
        make(make_spec, name, "float16", zero_stage=stage, **settings)
        for name, settings in (("growing", start_at(4)), ("still", FULL | {"loss_scale": 256}))
    )
    launch(growing, still, prepare=grow_every_3_steps)
    assert column(growing, "loss_scale").tolist() == [16, 16, 32, 32, 32, 64, 64, 64, 128, 128]
    assert column(still, "loss_scale").tolist() == [256] * 10
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(column(growing, name), column(still, name), rtol=0.02)


def test_the_loss_scale_of_float16_is_part_of_a_checkpoint(make_spec):
    checkpoint = {"checkpoint": {"every": 4, "keep": 1}}
    whole, killed = (
        make(make_spec, name, "float16", **start_at(30, **checkpoint))
        for name in ("whole", "killed")
    )
    launch(whole, prepare=allow_float16)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
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
        norm = real(*args)
        update.steps += norm is not None
        if update.steps == 6:
            die()
        return norm

    update.steps = 0
    loop.update = update


def test_a_step_that_overflows_at_a_fixed_loss_scale_is_repeated_with_less(make_spec):
    spec = make(make_spec, "fixed", "float16", **FULL, loss_scale=2.0**24, max_steps=3)
    launch(spec, prepare=allow_float16)
    assert column(spec, "overflows").min() > 0
    assert column(spec, "loss_scale").tolist() == [2.0**24] * 3
    assert next(scale for step, scale in overflows(spec) if step == 2) == 2.0**23
