"""The plan's bytes are those of real models and engines, and its advice makes a trial fit."""

from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from orchestrator.config import load_study
from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Lora
from orchestrator.errors import ResourceError
from orchestrator.estimate.rank import changed, check_partition, memory_of_rank
from orchestrator.estimate.room import MachineMemory, check_memory, machine_memory, smallest_change
from orchestrator.estimate.shapes import model_sizes
from orchestrator.models.presets import preset_config
from orchestrator.trials import expand
from tests.training.engines import BFLOAT16, FLOAT32, train

DATA = {
    "pool": {"reader": "builtin", "split": "pool"},
    "query": {"reader": "builtin", "split": "query"},
}
GIGABYTE = 10**9
GPU = 80 * GIGABYTE  # sold as one of 80 GB
HOST = 128 * GIGABYTE


def trial(model=(), **training):
    return TrialConfig.model_validate({"data": DATA, "model": dict(model), "training": training})


def sizes_of(config, folder):
    config.save_pretrained(folder)
    return model_sizes(folder)


def planned(sizes, **settings):
    return partial(memory_of_rank, sizes=sizes, precision="bfloat16", **settings)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return sizes_of(preset_config("tiny-llama"), tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llama2_7b(tmp_path_factory):
    return sizes_of(preset_config("llama-2-7b"), tmp_path_factory.mktemp("llama"))


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 2])
def test_weights_and_states_are_those_of_a_real_engine(tiny, zero_stage):
    config = trial(zero_stage=zero_stage)
    _, _, engine = train(config.training, FLOAT32, steps=1)
    plan = memory_of_rank(config, tiny, "float32")
    assert plan.weights == sum(p.numel() * 4 for p in engine.module.parameters())
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    states = sum(
        tensor.nbytes
        for state in optimizer.state.values()
        for tensor in state.values()
        if tensor.ndim
    )
    masters = (
        sum(p.nbytes for g in optimizer.param_groups for p in g["params"]) if zero_stage else 0
    )
    assert plan.optimizer == pytest.approx(states + masters, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("device", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_what_is_offloaded_is_what_deepspeed_keeps_on_the_host(tiny, zero_stage, device):
    config = trial(zero_stage=zero_stage, offload="optimizer", gpus_per_worker=1)
    _, _, engine = train(config.training, device, steps=1)
    optimizer = engine.optimizer
    if zero_stage == 3:
        masters, sums = optimizer.fp32_partitioned_groups_flat, [
            optimizer.grad_partitions_flat_buffer
        ]  # fmt: skip
    else:
        masters = optimizer.single_partition_of_fp32_groups
        sums = list(optimizer.accumulated_grads_in_cpu.values())
        sums += optimizer.param_buffer_of_bit16_for_cpu_offload_groups
        on_device = optimizer._use_compact_grad_partition_buffer(0)
        plan = memory_of_rank(config, tiny, device.precision)
        assert plan.gradients == (4 * tiny.parameters if on_device else 0)
    states = [t for state in optimizer.optimizer.state.values() for t in state.values() if t.ndim]
    kept = [*masters, *(master.grad for master in masters), *sums, *states]
    plan = memory_of_rank(config, tiny, device.precision)
    assert plan.host == pytest.approx(sum(tensor.nbytes for tensor in kept), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("hidden", "intermediate", "keys"), [(64, 128, 2), (256, 688, 4)])
def test_activations_are_those_that_autograd_keeps(
    tmp_path, dtype, checkpointing, hidden, intermediate, keys
):
    """Between a tenth less and a tenth more for each layer that is added."""
    tokens, kept = 256, {}
    precision = "bfloat16" if dtype == torch.bfloat16 else "float32"
    settings = {"max_length": tokens, "gradient_checkpointing": checkpointing}
    for layers in (2, 6):
        config = preset_config("tiny-llama")
        config.update({"hidden_size": hidden, "intermediate_size": intermediate,
                       "num_hidden_layers": layers, "num_key_value_heads": keys,
                       "head_dim": hidden // 4})  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        sizes = sizes_of(config, tmp_path / str(layers))
        plan = memory_of_rank(trial(settings, micro_batch_tokens=tokens), sizes, precision)
        kept[layers] = saved_bytes(model, tokens, checkpointing), plan.activations
    real, planned = (after - before for before, after in zip(kept[2], kept[6], strict=True))
    assert 0.9 < planned / real < 1.1


def saved_bytes(model, tokens, checkpointing):
    """Bytes that the forward pass of one row keeps for the backward pass, weights left out."""
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.model(input_ids=torch.full((1, tokens), 7), use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in saved.items() if at not in weights)


def test_7b_in_full_needs_18_bytes_a_weight_before_activations(llama2_7b):
    assert llama2_7b.parameters == 6_738_415_616
    plan = memory_of_rank(trial(zero_stage=2, gpus_per_worker=1), llama2_7b, "bfloat16")
    assert plan.weights + plan.gradients + plan.optimizer == 18 * llama2_7b.parameters


def test_7b_in_full_with_8_bit_states_does_not_fit_80_gigabytes(llama2_7b):
    config = trial(
        {"gradient_checkpointing": True}, zero_stage=2, gpus_per_worker=1, optimizer="adamw_8bit"
    )
    plan = planned(llama2_7b)(config)
    assert plan.weights + plan.gradients + plan.optimizer == 12 * llama2_7b.parameters
    assert plan.device > GPU


@given(
    stage=st.sampled_from([0, 1, 2, 3]),
    workers=st.sampled_from([1, 2, 8]),
    precision=st.sampled_from(["float32", "bfloat16"]),
    lora=st.booleans(),
)
def test_no_option_that_saves_memory_costs_any(tiny, stage, workers, precision, lora):
    adapter = {"adapter": {"type": "lora"}} if lora else {}
    config = trial(adapter, zero_stage=stage, workers=workers, gpus_per_worker=1)
    plan = memory_of_rank(config, tiny, precision)
    for change in (
        {"model.gradient_checkpointing": True},
        {"training.micro_batch_tokens": 1024},
        {"training.zero_stage": max(stage, 1), "training.offload": "optimizer"},
    ):
        other = memory_of_rank(changed(config, change), tiny, precision)
        assert other.activations <= plan.activations
        assert other.weights + other.optimizer + other.gradients <= (
            plan.weights + plan.optimizer + plan.gradients + 4 * tiny.parameters * (stage == 0)
        )


def test_stage_0_in_bfloat16_is_planned_as_stage_1(tiny):
    stages = (trial(zero_stage=stage, gpus_per_worker=1) for stage in (0, 1))
    first, second = (memory_of_rank(config, tiny, "bfloat16") for config in stages)
    assert first == second


@pytest.mark.parametrize(
    ("stage", "told", "bytes_each"),
    [(1, {}, 4), (2, {}, 6), (2, {"communication_data_type": "bf16"}, 2)],
)
def test_a_bucket_is_planned_with_the_copy_that_is_reduced(tiny, stage, told, bytes_each):
    config = trial(zero_stage=stage, deepspeed=told)
    assert memory_of_rank(config, tiny, "bfloat16").buffers == bytes_each * tiny.parameters


@pytest.mark.parametrize(("workers", "overlap"), [(1, {}), (2, {}), (2, {"overlap_comm": False})])
def test_a_gpu_holds_whole_buckets_and_two_where_sums_overlap(tiny, workers, overlap):
    zero = {"zero_optimization": overlap}
    config = trial(zero_stage=2, workers=workers, gpus_per_worker=1, deepspeed=zero)
    buckets = 2 if workers == 2 and not overlap else 1
    plan = memory_of_rank(config, tiny, "bfloat16")
    assert plan.buffers == buckets * 2 * 500_000_000 + 4 * tiny.parameters


def test_offload_that_cannot_be_locked_is_told(llama2_7b):
    config = trial(
        {"gradient_checkpointing": True}, gpus_per_worker=1, zero_stage=2, offload="optimizer"
    )
    lines = [
        check_memory(config, planned(llama2_7b), MachineMemory(GPU, 2 * HOST, 1, locks))
        for locks in (True, False)
    ]
    assert ["ulimit -l" in line for line in lines] == [False, True]


@pytest.mark.parametrize(("zero_stage", "workers"), [(1, 1), (2, 3), (0, 2), (3, 1)])
def test_8_bit_states_of_more_weights_than_it_counts_are_refused(llama2_7b, zero_stage, workers):
    large = {"zero_optimization": {"sub_group_size": 1e10}} if zero_stage == 3 else {}
    config = trial(optimizer="adamw_8bit", zero_stage=zero_stage, workers=workers, deepspeed=large)
    with pytest.raises(ResourceError, match=r"to 3 without sub_group_size, training.workers to 4"):
        check_partition(config, llama2_7b, "bfloat16")


@pytest.mark.parametrize(
    ("precision", "training", "model"),
    [
        ("bfloat16", {"zero_stage": 3}, {}),  # in parts of at most 1e9
        ("bfloat16", {"zero_stage": 2, "workers": 4}, {}),
        ("float32", {"zero_stage": 0}, {}),  # a tensor a parameter
        ("bfloat16", {"zero_stage": 2}, {"adapter": {"type": "lora"}}),
        ("bfloat16", {"zero_stage": 2, "optimizer": "adamw"}, {}),
    ],
)
def test_what_an_optimizer_counts_is_let_through(llama2_7b, precision, training, model):
    check_partition(trial(model, **{"optimizer": "adamw_8bit"} | training), llama2_7b, precision)


def test_a_reward_model_is_there_beside_the_weights(llama2_7b):
    config = trial(gpus_per_worker=1)
    without, scored = (planned(llama2_7b, reward_parameters=n)(config) for n in (0, 13 * 10**9))
    assert scored.device - without.device == 26 * 10**9
    assert "reward model 26.0" in str(scored)


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        ({"adapter": {"type": "lora"}}, 30 * GIGABYTE, {"model.gradient_checkpointing": True}),
        ({"gradient_checkpointing": True}, GPU,
         {"training.zero_stage": 2, "training.offload": "optimizer"}),
    ],
)  # fmt: skip
def test_the_advice_is_one_change_and_makes_it_fit(llama2_7b, settings, device, expected):
    config, plan = trial(settings, gpus_per_worker=1), planned(llama2_7b)
    room = MachineMemory(device, HOST, ranks=1)
    assert not room.holds(plan(config))
    assert smallest_change(config, plan, room) == expected
    assert room.holds(plan(changed(config, expected)))


def test_several_changes_are_advised_where_one_is_not_enough(llama2_7b):
    config = trial({"max_length": 1024}, gpus_per_worker=1, micro_batch_tokens=16384)
    room = MachineMemory(40 * GIGABYTE, 200 * GIGABYTE, ranks=1)
    change = smallest_change(config, planned(llama2_7b), room)
    assert {"model.gradient_checkpointing", "training.offload"} <= set(change)
    line = check_memory(config, planned(llama2_7b), room)
    assert "which is too little: set model.gradient_checkpointing: true" in line


def test_offload_is_not_advised_where_the_host_cannot_hold_it(llama2_7b):
    config = trial({"gradient_checkpointing": True}, gpus_per_worker=1)
    change = smallest_change(config, planned(llama2_7b), MachineMemory(GPU, HOST // 2, ranks=1))
    assert change == {"model.adapter": Lora(type="lora")}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_all_trials_offload_at_once_has_to_fit_the_host(llama2_7b, ranks):
    config = trial(
        {"gradient_checkpointing": True}, gpus_per_worker=1, zero_stage=2, offload="optimizer"
    )
    line = check_memory(config, planned(llama2_7b), MachineMemory(GPU, 2 * HOST, ranks))
    assert ("which is too little: set sweep.max_concurrent: 2" in line) == (ranks > 2)
    assert "121.3 GB of its host" in line


def test_without_a_gpu_trials_at_once_share_the_host(tiny):
    config = trial(workers=2)
    room, needed = machine_memory(config.training, trials=3), planned(tiny)(config).device
    assert (room.device, room.ranks) == (None, 6)
    assert room.host > needed
    enough, less = (MachineMemory(None, 6 * needed - missing, room.ranks) for missing in (0, 1))
    assert "too little" not in check_memory(config, planned(tiny), enough)
    assert "set sweep.max_concurrent: 2" in check_memory(config, planned(tiny), less)


def test_ranks_that_this_machine_has_no_cores_for_do_not_share_its_memory(tiny):
    config = trial(workers=10**6, cpus_per_worker=1)
    assert 1 <= machine_memory(config.training, trials=2).ranks < 10**6


def test_only_weights_that_do_not_fit_are_refused(llama2_7b):
    config = trial(gpus_per_worker=1)
    less, none = (MachineMemory(size * GIGABYTE, HOST, ranks=1) for size in (14, 13))
    assert "too little" in check_memory(config, planned(llama2_7b), less)
    with pytest.raises(ResourceError, match="the weights of smollm2-135m do not fit"):
        check_memory(config, planned(llama2_7b), none)


@pytest.mark.parametrize("gpus", [None, "lora_1gpu", "full_1gpu", "full_8gpu"])
def test_the_studies_at_paper_scale_fit_80_gigabytes_with_each_overlay(llama2_7b, gpus):
    overlays = [Path(f"experiments/llama2_7b_{gpus}.yaml")] if gpus else []
    study = load_study(Path("experiments/tma_flan_mini.yaml"), overlays=overlays)
    for config in (trial.config for trial in expand(study)):
        training = config.training
        assert (training.global_batch, config.model.max_length) == (16, 1024)
        assert (training.betas, training.eps, training.clip) == ([0.9, 0.95], 1e-5, 1.0)
        assert (training.schedule, training.min_lr_ratio) == ("cosine", 0.1)
        assert training.learning_rate == (1e-4 if gpus == "lora_1gpu" else 1e-6)
        workers = int(gpus.split("_")[1][0]) if gpus else 2
        assert training.workers * training.gpus_per_worker == workers
        plan = memory_of_rank(config, llama2_7b, "bfloat16")
        assert MachineMemory(GPU, 128 * 2**30, ranks=1).holds(plan)
