"""What an attempt at logical deduction has established so far, and the parts of a pattern that can be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tripost_core.experts.scripted.logical_deduction_lines import Drawing, Span
from tripost_core.problems.logical_rationale import Known
from tripost_core.problems.logical_statements import Names, Story, names_of
from tripost_core.problems.ordering_patterns import Gap, Pattern
from tripost_core.problems.ordering_solver import orders_of

_SHOWN = 40
"""Longest text of an attempt, in characters, that a reason repeats in full."""


@dataclass
class Board:
    """What an attempt has established so far. `grounds`: the orders that each step leaves, by header; `turn`: which
    way round the last pattern was written."""

    known: Known
    grounds: dict[str, int] = field(default_factory=dict)
    turn: int = 1

    @property
    def story(self) -> Story:
        return self.known.story

    @property
    def names(self) -> Names:
        return names_of(self.story.listed)

    def name(self, thing: int) -> str:
        return self.story.names[thing]

    @property
    def all_told(self) -> int:
        """The orders that all steps together leave."""
        left = orders_of(self.story.n).all
        for orders in self.grounds.values():
            left &= orders
        return left


def shown(text: str) -> str:
    """A part of the attempt as a reason repeats it: short, printable, without double quotes."""
    text = "".join(c if c.isprintable() else " " for c in text[:_SHOWN]).replace('"', "'").strip()
    return f"'{text}'"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def tight(span: Span, body: str) -> Span:
    """Without white space at its ends; of something empty, the quotation marks around it."""
    text = body[span.start : span.end]
    start, end = span.start + len(text) - len(text.lstrip()), span.end - len(text) + len(text.rstrip())
    return Span(start, end) if start < end else Span(span.start - 1, span.end + 1)


class Part(NamedTuple):
    """A part of a pattern that says something on its own: a thing's distance to an end, or to the next thing."""

    pattern: Pattern
    span: Span
    first: int | None
    second: int | None
    gap: Gap


def parts_of(drawing: Drawing, turn: int) -> Iterator[Part]:
    """From left to right as written; `pattern` in the story's direction."""
    wide = Gap(open=True)
    spans, things, gaps = drawing.thing_spans, drawing.things, drawing.gaps

    def part(things: tuple[int, ...], gaps: tuple[Gap, ...]) -> Pattern:
        pattern = Pattern(things, gaps)
        return pattern if turn > 0 else pattern.mirrored

    yield Part(part(things[:1], (gaps[0], wide)), Span(drawing.span.start, spans[0].end), None, things[0], gaps[0])
    for i in range(len(things) - 1):
        pair = part(things[i : i + 2], (wide, gaps[i + 1], wide))
        yield Part(pair, Span(spans[i].start, spans[i + 1].end), things[i], things[i + 1], gaps[i + 1])
    last = Span(spans[-1].start, drawing.span.end)
    yield Part(part(things[-1:], (wide, gaps[-1])), last, things[-1], None, gaps[-1])
