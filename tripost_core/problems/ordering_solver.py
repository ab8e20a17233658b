"""Orders of a few objects as sets of permutations, each set one integer with a bit per permutation.

Constraints are sets, conjunction is `&`, "follows from" is inclusion: with at most 8 objects (40,320 orders) every
question about an ordering is answered by enumeration, exactly, in microseconds.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

MAX_OBJECTS = 8
"""Most objects of one ordering; the paper's questions have 3, 5 or 7."""


class Orders:
    """All orders of `n` objects. Objects and places are numbered from 0, places from the first end of the axis."""

    def __init__(self, n: int) -> None:
        assert 1 <= n <= MAX_OBJECTS, n
        self.n = n
        self.permutations = tuple(permutations(range(n)))
        """permutations[i][place] is the object there."""
        self.all = (1 << len(self.permutations)) - 1
        at = [[0] * n for _ in range(n)]
        for number, order in enumerate(self.permutations):
            bit = 1 << number
            for place, thing in enumerate(order):
                at[thing][place] |= bit
        self._at = at
        self._apart: dict[tuple[int, int, int], int] = {}
        self._before: dict[tuple[int, int], int] = {}

    def at(self, thing: int, place: int) -> int:
        """The orders with object `thing` at `place`; none where there is no such place."""
        return self._at[thing][place] if 0 <= place < self.n else 0

    def apart(self, first: int, second: int, distance: int) -> int:
        """The orders in which `second` stands exactly `distance` places after `first`."""
        key = (first, second, distance)
        if key not in self._apart:
            found = 0
            for place in range(max(0, -distance), min(self.n, self.n - distance)):
                found |= self._at[first][place] & self._at[second][place + distance]
            self._apart[key] = found
        return self._apart[key]

    def before(self, first: int, second: int) -> int:
        """The orders in which `first` stands somewhere before `second`."""
        if (first, second) not in self._before:
            found = 0
            for distance in range(1, self.n):
                found |= self.apart(first, second, distance)
            self._before[first, second] = found
        return self._before[first, second]

    def places(self, orders: int, thing: int) -> list[int]:
        """The places at which `thing` stands in some of the orders."""
        return [place for place in range(self.n) if orders & self._at[thing][place]]

    def distances(self, orders: int, first: int, second: int) -> tuple[int, int]:
        """Least and greatest distance from `first` to `second` in the (non-empty) orders."""
        found = [d for d in range(1 - self.n, self.n) if d and orders & self.apart(first, second, d)]
        return found[0], found[-1]

    def alone(self, order: tuple[int, ...]) -> int:
        """The set of this one order."""
        found = self.all
        for place, thing in enumerate(order):
            found &= self._at[thing][place]
        return found


@lru_cache(maxsize=MAX_OBJECTS)
def orders_of(n: int) -> Orders:
    """The orders of `n` objects, made once."""
    return Orders(n)
