"""The host does not wait for the device between the micro-batches of a step or an evaluation."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.training import start
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import init_distributed, pick_device
from orchestrator.training.evaluation.losses import instance_losses
from orchestrator.training.step import Feeder
from tests.training.launch import start as start_ranks

ROWS = np.arange(24)
# What a host needs the values of a tensor for, or how many of them there are.
WAITING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2", "masked_select"}


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a device that computes on its own."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        indexed = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += indexed or name in WAITING
        return function(*args, **(kwargs or {}))


def waits(of, gpu):
    """How often the host waits in a call."""
    if not gpu:
        with Waits() as counted:
            of()
        return counted.count
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        of()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in told)


def count_waits(_rank, spec, gpu):
    init_distributed(gpu=gpu)
    device = pick_device("bfloat16", gpu=gpu)
    loaded = start.load(spec, device, 0.0)
    assert loaded.why_padded is None
    passes, steps, evaluations = [], [], []
    for tokens in (10**6, 300):
        budget = TokenBudget(spec.folder, spec.key, "training", tokens)
        feeder = Feeder(
            loaded.engine, loaded.tokens, spec.config, device.torch_device, budget, packed=True
        )
        passes.append(len(feeder._split(ROWS)[0]))
        steps.append(waits(lambda feeder=feeder: feeder.feed(1, ROWS), gpu))
        evaluations.append(waits(
            lambda tokens=tokens: instance_losses(
                loaded.engine, loaded.tokens, ROWS, tokens, device.torch_device, packed=True
            ),
            gpu,
        ))  # fmt: skip
    assert passes[0] == 1
    assert passes[1] > 4
    for counted in (steps, evaluations):
        assert counted[0] == counted[1], f"{counted} waits with {passes} micro-batches"
        assert counted[0] < 4


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=GPU)])
def test_the_host_waits_no_more_often_in_many_micro_batches_than_in_one(make_spec, gpu):
    spec = make_spec(ROWS, training={"global_batch": 24, "zero_stage": 1})
    start_ranks(count_waits, spec, gpu, ranks=1)
