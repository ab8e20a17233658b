"""The keys and values of many rows of different length, all ending in the same column.

`DynamicCache` copies everything it holds at every step, and cannot take rows in or let them go while it is in use.
Here a step writes into a column that is already allocated. Positions are rotated into the keys by the row's own count
of tokens, so a row may begin in any column: that is what lets new rows join rows that are half written.

Shapes: keys and values [rows, heads, columns, head size].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class Prefilled(NamedTuple):
    """Rows whose prompts went through the model together, padded on the right."""

    cache: DynamicCache
    lengths: list[int]
    """Tokens of each row that count; what is cached behind them is padding."""


class SharedEndLayer(DynamicLayer):
    """One layer: columns `0 .. end - 1` are written, row i's tokens stand in the last ones of them."""

    def __init__(self) -> None:
        super().__init__()
        self.end = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new columns of all rows in place; returns everything written so far, as views."""
        start, self.end = self.end, self.end + key_states.shape[2]
        assert self.end <= self.keys.shape[2], f"column {self.end} of {self.keys.shape[2]}"
        self.keys[:, :, start : self.end] = key_states
        self.values[:, :, start : self.end] = value_states
        return self.keys[:, :, : self.end], self.values[:, :, : self.end]

    def get_seq_length(self) -> int:
        return self.end


class SharedEndCache(Cache):
    """The layers of a model. `rebuild` is the only way in and out for rows."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.capacity = 0

    @property
    def end(self) -> int:
        """Columns written so far."""
        return self.layers[0].end if self.layers else 0

    @property
    def is_full(self) -> bool:
        return self.end == self.capacity

    def rebuild(self, keep: list[int], joining: list[Prefilled], window: int, capacity: int) -> None:
        """Keeps these rows in this order, appends the joining ones, and cuts every row to its last `window` columns.

        `window` must cover the longest row; `capacity` >= `window` columns are allocated. Layer by layer, so that no
        more than one of them is held twice.
        """
        assert keep or joining
        num_layers = len(joining[0].cache.layers) if joining else len(self.layers)
        while len(self.layers) < num_layers:
            self.layers.append(SharedEndLayer())
        num_rows = len(keep) + sum(len(part.lengths) for part in joining)
        picks = [_last_columns(part, window) for part in joining]
        for index, layer in enumerate(self.layers):
            for name in ("keys", "values"):
                old = getattr(layer, name)
                like = getattr(joining[0].cache.layers[index], name) if joining else old
                # Zeros and not whatever memory holds: a masked NaN still makes the sum over a row NaN.
                new = like.new_zeros(num_rows, like.shape[1], capacity, like.shape[3])
                if keep:
                    kept = min(window, layer.end)
                    rows = torch.tensor(keep, device=old.device)
                    new[: len(keep), :, window - kept : window] = old[rows, :, layer.end - kept : layer.end]
                at = len(keep)
                for part, columns in zip(joining, picks, strict=True):
                    count, width = columns.shape
                    source = getattr(part.cache.layers[index], name).transpose(1, 2)
                    rows = torch.arange(count, device=source.device)[:, None]
                    new[at : at + count, :, window - width : window] = source[rows, columns].transpose(1, 2)
                    at += count
                setattr(layer, name, new)
            layer.is_initialized = True
            layer.end = window
        self.capacity = capacity


def _last_columns(part: Prefilled, window: int) -> torch.Tensor:
    """[rows, columns]: from which prefilled column each of the last columns comes; right padding turned into left."""
    device = part.cache.layers[0].keys.device
    width = min(window, max([1, *part.lengths]))
    lengths = torch.tensor(part.lengths, device=device)[:, None]
    return (torch.arange(width, device=device)[None] - width + lengths).clamp_(min=0)
