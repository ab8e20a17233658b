"""Patterns such as `?? quail ? falcon ??`: what a step of a logical deduction knows about an order (paper.md B1.4).

A pattern names objects in their order, with gaps before, between and after them. A gap of k question marks `?` holds
exactly k objects; with `??` in it, k or more. So a pattern is the set of orders that it fits (`ordering_solver`), and
one pattern follows from others if its set includes what theirs have in common.

`merge` combines patterns as one would by hand, without knowing how many objects there are: by distances that add up.
`hull` is the best single pattern for a set of orders, which takes knowing all the objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from tripost_core.problems.ordering_solver import Orders, orders_of

_FAR = 99
"""A distance that no ordering has."""


class Gap(NamedTuple):
    """`least` objects, or at least so many where it is `open`."""

    least: int = 0
    open: bool = False

    @property
    def text(self) -> str:
        return " ".join(["?"] * self.least + ["??"] * self.open)


class Pattern(NamedTuple):
    """`gaps[i]` stands before `things[i]`, the last gap after the last thing: one gap more than things."""

    things: tuple[int, ...]
    gaps: tuple[Gap, ...]

    @property
    def exact(self) -> bool:
        """No gap at all: every object is named in its place."""
        return not any(gap.least or gap.open for gap in self.gaps)

    @property
    def least(self) -> int:
        """The fewest objects that fit."""
        return len(self.things) + sum(gap.least for gap in self.gaps)

    @property
    def mirrored(self) -> Pattern:
        """The same from the other end."""
        return Pattern(self.things[::-1], self.gaps[::-1])

    def text(self, names: Sequence[str]) -> str:
        """`?? quail ? falcon ??`."""
        parts = [self.gaps[0].text]
        for thing, gap in zip(self.things, self.gaps[1:], strict=True):
            parts += [names[thing], gap.text]
        return " ".join(part for part in parts if part)

    def orders(self, n: int) -> int:
        """The orders of `n` objects that fit; none where an object is named twice or there are too many."""
        return _fitting(self, n)


@lru_cache(maxsize=65_536)
def _fitting(pattern: Pattern, n: int) -> int:
    assert len(pattern.gaps) == len(pattern.things) + 1, pattern
    if len(set(pattern.things)) < len(pattern.things) or pattern.least > n:
        return 0
    world = orders_of(n)
    spare = n - pattern.least
    found = 0
    for places in _placements(pattern, spare):
        fitting = world.all
        for thing, place in zip(pattern.things, places, strict=True):
            fitting &= world.at(thing, place)
        found |= fitting
    return found


def _placements(pattern: Pattern, spare: int) -> Iterator[list[int]]:
    """The places of the named objects, for every way to spread `spare` more objects over the open gaps."""
    open_gaps = [i for i, gap in enumerate(pattern.gaps) if gap.open]
    for extra in _spread(spare, len(open_gaps)):
        more = dict(zip(open_gaps, extra, strict=True))
        places, place = [], -1
        for i in range(len(pattern.things)):
            place += pattern.gaps[i].least + more.get(i, 0) + 1
            places.append(place)
        yield places


def _spread(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 0:
        if total == 0:
            yield ()
        return
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _spread(total - first, parts - 1):
            yield (first, *rest)


def before(first: int, second: int, adjacent: bool = False) -> Pattern:
    """`?? first ?? second ??`; without the gap between them where `adjacent`."""
    wide = Gap(open=True)
    return Pattern((first, second), (wide, Gap() if adjacent else wide, wide))


def at_place(thing: int, rank: int, from_end: bool) -> Pattern:
    """`? thing ??`: `rank` is 1 for the very first, or with `from_end` the very last."""
    near, far = Gap(rank - 1), Gap(open=True)
    return Pattern((thing,), (far, near) if from_end else (near, far))


# -- combining without counting ----------------------------------------------------------------------------------------


@lru_cache(maxsize=65_536)
def merge(patterns: tuple[Pattern, ...], n: int) -> Pattern | None:
    """The best pattern that follows from the patterns whatever other objects there are; None where none names an
    object, or they contradict each other. `n` is only the number of names that things may have."""
    least = _distances(patterns, n)
    named = sorted({thing for pattern in patterns for thing in pattern.things})
    if least is None or not named:
        return None
    chains = _maximal_chains(named, lambda a, b: least[a][b] >= 1)
    return _smallest((_from_distances(chain, least, n) for chain in chains), n)


def _distances(patterns: Iterable[Pattern], n: int) -> list[list[int]] | None:
    """least[a][b]: what place(b) - place(a) is at least; n stands for the place before the first, n + 1 for that
    after the last one. None: they contradict each other."""
    start, end = n, n + 1
    least = [[-_FAR] * (n + 2) for _ in range(n + 2)]
    for node in range(n + 2):
        least[node][node] = 0
    named = set()
    for pattern in patterns:
        named |= set(pattern.things)
        nodes = [start, *pattern.things, end]
        for (a, b), gap in zip(itertools.pairwise(nodes), pattern.gaps, strict=True):
            least[a][b] = max(least[a][b], gap.least + 1)
            if not gap.open:
                least[b][a] = max(least[b][a], -gap.least - 1)
    nodes = [*sorted(named), start, end]
    for thing in named:
        least[start][thing] = max(least[start][thing], 1)
        least[thing][end] = max(least[thing][end], 1)
    changed = True
    while changed:
        for k in nodes:
            for a in nodes:
                if least[a][k] == -_FAR:
                    continue
                for b in nodes:
                    if least[k][b] > -_FAR and least[a][k] + least[k][b] > least[a][b]:
                        least[a][b] = least[a][k] + least[k][b]
        if any(least[a][a] > 0 for a in nodes):
            return None
        changed = False
        for a in named:  # two objects never share a place
            for b in named:
                if a != b and least[a][b] == 0:
                    least[a][b] = 1
                    changed = True
    return least


def _from_distances(chain: Sequence[int], least: list[list[int]], n: int) -> Pattern:
    nodes = [n, *chain, n + 1]
    gaps = []
    for a, b in itertools.pairwise(nodes):
        gaps.append(Gap(least[a][b] - 1, open=least[a][b] != -least[b][a]))
    return Pattern(tuple(chain), tuple(gaps))


# -- combining with all the objects in view ----------------------------------------------------------------------------


@lru_cache(maxsize=16_384)
def hull(orders: int, n: int) -> Pattern:
    """The best pattern that fits all of the (non-empty) set of orders of `n` objects."""
    world = orders_of(n)
    chains = _maximal_chains(range(n), lambda a, b: not orders & ~world.before(a, b))
    fixed = tuple(world.permutations[orders.bit_length() - 1][place] for place in _fixed_places(orders, world))
    found = _smallest((_around(chain, orders, world) for chain in (*chains, fixed) if chain), n)
    assert found is not None
    return found


def _fixed_places(orders: int, world: Orders) -> list[int]:
    """The places that hold the same object in all of the orders."""
    return [place for place in range(world.n) if any(not orders & ~world.at(a, place) for a in range(world.n))]


def _around(chain: Sequence[int], orders: int, world: Orders) -> Pattern:
    first, last = world.places(orders, chain[0]), world.places(orders, chain[-1])
    gaps = [_gap(first[0], first[-1])]
    for a, b in itertools.pairwise(chain):
        nearest, farthest = world.distances(orders, a, b)
        gaps.append(_gap(nearest - 1, farthest - 1))
    gaps.append(_gap(world.n - 1 - last[-1], world.n - 1 - last[0]))
    return Pattern(tuple(chain), tuple(gaps))


def _gap(least: int, most: int) -> Gap:
    return Gap(least, open=most > least)


def _maximal_chains(things: Sequence[int] | range, precedes) -> Iterator[tuple[int, ...]]:  # type: ignore[no-untyped-def]
    """Every chain of the partial order that cannot be made longer."""
    later = {a: [b for b in things if a != b and precedes(a, b)] for a in things}
    covers = {a: [b for b in above if not any(b in later[c] for c in above)] for a, above in later.items()}
    below = {b for above in later.values() for b in above}

    def extend(chain: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not covers[chain[-1]]:
            yield chain
        for b in covers[chain[-1]]:
            yield from extend((*chain, b))

    for a in things:
        if a not in below:
            yield from extend((a,))


def _smallest(patterns: Iterable[Pattern], n: int) -> Pattern | None:
    """The pattern that leaves the fewest orders; of equals the one with the fewest open gaps, then that which names
    most, then the first by its things."""

    def rank(pattern: Pattern) -> tuple[int, int, int, tuple[int, ...]]:
        opens = sum(gap.open for gap in pattern.gaps)
        return pattern.orders(n).bit_count(), opens, -len(pattern.things), pattern.things

    return min(patterns, key=rank, default=None)
