"""A student of word sorting that writes the gold rationale decision by decision, so that any one can be made wrong.

Every later line is derived from what was decided, not from the question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tripost_core.problems.word_sorting import (
    final_line,
    letter_at,
    letter_number,
    ordinal,
    show_groups,
    show_subpart,
)
from tripost_core.trajectory import FINAL


@dataclass(frozen=True, slots=True)
class Looking:
    """A look at letters: `items` are (word, letter, number); after a `last` one the student stops looking."""

    subpart: tuple[str, ...] | None
    position: int
    items: tuple[tuple[str, str, int], ...]
    last: bool = False


Groups = list[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Order:
    """A conclusion; `open_at`: the word there and the next stand in a bracket with a question mark."""

    words: tuple[str, ...]
    open_at: int | None = None

    def shown(self) -> str:
        parts = [f'"{word}"' for word in self.words]
        if self.open_at is not None:
            i = self.open_at
            parts[i : i + 2] = [show_subpart(self.words[i : i + 2])]
        return " < ".join(parts)


Fault = Callable[[Any, "Student"], Any]


@dataclass(slots=True)
class Student:
    """Writes a rationale; the `place`-th decision of kind `kind` goes through `fault` (None: no mistake can be
    made there). Kinds: look, group, skip, conclude, final."""

    words: list[str]
    rng: random.Random
    kind: str = ""
    place: int = -1
    fault: Fault | None = None
    error_step: str | None = None
    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def decide(self, kind: str, header: str, made: Any) -> Any:
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind != self.kind or count != self.place + 1 or self.fault is None:
            return made
        changed = self.fault(made, self)
        if changed is None:
            return made
        self.error_step = header
        return changed

    def write(self) -> str:
        order = self._sort_scope(self.words, 0, "", None)
        order = self.decide("final", FINAL, order)
        self.lines.append(final_line(order))
        return "\n".join(self.lines)

    def _sort_scope(self, words: Sequence[str], position: int, prefix: str, number: int | None) -> list[str]:
        """The scope with header `prefix`; `number` is None for the root, whose looks have no scope of their own."""

        used = 0

        def next_header() -> str:
            nonlocal used
            used += 1
            return f"{prefix}.{used}" if prefix else str(used)

        look = self._look(words, position, next_header() if number is None else prefix, number is not None)
        groups = self._group(look, next_header())
        while number is not None and len(groups) == 1 and self._is_open(groups[0][1], look):
            look = self._look(groups[0][1], look.position + 1, next_header(), True)
            groups = self._group(look, next_header())
        order: list[str] = []
        skipped = False
        for _, members in groups:
            if not self._is_open(members, look):
                order += members
            elif self.decide("skip", "", False):
                order += members
                skipped = True
            else:
                order += self._sort_scope(members, look.position + 1, next_header(), used)
        header = next_header()
        if skipped:
            self.error_step = header
        made: Order = self.decide("conclude", header, Order(tuple(order)))
        self.lines.append(f"({header}) Hence, we have {made.shown()}.")
        return list(made.words)

    def _is_open(self, words: Sequence[str], look: Looking) -> bool:
        return len(set(words)) > 1 and not look.last and look.position <= max(map(len, words))

    def _look(self, words: Sequence[str], position: int, header: str, subpart: bool) -> Looking:
        made: Looking = self.decide(
            "look", header, Looking(tuple(words) if subpart else None, position, letter_items(words, position))
        )
        items = ", ".join(f'"{word}"="{letter}" ({number})' for word, letter, number in made.items)
        if made.subpart is None:
            self.lines.append(f"({header}) The {ordinal(made.position)} letter: {items}.")
        else:
            where = f"{show_subpart(made.subpart)} by looking at their {ordinal(made.position)} letters"
            self.lines.append(f"({header}) Now sort this subpart {where}: {items}.")
        return made

    def _group(self, look: Looking, header: str) -> Groups:
        by_number: dict[int, list[str]] = {}
        for word, _, number in look.items:
            by_number.setdefault(number, []).append(word)
        groups: Groups = []
        for number, members in sorted(by_number.items()):
            alike = len(set(members)) == 1
            groups += [(number, [word]) for word in members] if alike else [(number, members)]
        made: Groups = self.decide("group", header, groups)
        self.lines.append(f"({header}) We now have: {show_groups(made)}.")
        return made


def letter_items(words: Sequence[str], position: int) -> tuple[tuple[str, str, int], ...]:
    letters = ((word, letter_at(word, position)) for word in words)
    return tuple((word, letter, letter_number(letter)) for word, letter in letters)
