"""Every ZeRO stage and offload computes the same; what cannot be computed is said."""

import math
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

from orchestrator.config.training import Training
from orchestrator.errors import TrainingError
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import Device, init_distributed
from orchestrator.training.engine import build_engine, deepspeed_config, loss_scale, update
from orchestrator.training.loop import TrialRun
from orchestrator.training.masters import fragments, spread
from orchestrator.training.step import FedBatch, Feeder
from orchestrator.training.tokens import Tokens
from tests.training.engines import BFLOAT16, FLOAT32, IDS, tiny, train

pytestmark = pytest.mark.slow

PLAIN = {"learning_rate": 1e-3, "clip": 0.5}


@pytest.fixture(scope="module")
def by_hand():
    """The same steps in plain torch."""
    model = tiny()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
    )
    losses, norms = [], []
    for _ in range(3):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms


@pytest.mark.parametrize(
    ("zero_stage", "offload"),
    [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (1, "optimizer"), (2, "optimizer"),
     (3, "optimizer"), (3, "parameters")],
)  # fmt: skip
def test_every_stage_and_offload_trains_as_plain_torch_does(by_hand, zero_stage, offload):
    training = Training(**PLAIN, zero_stage=zero_stage, offload=offload)
    losses, norms, _ = train(training)
    assert losses == pytest.approx(by_hand[0], abs=1e-5)
    assert norms == pytest.approx(by_hand[1], rel=1e-4)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_only_what_requires_a_gradient_is_trained_and_has_states(zero_stage):
    torch.manual_seed(0)
    model = peft.get_peft_model(tiny(), peft.LoraConfig(r=4, target_modules="all-linear"))
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    losses, _, engine = train(Training(learning_rate=1e-2, zero_stage=zero_stage), model=model)
    assert losses[-1] < losses[0]
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    states = sum(state["exp_avg"].numel() for state in optimizer.state.values())
    assert adapter <= states < adapter + 1000  # padded partitions


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_bfloat16_follows_plain_torch_in_float32(by_hand, zero_stage):
    """Gradients are summed once each, and the first step is Adam's first."""
    losses, norms, _ = train(Training(**PLAIN, zero_stage=zero_stage), BFLOAT16)
    assert losses == pytest.approx(by_hand[0], abs=0.02)
    assert norms == pytest.approx(by_hand[1], rel=0.02)


def test_stage_0_in_bfloat16_trains_as_stage_1_does():
    decayed = {**PLAIN, "weight_decay": 0.1}
    first, second = (train(Training(**decayed, zero_stage=stage), BFLOAT16) for stage in (0, 1))
    assert first[:2] == second[:2]


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_bfloat16_weights_have_masters_that_keep_a_step_far_below_their_spacing(zero_stage):
    from deepspeed.utils import safe_get_full_fp32_param

    training = Training(learning_rate=1e-6, schedule="constant", zero_stage=zero_stage)
    _, _, engine = train(training, BFLOAT16, steps=1)
    untouched = dict(tiny(torch.bfloat16).named_parameters())
    for name, parameter in engine.module.named_parameters():
        master = safe_get_full_fp32_param(parameter)
        start = spread(untouched[name].detach().view(-1), name, 0, seed=0).view(master.shape)
        moved = float((master.detach() - start).abs().max())
        assert moved == pytest.approx(1e-6, rel=0.2), name


@pytest.mark.parametrize("offload", ["none", "optimizer"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_an_adapters_masters_are_what_was_drawn_and_its_weights_their_rounding(zero_stage, offload):
    if zero_stage == 0 and offload == "optimizer":
        pytest.skip("there is nothing to be offloaded without partitions")
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=4, target_modules="all-linear")
    model = peft.get_peft_model(tiny(torch.bfloat16), lora, autocast_adapter_dtype=True)
    drawn = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape)
            drawn[name] = parameter.detach().clone()
    init_distributed(gpu=False)
    training = Training(zero_stage=zero_stage, offload=offload)
    parts = list(fragments(build_engine(model, training, BFLOAT16, seed=0)))
    assert [part.name for part in parts] == list(drawn)
    for part in parts:
        assert torch.equal(part.master, drawn[part.name].view(-1)), part.name
        assert torch.equal(part.working, drawn[part.name].view(-1).bfloat16()), part.name


@pytest.mark.scenario("not-finite")
@pytest.mark.parametrize("device", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_gradient_that_is_not_finite_is_an_error(device, zero_stage):
    training = Training(**PLAIN, zero_stage=zero_stage)
    _, norms, engine = train(training, device, steps=1)
    assert math.isfinite(norms[0])
    engine.set_gradient_accumulation_boundary(True)
    loss = engine(input_ids=IDS, labels=IDS, use_cache=False).loss
    engine.backward(loss * math.inf, scale_wrt_gas=False)
    with pytest.raises(FloatingPointError, match="the norm of the gradient is"):
        update(engine, training, device, 1e-3)


@pytest.mark.scenario("not-finite")
@pytest.mark.parametrize("zero_stage", [0, 2])
def test_a_loss_that_is_not_finite_changes_no_weight(zero_stage):
    """Its gradients are there already when the loss of the global batch is known."""
    training = Training(**PLAIN, zero_stage=zero_stage)
    _, _, engine = train(training, steps=1)
    before = [weights.clone() for weights in engine.module.parameters()]

    class Infinite:
        def feed(self, step, rows):
            engine.set_gradient_accumulation_boundary(True)
            loss = engine(input_ids=IDS, labels=IDS, use_cache=False).loss * math.inf
            engine.backward(loss, scale_wrt_gas=False)
            return FedBatch(float(loss.detach()), 96, 1.0, rows.tolist(), 0)

    run = TrialRun.__new__(TrialRun)  # but for what takes a step it needs a study
    run.spec = SimpleNamespace(config=SimpleNamespace(training=training))
    run.engine, run.device, run.feeder = engine, FLOAT32, Infinite()
    with pytest.raises(TrainingError, match=r"step 2: .* is inf\. Nothing was updated\. Rows \[0"):
        run._try_step(2, np.arange(4), 1e-3)
    assert all(map(torch.equal, before, engine.module.parameters()))


@pytest.mark.scenario("bad-records")
def test_a_global_batch_of_rows_without_answers_ends_the_trial_with_their_numbers(tmp_path):
    init_distributed(gpu=False)
    nothing = np.zeros(6, np.bool_)
    tokens = Tokens(np.arange(6, dtype=np.int32), nothing, np.array([0, 2, 4, 6]))
    config = SimpleNamespace(training=Training(**PLAIN), model=SimpleNamespace(max_length=2))
    budget = TokenBudget(tmp_path, "", "training", 100)
    feeder = Feeder(None, tokens, config, FLOAT32.torch_device, budget, packed=True)
    told = r"step 7: no row has an answer left within model\.max_length = 2 .* Rows \[2, 0\]"
    with pytest.raises(TrainingError, match=told):
        feeder.feed(7, np.array([2, 0]))


@pytest.mark.scenario("not-finite")
def test_a_gradient_that_overflows_float16_at_the_lowest_scale_is_an_error(monkeypatch):
    monkeypatch.setattr(CPU_Accelerator, "is_fp16_supported", lambda self: True)
    training = Training(**PLAIN, deepspeed={"fp16": {"initial_scale_power": 1}})
    device = Device(torch.device("cpu"), torch.float16)
    _, _, engine = train(training, device, steps=1)
    engine.set_gradient_accumulation_boundary(True)
    for scale in (2, 1):
        assert loss_scale(engine) == scale
        loss = engine(input_ids=IDS, labels=IDS, use_cache=False).loss
        engine.backward(loss * math.inf, scale_wrt_gas=False)
        if scale > 1:
            assert update(engine, training, device, 1e-3) is None
    with pytest.raises(FloatingPointError, match="is nan at the loss scale 1"):
        update(engine, training, device, 1e-3)


def test_deepspeeds_own_keys_are_merged_at_every_depth():
    extra = {"zero_optimization": {"reduce_bucket_size": 1000, "offload_optimizer": {"ratio": 0.5}}}
    training = Training(zero_stage=2, offload="optimizer", deepspeed=extra)
    config = deepspeed_config(training, FLOAT32)
    assert config["zero_optimization"] == {
        "stage": 2,
        "overlap_comm": False,
        "reduce_bucket_size": 1000,
        "offload_optimizer": {"device": "cpu", "pin_memory": False, "ratio": 0.5},
    }
    assert training.deepspeed == extra
    assert config["zero_force_ds_cpu_optimizer"] is False


@pytest.mark.parametrize("pinned", [False, True])
def test_offloaded_states_are_pinned_where_their_exact_size_can_be_locked(pinned):
    gpu = Device(torch.device("cuda"), torch.bfloat16, pinned)
    zero = deepspeed_config(Training(zero_stage=3, offload="parameters"), gpu)["zero_optimization"]
    assert zero["offload_optimizer"] == {"device": "cpu", "pin_memory": pinned}
    assert zero["offload_param"] == {"device": "cpu", "pin_memory": True}


@pytest.mark.parametrize(
    ("training", "overlap"),
    [
        ({"zero_stage": 2, "workers": 2}, True),
        ({"zero_stage": 2}, False),
        ({"zero_stage": 1, "workers": 2}, False),
        ({"zero_stage": 2, "workers": 2, "offload": "optimizer"}, False),
        ({"zero_stage": 2, "workers": 2,
          "deepspeed": {"zero_optimization": {"overlap_comm": False}}}, False),
    ],
)  # fmt: skip
def test_several_ranks_sum_gradients_during_the_backward_pass(training, overlap):
    zero = deepspeed_config(Training(**training), BFLOAT16)["zero_optimization"]
    assert zero["overlap_comm"] == overlap
