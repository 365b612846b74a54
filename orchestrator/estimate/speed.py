"""How fast arithmetic goes here, where no earlier trial tells how fast a trial went.

A rank is reckoned to do a stated part of what its device can at most: of a GPU the data sheet's
dense 16-bit operations, of cores a square product that is measured. The parts are those of
experiments/LOG.md: of cores measured ("rows end to end against rows padded"), of GPUs by arithmetic
or as others publish it ("LLaMA-2-7B's presets without a GPU"), since none was at hand.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from orchestrator.config import Study, TrialConfig
from orchestrator.errors import ResourceError
from orchestrator.host.share import cores

TERA = 1e12
# Dense operations a second in bfloat16 or float16, by a part of the name; a longer one goes first.
GPUS = {
    "B200": 2250 * TERA, "H200": 989 * TERA, "GH200": 989 * TERA,
    "H100 PCIe": 756 * TERA, "H100": 989 * TERA,
    "A100": 312 * TERA, "L40S": 362 * TERA, "A10G": 70 * TERA, "L4": 121 * TERA,
    "V100": 125 * TERA, "T4": 65 * TERA, "RTX 4090": 165 * TERA, "RTX 3090": 71 * TERA,
}  # fmt: skip
FLOAT32_SHARE = 0.5  # of those: tensor cores multiply TF32 numbers half as fast
ADAPTER, ALL_WEIGHTS, OFFLOADED, ON_CORES = 0.4, 0.25, 0.07, 0.5
ACCELERATOR = "ray.io/accelerator-type"
# Of the square product: it takes a core less than a millisecond, which another process seldom cuts.
SIDE, TIMES = 256, 20


@dataclass(frozen=True)
class Speed:
    """Operations that the ranks of a trial do in a second, and how that was reckoned."""

    operations: float
    words: str


def check_gpu(name: str) -> None:
    """Refuse a GPU whose speed is not known.

    Raises:
        ResourceError: naming those that are.
    """
    if _peak(name) is None:
        raise ResourceError(f"--gpu {name} is not known: give one of {', '.join(GPUS)}")


def speed_of(study: Study, config: TrialConfig, gpu: str | None) -> Speed | None:
    """How fast the ranks of a trial compute together; None where their GPU is not known.

    Args:
        study: with the trials that run at once.
        gpu: what --gpu says; None: the one that node labels or this machine name.
    """
    from orchestrator.training.device import precision_here

    precision, training = precision_here(config.model, config.training), config.training
    if not training.gpus_per_worker:
        most, share = _product(precision), ON_CORES
        words = f"{most / 1e9:,.0f} GFLOP/s of {precision} products here"
        return Speed(most * share / study.sweep.max_concurrent, f"{share:.0%} of {words}")
    name = gpu or training.node_labels.get(ACCELERATOR) or _gpu_here()
    peak = name and _peak(name)
    if not peak:
        return None
    peak *= FLOAT32_SHARE if precision == "float32" else 1
    share = ADAPTER if config.model.adapter != "none" else ALL_WEIGHTS
    share = share if training.offload == "none" else OFFLOADED
    return Speed(
        peak * share * training.workers, f"{share:.0%} of {peak / TERA:,.0f} TFLOP/s ({name})"
    )


def _peak(name: str) -> float | None:
    known = sorted(GPUS, key=len, reverse=True)
    return next((GPUS[part] for part in known if is_named(name, part)), None)


def is_named(name: str, part: str) -> bool:
    """Whether the name of a GPU has a part, in whole words: an L40S is no L4."""
    word = rf"(?<![a-z0-9]){re.escape(part)}(?![a-z0-9])"
    return re.search(word, name, re.IGNORECASE) is not None


def _gpu_here() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


_products: dict[str, float] = {}  # measured once a precision


def _product(precision: str) -> float:
    """Operations a second of square matrix products on all cores of this process, by the fastest
    on one of them."""
    import torch

    if precision not in _products:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        matrix = torch.ones((SIDE, SIDE), dtype=getattr(torch, precision))
        seconds = []
        for _ in range(TIMES):
            began = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - began)
        torch.set_num_threads(threads)
        _products[precision] = cores() * 2 * SIDE**3 / min(seconds)
    return _products[precision]
