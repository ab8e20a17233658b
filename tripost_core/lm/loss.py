"""The weighted loss (paper section 2.4), in its only implementation.

Loss of one optimiser step = sum over all its trained tokens of weight x cross-entropy, divided by the *number* of
those tokens; a token is trained if its weight is positive. The divisor belongs to the whole step, so a micro-batch
contributes `weighted_cross_entropy_sum(...) / trained tokens of the step` and the contributions add up to the same
number, and the same gradients, however the rows are padded, cut into micro-batches or spread over ranks.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy


def weighted_cross_entropy_sum(logits: torch.Tensor, input_ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over the trained tokens of weight x cross-entropy in nats; a scalar in fp32.

    logits: [rows, tokens, vocabulary], those at position t predict token t + 1.
    input_ids, weights: [rows, tokens]; weight 0 (prompt, padding) excludes a token, whatever its id or logits.
    """
    targets, target_weights = input_ids[:, 1:], weights[:, 1:]
    trained = target_weights > 0
    # Only the trained positions are turned to fp32: the logits are by far the largest tensor of a step.
    losses = cross_entropy(logits[:, :-1][trained].float(), targets[trained], reduction="none")
    return (losses * target_weights[trained].float()).sum()


def count_trained_tokens(weights: torch.Tensor) -> int:
    """Tokens with a positive weight that something predicts, i.e. all but those in the first column."""
    return int((weights[:, 1:] > 0).sum())
