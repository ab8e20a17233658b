"""Several rows as one sequence, without padding: every token sees its own row alone (varlen attention).

`pack` puts the rows of a micro-batch behind one another. Positions begin anew with every row, and the attention that
`use_varlen_attention` gives a model works row by row: by one flash kernel for all rows on a GPU, by one SDPA call a row
elsewhere. A model whose attention is not plain causal attention (a sliding window, soft-capped scores) keeps its own
attention, and its rows are padded instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from tripost_core.lm.encode import EncodedRow

VARLEN = "tripost_varlen"
Batch = dict[str, Any]
_PLAIN_LAYERS = {"full_attention", "attention"}


def pad(rows: Sequence[EncodedRow]) -> Batch:
    """input_ids, weights, attention_mask: [rows, tokens of the longest]; padded on the right, with weight 0.

    No row at all gives one token of weight 0, so that a rank without work takes part in a step like the others.
    """
    length = max((row.num_tokens for row in rows), default=1)
    input_ids = torch.zeros(max(len(rows), 1), length, dtype=torch.long)
    weights = torch.zeros(max(len(rows), 1), length)
    attention_mask = torch.zeros(max(len(rows), 1), length, dtype=torch.long)
    attention_mask[:, 0] = 1
    for i, row in enumerate(rows):
        input_ids[i, : row.num_tokens] = torch.tensor(row.input_ids)
        weights[i, : row.num_tokens] = torch.tensor(row.weights)
        attention_mask[i, : row.num_tokens] = 1
    return {"input_ids": input_ids, "weights": weights, "attention_mask": attention_mask}


def pack(rows: Sequence[EncodedRow]) -> Batch:
    """input_ids, weights, position_ids: [1, tokens of all rows]; `row_lengths`: their tokens, in order.

    The first token of a row gets weight 0, so no row is asked to predict the beginning of the next.
    """
    lengths = [row.num_tokens for row in rows] or [1]
    ids = [token for row in rows for token in row.input_ids] or [0]
    weights = [weight if t else 0.0 for row in rows for t, weight in enumerate(row.weights)] or [0.0]
    return {
        "input_ids": torch.tensor([ids]),
        "weights": torch.tensor([weights]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "row_lengths": lengths,
    }


def can_pack(model: PreTrainedModel) -> bool:
    """Whether varlen attention computes what the model's own attention would."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or _PLAIN_LAYERS)
    windowed = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    takes_any = bool(getattr(model, "_supports_attention_backend", False))
    return takes_any and layers <= _PLAIN_LAYERS and not windowed and not capped


def use_varlen_attention(model: PreTrainedModel) -> None:
    """From now on the model takes packed rows, with `row_lengths` beside its ids."""
    AttentionInterface.register(VARLEN, varlen_attention)
    model.set_attn_implementation(VARLEN)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    row_lengths: Sequence[int] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row. query: [1, heads, tokens, head size], key and value with as many heads or a
    divisor of them; returns [1, tokens, heads, head size]."""
    lengths = [query.shape[2]] if row_lengths is None else list(row_lengths)
    grouped = key.shape[1] != query.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and dropout == 0.0:
        return _flash(query, key, value, lengths, scaling, grouped), None
    parts = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: list[int],
    scaling: float | None,
    grouped: bool,
) -> torch.Tensor:
    """The same by one kernel for all rows; [1, tokens, heads, head size]."""
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *lengths], device=query.device).cumsum(0).to(torch.int32)
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    longest = max(lengths)
    out = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0), scale=scaling, enable_gqa=grouped)
    assert isinstance(out, torch.Tensor)
    return out[None]
