"""The weighted loss and its gradients from the definition, token by token, in numpy and double precision.

It is slow, and the reference that `tests/test_loss.py` and `benchmarks/gpu.py` compare the trainer's loss with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

PlainRow = Sequence[tuple[int, float]]
"""(token, weight) by position; the first one is never predicted."""


def reference(logits_of_row: Sequence[np.ndarray], rows: Sequence[PlainRow]) -> tuple[float, list[np.ndarray]]:
    """(loss, d loss / d logits of each row): the sum of weight x cross-entropy over the number of trained tokens.

    logits_of_row: [tokens, vocabulary] each, those at position t predict token t + 1.
    """
    total, count = 0.0, 0
    gradients = [np.zeros_like(logits) for logits in logits_of_row]
    for logits, gradient, row in zip(logits_of_row, gradients, rows, strict=True):
        for t in range(1, len(row)):
            token, weight = row[t]
            if weight == 0:
                continue
            exponentials = np.exp(logits[t - 1] - logits[t - 1].max())
            probabilities = exponentials / exponentials.sum()
            total += weight * -np.log(probabilities[token])
            count += 1
            gradient[t - 1] += weight * probabilities
            gradient[t - 1, token] -= weight
    return float(total) / count, [gradient / count for gradient in gradients]


def reference_step(model: Any, rows: Sequence[PlainRow]) -> tuple[float, dict[str, torch.Tensor]]:
    """(loss, gradients by parameter) of an optimiser step over the rows, from the logits of a plain causal LM, row by
    row; the gradients go from the definition's on through the model, in its own precision."""
    model.zero_grad()
    device = next(model.parameters()).device
    logits = [model(torch.tensor([[token for token, _ in row]], device=device)).logits[0] for row in rows]
    loss, gradients = reference([part.detach().double().cpu().numpy() for part in logits], rows)
    for part, gradient in zip(logits, gradients, strict=True):
        part.backward(torch.tensor(gradient, dtype=part.dtype, device=device), retain_graph=True)
    return loss, {name: p.grad.clone() for name, p in model.named_parameters()}
