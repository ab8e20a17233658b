"""What a CPU needs to be told: how many threads share one tensor operation, what to do with tiny numbers, and to keep
the memory it has."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

SMALL_MODEL_PARAMETERS = 20_000_000
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_KEPT_BYTES, _GROWTH_BYTES = 2**31 - 1, 2**28  # mallopt takes an int


def is_small(model: torch.nn.Module) -> bool:
    """Whether it is on the CPU and its operations are too small to be shared by threads."""
    parameter = next(model.parameters())
    return parameter.device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS


@contextmanager
def suited_to_cpu(model: torch.nn.Module) -> Iterator[None]:
    """How a CPU computes best with this model: one thread for a small one, torch's own number for anything else, and
    numbers too small for the normal form taken as 0.

    An operation of a small model takes microseconds, and threads that share it wait for one another thousands of times
    a second: on a machine with other work, two threads were several times slower than one (docs/log.md). The result is
    then also independent of the number of cores.

    The probabilities of a trained model's attention are often below 1e-38, and a CPU works on such numbers in
    microcode: the backward pass of attention took four times as long with them. They hold for this thread, and for
    those that torch starts from it.
    """
    before = torch.get_num_threads()
    on_cpu = next(model.parameters()).device.type == "cpu"
    if is_small(model):
        torch.set_num_threads(1)
        keep_memory()
    if on_cpu:
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if on_cpu:
            torch.set_flush_denormal(False)


@cache
def keep_memory() -> bool:
    """Tells glibc to keep what is freed, for the rest of this process; whether it could be told.

    A step frees and takes hundreds of tensors of some megabytes. glibc gives each of them back to the kernel, which
    has to clear every page again: some 5 % of the time of a small model's step (docs/log.md). The process then keeps
    what it once needed. Nothing changes with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_TOP_PAD, _GROWTH_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
