"""The weighted loss (paper section 2.4), in its only implementation.

Loss of one optimiser step = sum over all its trained tokens of weight x cross-entropy, divided by the *number* of
those tokens; a token is trained if its weight is positive. The divisor belongs to the whole step, so a micro-batch
contributes its sum / trained tokens of the step, and the contributions add up to the same number, and the same
gradients, however the rows are padded, packed, cut into micro-batches or spread over ranks.

`attach_weighted_loss` makes a causal LM compute the sum itself, from hidden states to loss in chunks of tokens: the
logits of a whole sequence over a vocabulary of 32,000 or more would be the largest tensor of a training by far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

MAX_LOGITS = 2**23
"""Logits that stand in memory at once: 32 MiB in fp32, 256 tokens of a vocabulary of 32,000."""
_NOT_FOR_DECODER = ("labels", "logits_to_keep", "return_dict", "output_attentions", "output_hidden_states", "use_cache")


def weighted_cross_entropy_sum(logits: torch.Tensor, input_ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over the trained tokens of weight x cross-entropy in nats; a scalar in fp32.

    logits: [rows, tokens, vocabulary], those at position t predict token t + 1.
    input_ids, weights: [rows, tokens]; weight 0 (prompt, padding) excludes a token, whatever its id or logits.
    """
    targets, target_weights = input_ids[:, 1:], weights[:, 1:]
    trained = target_weights > 0
    # Only the trained positions are turned to fp32: the logits are by far the largest tensor of a step.
    return _sum(logits[:, :-1][trained], targets[trained], target_weights[trained])


def count_trained_tokens(weights: torch.Tensor) -> int:
    """Tokens with a positive weight that something predicts, i.e. all but those in the first column."""
    return int((weights[:, 1:] > 0).sum())


def chunked_cross_entropy_sum(
    hidden: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    input_ids: torch.Tensor,
    weights: torch.Tensor,
    max_logits: int | None = MAX_LOGITS,
) -> torch.Tensor:
    """`weighted_cross_entropy_sum` of `head(hidden)`, for the trained tokens alone and so many logits at a time.

    hidden: [rows, tokens, width]; head: [n, width] to logits [n, vocabulary]. The logits of a chunk are computed again
    for its gradients, unless one chunk is all there is. `max_logits` None: always one chunk, and one call of `head`.
    """
    targets, target_weights = input_ids[:, 1:], weights[:, 1:]
    trained = target_weights > 0
    states, targets, target_weights = hidden[:, :-1][trained], targets[trained], target_weights[trained]

    def part(states: torch.Tensor, targets: torch.Tensor, target_weights: torch.Tensor) -> torch.Tensor:
        return _sum(head(states), targets, target_weights)

    if max_logits is None or len(states) == 0:
        return part(states, targets, target_weights)
    with torch.no_grad():
        size = max(1, max_logits // head(states[:1]).shape[-1])
    if len(states) <= size:
        return part(states, targets, target_weights)
    total = states.new_zeros((), dtype=torch.float32)
    for chunk in zip(states.split(size), targets.split(size), target_weights.split(size), strict=True):
        total = total + checkpoint(part, *chunk, use_reentrant=False)
    return total


def attach_weighted_loss(
    model: PreTrainedModel, max_logits: int | None = MAX_LOGITS, like: PreTrainedModel | None = None
) -> None:
    """From now on `model(input_ids, weights=..., ...)` returns the sum of the weighted loss as `loss`, and no logits;
    without `weights` it is what it was.

    A model that does more to its logits than its output layer (a soft cap, a scale) is found out by comparing the two
    on a few tokens, and its loss is then computed from its own logits, all at once. `like`: the same architecture, to
    be asked instead where the model's parameters are spread over ranks or quantised.
    """
    original, decoder, output = model.forward, model.get_decoder(), model.get_output_embeddings()
    chunked = _is_whole_head(like or model)

    def forward(input_ids: torch.Tensor | None = None, weights: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if weights is None:
            return original(input_ids=input_ids, **kwargs)
        assert input_ids is not None
        kwargs = {key: value for key, value in kwargs.items() if key not in _NOT_FOR_DECODER and value is not None}
        if not chunked:
            logits = original(input_ids=input_ids, use_cache=False, **kwargs).logits
            return CausalLMOutput(loss=weighted_cross_entropy_sum(logits, input_ids, weights))
        hidden = decoder(input_ids=input_ids, use_cache=False, **kwargs).last_hidden_state
        return CausalLMOutput(loss=chunked_cross_entropy_sum(hidden, output, input_ids, weights, max_logits))

    model.forward = forward


def _is_whole_head(model: PreTrainedModel) -> bool:
    """Whether the model's logits are its output layer applied to the decoder's last hidden states."""
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    if decoder is None or decoder is model or output is None:
        return False
    device = next(model.parameters()).device
    ids = torch.arange(3, device=device)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            ours = output(decoder(input_ids=ids, use_cache=False).last_hidden_state)
    finally:
        model.train(training)
    return logits.shape == ours.shape and torch.allclose(logits.float(), ours.float(), atol=1e-4, rtol=1e-3)


def _sum(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (cross_entropy(logits.float(), targets, reduction="none") * weights.float()).sum()
