"""95 % confidence intervals of shares, over the choice of test questions. They say nothing of the training seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution


class Interval(NamedTuple):
    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two shares on the same questions: `value` as observed, and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def wilson(share: float | None, n: int | None) -> Interval | None:
    """Wilson's score interval of a share of `n` questions; None where there is none."""
    if share is None or not n:
        return None
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # At 0 and 1 the exact bound is 0 or 1; rounding would leave it 1e-17 beyond.
    return Interval(min(max(0.0, middle - half), share), max(min(1.0, middle + half), share))


def paired_difference(new: Mapping[str, bool], old: Mapping[str, bool]) -> Difference | None:
    """Share right in `new` minus share right in `old`, by question, over the questions that both have.

    Adjusted Wald interval for paired proportions (Bonett and Price 2012): one imaginary question is added to each kind
    of disagreement, so that a few or no disagreements do not give an interval of width zero.
    """
    common = new.keys() & old.keys()
    n = len(common)
    if n == 0:
        return None
    gained = sum(new[key] and not old[key] for key in common)
    lost = sum(old[key] and not new[key] for key in common)
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Difference((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half), n)
