"""The float32 masters of weights that compute in 16 bits, and what of their moves arrives there.

An optimizer moves the masters; the model computes with their rounding. Masters that start as copies
of 16-bit numbers all stand in the middle of their rounding intervals, and until one has moved by
half the spacing of its working weight nothing arrives: at the learning rates of fine-tuning that is
most of what is asked for in the first tens to hundreds of steps. So each master starts somewhere in
its rounding interval. The working weights, and with them the losses of step 0, stay what they are
to the last bit; from then on a working weight moves, in expectation, as its master does.

Not for weights that compute in float32: they are their own masters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

# Bits of a float32 below the last bit of the working format.
FINER_BITS = {torch.bfloat16: 16, torch.float16: 13}
CHUNK = 2**24  # elements that are spread at once
SAMPLE = 2**15  # elements of a parameter, or of a rank's part of it, that fidelity looks at


@dataclass(frozen=True)
class Fragment:
    """The part of a trained parameter whose master this rank holds.

    Attributes:
        name: of the parameter in the model.
        first: index of the part's first element in the flattened parameter.
        master: (n,) float32, a view of the optimizer's own memory.
        working: (n,) in the dtype of the arithmetic, a view of what the model computes with; in
            float32 without ZeRO the same memory as `master`.
    """

    name: str
    first: int
    master: torch.Tensor
    working: torch.Tensor


def fragments(engine: Any) -> Iterator[Fragment]:
    """What this rank holds of the trained parameters, in the model's order, for any ZeRO stage.

    Args:
        engine: a `deepspeed.DeepSpeedEngine` with an optimizer.
    """
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if hasattr(parameter, "ds_id"):  # ZeRO-3: equal parts, the last ones padded
            part = parameter.ds_tensor
            first = dist.get_rank() * part.ds_numel
            count = min(part.ds_numel, parameter.ds_numel - first)
            if count > 0:
                # DeepSpeed's public function gives a copy on the GPU of what lies on the host.
                optimizer = parameter._z3_optimizer
                master, _ = optimizer._get_fp32_opt_state_partition(
                    parameter, release_swap_buffers=False
                )
                yield Fragment(name, first, master.data[:count], part.data.view(-1)[:count])
        elif hasattr(parameter, "_hp_mapping"):  # ZeRO-1 and 2: partitions of all parameters in one
            mapping = parameter._hp_mapping
            if mapping is not None:  # otherwise all of it is other ranks'
                place = mapping.lp_fragment_address
                working = parameter.data.view(-1).narrow(0, place.start, place.numel)
                yield Fragment(name, place.start, mapping.hp_fragment.data, working)
        else:
            flat = parameter.data.view(-1)
            yield Fragment(name, 0, flat, flat)


def start_masters(engine: Any, given: Mapping[str, torch.Tensor], seed: int) -> None:
    """Put each master somewhere in the rounding interval of its 16-bit working weight.

    Neither ranks nor ZeRO stages nor a resume change where. No second copy of a parameter is made.

    Args:
        engine: fresh, its masters equal to the working weights.
        given: float32 tensors of the parameters whose working weights are their rounding, as those
            of a new adapter: they are the masters. All others are spread.
        seed: of the trial.

    Raises:
        RuntimeError: DeepSpeed's memory does not hold what was written to it.
    """

    def masters(part: Fragment, start: int, stop: int) -> torch.Tensor:
        first, working = part.first + start, part.working[start:stop]
        if part.name in given:
            return given[part.name].view(-1)[first : first + len(working)]
        return spread(working, part.name, first, seed)

    for part in fragments(engine):
        if part.working.dtype != torch.float32:
            for start in range(0, len(part.master), CHUNK):
                stop = start + CHUNK
                part.master[start:stop].copy_(masters(part, start, stop))
    for part in fragments(engine):
        if part.working.dtype != torch.float32:
            held = part.master[:SAMPLE].cpu()
            if not torch.equal(held, masters(part, 0, SAMPLE).cpu()):
                raise RuntimeError(f"the optimizer did not take the masters of {part.name}")


def spread(working: torch.Tensor, name: str, first: int, seed: int) -> torch.Tensor:
    """Masters that round to the given weights, each at random in its rounding interval.

    With the neighbours w- < w < w+ of a weight w in its format, the master is w + u (w+ - w) for
    u >= 0 and w + u (w - w-) for u < 0, with u uniform in (-1/2, 1/2). So a move d of the master,
    small against the spacing, takes the weight to its neighbour with the probability d / (w+ - w),
    or |d| / (w - w-) downwards: in expectation the weight moves by d, too. (Above a power of two
    the spacing is twice that below it, hence the two halves.)

    A 16-bit float is a float32 whose last k bits are zero, and the bit patterns of either sign
    count its numbers upwards without a gap: so u (w+ - w) is an integer j, |j| < 2^(k - 1), that is
    added to the pattern. Two kinds of weights are spread less, for their neighbours are at most
    6e-8 away: zero, and those below 2^-14 in float16, whose spacing no longer falls with them.

    Args:
        working: (n,) bfloat16 or float16.
        name: of the parameter.
        first: index of the first element in the whole flattened parameter.
        seed: of the trial; seed, name and index alone determine the offsets.

    Returns:
        (n,) float32 on the same device; rounded to the format of `working` it is `working`.
    """
    bits, finer = working.to(torch.float32).view(torch.int32), FINER_BITS[working.dtype]
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:16], "little")
    offsets = _random_int16(key, first, len(working)) >> (16 - finer)
    # The least integer has no counterpart: as an offset it would be the middle of two weights.
    offsets[offsets == -(2 ** (finer - 1))] = 0
    moved = bits + torch.from_numpy(offsets).to(working.device)
    return torch.where(working == 0, bits, moved).view(torch.float32)


def _random_int16(key: int, first: int, count: int) -> NDArray[np.int16]:
    """Uniform integers, the `first`-th and following of the endless sequence of a key."""
    # A value of Philox's counter gives four 64-bit numbers, so sixteen of these.
    skipped = first % 16
    blocks = -(-(skipped + count) // 16)
    words = np.random.Philox(key=key, counter=first // 16).random_raw(4 * blocks)
    return words.view(np.int16)[skipped : skipped + count]


class UpdateFidelity:
    """How much of what the optimizer asks for arrives in the weights that compute.

    With what the masters have moved since step 0, m, and the working weights, w, over all trained
    elements: F = <w, m> / <m, m>. 1 where all of it arrives in expectation, below where moves are
    lost to rounding. At most `SAMPLE` elements are looked at of what a rank holds of a parameter,
    evenly spaced. A working weight moves rarely and by a whole spacing: the standard error, that of
    a slope through zero, sqrt(sum m^2 (w - F m)^2) / <m, m>, tells whether F says anything yet.

    Args:
        engine: at step 0, its masters spread.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._start = [
            (master.clone().cpu(), working.clone().cpu()) for master, working, _ in self._sampled()
        ]

    def measure(self) -> dict[str, float]:
        """Returns how much has arrived by now; every rank calls.

        Returns:
            `update_fidelity`, 1.0 where no master has moved, `fidelity_error`, its standard error,
            and `changed_weights`, the share of working weights that differ from those of step 0.
        """
        total = torch.zeros(7, dtype=torch.float64)
        for (master, working, share), (master0, working0) in zip(
            self._sampled(), self._start, strict=True
        ):
            asked = master.to("cpu", torch.float64) - master0
            arrived = working.to("cpu", torch.float64) - working0
            products, squares = arrived * asked, asked * asked
            total[:4] += share * torch.stack(
                [products.sum(), squares.sum(), arrived.count_nonzero(), torch.tensor(len(asked))]
            )
            # What m^2 (w - F m)^2 is made of, for an F that is known when all ranks are added.
            total[4:] += share**2 * torch.stack(
                [products @ products, products @ squares, squares @ squares]
            )
        total = total.to(self._engine.device)
        dist.all_reduce(total)
        inner, norm, changed, count, *residual = total.tolist()
        fidelity = inner / norm if norm else 1.0
        spoiled = residual[0] - 2 * fidelity * residual[1] + fidelity**2 * residual[2]
        return {
            "update_fidelity": fidelity,
            "fidelity_error": max(spoiled, 0.0) ** 0.5 / norm if norm else 0.0,
            "changed_weights": changed / count,
        }

    def _sampled(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        for part in fragments(self._engine):
            # An odd stride walks through all columns of a matrix whose width is a power of two.
            stride = -(-len(part.master) // SAMPLE) | 1
            master = part.master[::stride]
            yield master, part.working[::stride], len(part.master) / len(master)
