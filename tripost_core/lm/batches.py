"""Which rows make up an optimiser step, and how a step is cut into the micro-batches of every rank.

Which rows go together is left to chance and depends on (seed, epoch) alone; how a step is cut depends on lengths, ranks
and micro-batch size, and the loss does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import DataLoader, Sampler

from tripost_core.lm.encode import EncodedRow
from tripost_core.lm.packing import Batch, pack, pad


class MicroBatches(Sampler[list[int]]):
    """The rows of one epoch, by index, one micro-batch of `rank` at a time; `set_epoch` says which epoch.

    Every epoch is a new order, drawn from (seed, epoch), cut into optimiser steps of `batch_size` rows; the last may
    be smaller. Within a step the rows are sorted by length before they are cut, so that little is padding. Every rank
    has as many micro-batches in a step as the others; with several ranks some may be empty. `packed`: there is no
    padding, so that each rank gets as many tokens of the step as can be; else neighbours in length are padded together.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        micro_batch_size: int | None,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        packed: bool = False,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        share = math.ceil(batch_size / num_ranks)
        self.micro_batch_size = min(micro_batch_size or share, share)
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.packed = packed
        self.epoch = 0

    @property
    def num_steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    @property
    def num_micro_batches_per_step(self) -> int:
        """Of each rank."""
        return math.ceil(self.batch_size / (self.micro_batch_size * self.num_ranks))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def steps(self, num_steps: int) -> Iterator[list[int]]:
        """The rows of the first `num_steps` optimiser steps, over as many epochs as that takes."""
        for step in range(num_steps):
            epoch, position = divmod(step, self.num_steps_per_epoch)
            if position == 0:
                order = self._order(epoch)
            yield order[position * self.batch_size : (position + 1) * self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order(self.epoch)
        for start in range(0, len(order), self.batch_size):
            step = sorted(order[start : start + self.batch_size], key=lambda i: self.lengths[i])
            if self.packed and self.num_ranks > 1:
                shares = even_shares(step, self.lengths, self.num_ranks)
                mine = self._cut(shares[self.rank])
                each = max(len(self._cut(share)) for share in shares)
            else:  # neighbours in length go to different ranks at the same time
                pieces = self._cut(step)
                mine = pieces[self.rank :: self.num_ranks]
                each = math.ceil(len(pieces) / self.num_ranks)
            yield from [*mine, *([[]] * (each - len(mine)))]

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size)
        # ceil(ceil(rest / a) / b) = ceil(rest / (a b)), whichever way a step is spread over the ranks.
        last = math.ceil(rest / (self.micro_batch_size * self.num_ranks))
        return whole * self.num_micro_batches_per_step + last

    def _cut(self, rows: list[int]) -> list[list[int]]:
        return [rows[at : at + self.micro_batch_size] for at in range(0, len(rows), self.micro_batch_size)]

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.lengths)).tolist()


def even_shares(rows: Sequence[int], lengths: Sequence[int], num_shares: int) -> list[list[int]]:
    """The rows, sorted by length, dealt out: the longest first, each to the share that has the fewest tokens and still
    has room. `lengths`: of every row, by index."""
    room = math.ceil(len(rows) / num_shares)
    shares: list[list[int]] = [[] for _ in range(num_shares)]
    tokens = [0] * num_shares
    for row in reversed(rows):
        share = min((s for s in range(num_shares) if len(shares[s]) < room), key=lambda s: tokens[s])
        shares[share].append(row)
        tokens[share] += lengths[row]
    return [share[::-1] for share in shares]


class Rows:
    """Rows by micro-batch: an index of the data set is a list of rows, and an empty one is no row. A micro-batch is cut
    into `num_shares` of about as many tokens, fewer where it has fewer rows."""

    def __init__(self, rows: Sequence[EncodedRow], packed: bool, num_shares: int = 1) -> None:
        self.rows = rows
        self.make = pack if packed else pad
        self.num_shares = num_shares

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> list[EncodedRow]:
        return [self.rows[i] for i in indices]

    def __getitem__(self, index: int) -> EncodedRow:
        return self.rows[index]

    def collate(self, rows: Sequence[EncodedRow]) -> Batch:
        """The batch that the model takes; of several shares, `shares` with one for each."""
        if self.num_shares == 1:
            return self.make(rows)
        ordered = sorted(rows, key=lambda row: row.num_tokens)
        shares = even_shares(range(len(ordered)), [row.num_tokens for row in ordered], self.num_shares)
        return {"shares": [self.make([ordered[i] for i in share]) for share in shares if share] or [self.make([])]}


class EpochLoader(DataLoader):  # type: ignore[type-arg]
    """A loader whose epoch is that of its batches."""

    def set_epoch(self, epoch: int) -> None:
        assert isinstance(self.batch_sampler, MicroBatches)
        self.batch_sampler.set_epoch(epoch)
