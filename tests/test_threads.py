"""What a CPU is told before it computes with a model, and that it is taken back."""

import platform
import subprocess
import sys

import pytest
import torch

from tripost_core.lm.threads import SMALL_MODEL_PARAMETERS, is_small, suited_to_cpu


def test_a_small_model_gets_one_thread_and_no_tiny_numbers():
    model = torch.nn.Linear(2, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suited_to_cpu(model):
            assert torch.get_num_threads() == 1
            assert float(torch.tensor([1e-40]) * 1.0) == 0.0
        assert torch.get_num_threads() == 2
        assert float(torch.tensor([1e-40]) * 1.0) > 0.0
    finally:
        torch.set_num_threads(before)


def test_a_large_model_keeps_its_threads():
    model = torch.nn.Linear(SMALL_MODEL_PARAMETERS // 1000, 1000, device="meta")
    assert not is_small(model.to_empty(device="cpu"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept():
    """The pages of a tensor that is made and freed again and again are cleared once."""
    program = """
import resource, torch
from tripost_core.lm.threads import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(10_000_000)  # 40 MB: more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert keep_memory()
faults()
print(given_back, faults())
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    given_back, kept = map(int, said.stdout.split())
    assert given_back > 100
    assert kept < given_back / 10
