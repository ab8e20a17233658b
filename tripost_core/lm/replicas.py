"""Forward and backward of a small model on two threads, with a part of the rows each.

Two threads inside every operation of such a model wait for one another thousands of times a second, and two processes
exchange gradients and wait for the slower one. Two copies of the model that share its weights, and have gradients of
their own, wait once a step. There are always two, so a machine's number of cores does not show in the result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from tripost_core.lm.threads import is_small, suited_to_cpu

NUM_REPLICAS = 2

Model = TypeVar("Model", bound=torch.nn.Module)
Part = TypeVar("Part")


def replicas(model: Model) -> list[Model]:
    """The model and its copies with the same weights in the same memory; the model alone where threads would gain
    nothing (a large model, a GPU) or change its random numbers (dropout, which draws from one generator for all)."""
    if not is_small(model) or _has_dropout(model):
        return [model]
    found = [model, *(copy.deepcopy(model) for _ in range(NUM_REPLICAS - 1))]
    for other in found[1:]:
        for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
            mine.data = theirs.data
    return found


class ShareRunner(Generic[Model]):
    """Forward and backward on every replica at the same time, each with its share of an optimiser step's rows."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self._pool = ThreadPoolExecutor(len(models))

    def backward(self, loss: Callable[[Model, Part], torch.Tensor], shares: Sequence[Sequence[Part]]) -> float:
        """`loss` of every part of every share: returns their sum, whose gradients are added to those of the first
        model. A share is one replica's, a part of it one forward pass; there are at most as many shares as replicas."""
        models = self.models[: len(shares)]
        total = sum(self._pool.map(self._one, [loss] * len(models), models, shares))
        for parameter, *others in zip(*(model.parameters() for model in models), strict=True):
            for other in others:
                if other.grad is None:
                    continue
                if parameter.grad is None:
                    parameter.grad = other.grad
                else:
                    parameter.grad += other.grad
                other.grad = None
        return total

    @staticmethod
    def _one(loss: Callable[[Model, Part], torch.Tensor], model: Model, share: Sequence[Part]) -> float:
        total = 0.0
        with suited_to_cpu(model):  # holds for the thread that calls it
            for part in share:
                value = loss(model, part)
                value.backward()  # type: ignore[no-untyped-call]
                total += float(value.detach())
        return total


def _has_dropout(model: torch.nn.Module) -> bool:
    settings = vars(model.config) if hasattr(model, "config") else {}
    in_config = any("dropout" in name and isinstance(rate, float) and rate > 0 for name, rate in settings.items())
    return in_config or any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules())
