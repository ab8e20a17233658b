"""How many threads one tensor operation is split over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_MODEL_PARAMETERS = 20_000_000


def is_small(model: torch.nn.Module) -> bool:
    """Whether it is on the CPU and its operations are too small to be shared by threads."""
    parameter = next(model.parameters())
    return parameter.device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS


@contextmanager
def suited_threads(model: torch.nn.Module) -> Iterator[None]:
    """One thread for a small model on the CPU, torch's own number for anything else.

    An operation of a small model takes microseconds, and threads that share it wait for one another thousands of times
    a second: on a machine with other work, two threads were several times slower than one (docs/log.md). The result is
    then also independent of the number of cores.
    """
    before = torch.get_num_threads()
    if is_small(model):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
