"""Lines of an attempt at logical deduction, read as far as they can be: what each claims, and where in the line.

The owl is to the left of the quail: "(left) ?? owl ?? quail ?? (right)".        Statement
There are in total three birds: a quail, an owl, and a falcon.                   Total
Combining (1) and (2) we get the following ordering: "(left) owl quail (right)". Combination
According to this ordering, the bird that is the leftmost is the owl.            Conclusion
The owl is the leftmost. So the answer is (B).                                   Answer
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tripost_core.problems.logical_statements import Names, Story, names_of
from tripost_core.problems.nouns import without_kind
from tripost_core.problems.ordering_patterns import Gap, Pattern
from tripost_core.problems.ordering_words import NUMBERS, Position, read_label, read_position

MAX_LINE_CHARS = 4_000
"""Longer lines are not read; the longest of a gold rationale has some 200."""

_REFERENCE = re.compile(r"\((?P<header>[0-9][0-9.]{0,20})\)")
_COMBINING = re.compile(
    r"(?:combin\w*|merg\w*|putting together|using|from|with|by)\b(?P<grounds>[^\"]{0,400}?)"
    r"(?:we (?:now )?(?:get|have|obtain|know)|gives?|this gives|we can conclude|it follows)[^\":]{0,80}:\s*(?=\")",
    re.IGNORECASE,
)
_ORDER_AGAIN = re.compile(
    r"(?:according to|from|based on|by|in|so|thus|therefore|hence)\b[^\":]{0,200}:\s*(?=\")", re.I
)
_TOTAL = re.compile(r"there (?:are|were|is) (?:(?:in total|a total of|only)\s)?(?P<counted>[^:\"]{0,200}):\s*", re.I)
_COUNT = re.compile(r"\b(?P<number>" + "|".join(NUMBERS) + r"|[0-9]{1,2})\b", re.I)
_ITEM = re.compile(r"(?P<item>[^,]+?)\s*(?:,\s*(?:and\s+)?|$)", re.I)
_LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?"
    r"(?:(?:according to|from|based on|by|in) (?:this|that|the|these)\b[^,]{0,60},\s*)?",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()]*\)")
_COPULA = re.compile(r"\s*(?:\b(?:is|are|was|were|must be|has to be)|:)\s*$", re.IGNORECASE)
_ANSWER = re.compile(
    r"(?:\b(?:so|therefore|thus|hence),?\s+)?"
    r"(?P<phrase>the (?:correct )?answer is:?\s*(?P<letter>\(?[A-Za-z]\)?)(?!\w))"
    r"(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_END = re.compile(r"[.\s]*$")


class Span(NamedTuple):
    """Part of a body: `body[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A quoted pattern. `things` and `gaps` as they are written; `foreign`: words that name no object; `turn`: 1 where
    the labels lie as the story's, -1 the other way round, 0 where they do not tell; `bad_label`: a label that fits
    neither end, or the same end twice."""

    span: Span
    things: tuple[int, ...]
    thing_spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    foreign: tuple[Span, ...]
    turn: int
    bad_label: Span | None

    def pattern(self, turn: int) -> Pattern:
        """With the things as they are written, or from the other end for -1."""
        pattern = Pattern(self.things, self.gaps)
        return pattern if turn > 0 else pattern.mirrored


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    span: Span
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Total:
    span: Span
    number: int | None
    number_span: Span
    items: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """`grounds`: the headers that are named, in their order; empty: whatever stands before."""

    grounds: tuple[tuple[str, Span], ...]
    grounds_span: Span
    drawing: Drawing


@dataclass(frozen=True, slots=True)
class Conclusion:
    """That `thing` is at `position`."""

    span: Span
    thing: int
    thing_span: Span
    position: Position


@dataclass(frozen=True, slots=True)
class Answer:
    sentence: str
    sentence_span: Span
    letter: str
    letter_span: Span


@dataclass(frozen=True, slots=True)
class Unreadable:
    """`start`: where reading ended."""

    start: int
    reason: str


Line = Statement | Total | Combination | Conclusion | Answer | Unreadable


def read_line(body: str, story: Story, final: bool) -> Line:
    """Reads one line without its header."""
    if len(body) > MAX_LINE_CHARS:
        return Unreadable(0, "this line is far too long for a step")
    if final:
        return _read_answer(body)
    names = names_of(story.listed)
    quoted = _quoted(body, story, names)
    if isinstance(quoted, Unreadable):
        return quoted
    if quoted is not None:
        return _read_drawn(body, quoted)
    if match := _TOTAL.match(body):
        return _read_total(body, match, names)
    return _read_conclusion(body, story, names)


def _read_drawn(body: str, drawing: Drawing) -> Line:
    start = drawing.span.start - 1  # of the quotation mark
    match = _COMBINING.match(body) or _ORDER_AGAIN.match(body)
    if match and match.end() == start:
        grounds = tuple((m["header"], Span(*m.span())) for m in _REFERENCE.finditer(body, 0, start))
        whole = Span(grounds[0][1].start, grounds[-1][1].end) if grounds else Span(0, len(body[:start].rstrip(" :")))
        return Combination(grounds, whole, drawing)
    text = body[:start].rstrip()
    if not text.endswith(":") or not text[:-1].strip():
        return Unreadable(0, "it does not say what the pattern stands for")
    text = text[:-1].rstrip()
    return Statement(text, Span(len(text) - len(text.lstrip()), len(text)), drawing)


def _quoted(body: str, story: Story, names: Names) -> Drawing | Unreadable | None:
    first, last = body.find('"'), body.rfind('"')
    if first < 0:
        return None
    if first == last:
        return Unreadable(first, "the pattern breaks off")
    if body.count('"') > 2:
        return Unreadable(first, "it has more than one pattern")
    if not _END.match(body, last + 1):
        return Unreadable(last + 1, "nothing should follow the pattern")
    return _draw(body, first + 1, last, story, names)


_LABEL = re.compile(r"\s*\((?P<label>[^()]*)\)\s*")
_LABEL_AT_END = re.compile(r"\((?P<label>[^()]*)\)\s*$")
PLACES = ("left", "above")
"""Axes of places (`ordering_words`)."""
_GAP = re.compile(r"\?+")
_BETWEEN = re.compile(r"[\s,<]+|->|\band\b")
_FOREIGN = re.compile(r"[^\s?,()]+|\S")


def _draw(body: str, start: int, end: int, story: Story, names: Names) -> Drawing:
    inner = Span(start, end)
    labels: list[tuple[str, Span] | None] = [None, None]
    if match := _LABEL.match(body, start, end):
        labels[0] = match["label"], Span(*match.span("label"))
        start = match.end()
    if match := _LABEL_AT_END.search(body, start, end):
        labels[1] = match["label"], Span(*match.span("label"))
        end = match.start()
    turn, bad_label = _turn(labels, story)
    things: list[int] = []
    spans: list[Span] = []
    foreign: list[Span] = []
    gaps = [Gap()]
    mentions = {mention.start: mention for mention in names.find(body, start, end)}
    at = start
    while at < end:
        if match := _BETWEEN.match(body, at, end):
            at = match.end()
        elif match := _GAP.match(body, at, end):
            marks = match.end() - at
            gaps[-1] = Gap(gaps[-1].least + marks % 2, open=gaps[-1].open or marks > 1)
            at = match.end()
        elif mention := mentions.get(at):
            things.append(mention.thing)
            spans.append(Span(mention.name_start, mention.end))
            gaps.append(Gap())
            at = mention.end
        else:
            match = _FOREIGN.match(body, at, end)
            assert match is not None
            foreign.append(Span(*match.span()))
            at = match.end()
    return Drawing(inner, tuple(things), tuple(spans), tuple(gaps), tuple(foreign), turn, bad_label)


def _turn(labels: list[tuple[str, Span] | None], story: Story) -> tuple[int, Span | None]:
    """(1, -1 or 0 for unknown; a label that does not fit)."""
    signs: list[int | None] = []
    for label in labels:
        if label is None:
            signs.append(None)
            continue
        sign, is_place = _end_named(label[0].strip().lower(), story)
        if sign is None and not is_place:
            return 0, label[1]
        signs.append(sign)
    first, last = signs
    if first is not None and first == last:
        return 0, labels[1][1] if labels[1] else None
    if first is not None:
        return -first, None
    return last or 0, None


def _end_named(label: str, story: Story) -> tuple[int | None, bool]:
    """(-1 or 1 for an end of the story's order, whether it names a place: `left` may stand for `oldest`)."""
    if label in story.labels:
        return (-1 if label == story.labels[0] else 1), False
    if label in ("least", "most") and story.labels[1].startswith("most"):
        return (-1 if label == "least" else 1), False
    pole = read_label(label)
    if pole is None:
        return None, False
    return story.sign(pole), pole.axis in PLACES


def _read_total(body: str, match: re.Match[str], names: Names) -> Total | Unreadable:
    end = len(body.rstrip().rstrip("."))
    if end <= match.end():
        return Unreadable(match.end(), "it lists no objects")
    number, where = None, Span(*match.span("counted"))
    if count := _COUNT.search(body, *match.span("counted")):
        word = count["number"].lower()
        number, where = int(word) if word.isdigit() else NUMBERS.index(word), Span(*count.span())
    items = tuple(_items(body, match.end(), end, names))
    return Total(Span(match.end(), end), number, where, items)


def _items(body: str, start: int, end: int, names: Names) -> Iterator[Span]:
    """The listed objects; `a tin and a cup` counts as two."""
    for match in _ITEM.finditer(body, start, end):
        span = Span(*match.span("item"))
        text = body[span.start : span.end]
        cut = text.find(" and ")
        if names.one(text) is None and cut > 0:
            yield Span(span.start, span.start + cut)
            yield Span(span.start + cut + 5, span.end)
        else:
            yield span


def _read_conclusion(body: str, story: Story, names: Names) -> Conclusion | Unreadable:
    body = _ASIDE.sub(lambda aside: " " * len(aside[0]), body)  # the spans stay what they are
    lead = _LEAD_IN.match(body)
    start = lead.end() if lead else 0
    end = len(body.rstrip().rstrip(".").rstrip())
    while start < end and body[start].isspace():
        start += 1
    mentions = list(names.find(body, start, end))
    if len(mentions) != 1:
        return Unreadable(start, "this is no step of an ordering")
    thing, first, last, _ = mentions[0]
    if first == start:
        said = body[last:end]
    elif last == end:
        said = _COPULA.sub("", body[start:first])
    else:
        return Unreadable(start, "this is no step of an ordering")
    position = read_position(without_kind(" ".join(said.split()), story.kind))
    if position is None:
        return Unreadable(start, "it gives no place in an ordering")
    return Conclusion(Span(start, end), thing, Span(first, last), position)


def _read_answer(body: str) -> Answer | Unreadable:
    match = _ANSWER.search(body)
    if match is None:
        return Unreadable(0, "it does not say which option is the answer")
    if not _END.match(match["rest"]):
        return Unreadable(match.end("letter"), "nothing should follow the answer")
    sentence = body[: match.start()]
    start, end = len(sentence) - len(sentence.lstrip()), len(sentence.rstrip().rstrip("."))
    letter = match["letter"].strip("()").upper()
    span = Span(start, max(start, end))
    return Answer(body[span.start : span.end], span, letter, Span(*match.span("phrase")))
