"""The lines of a multistep arithmetic attempt as records: a partition, a chain of equalities, the answer, or broken.

Reading is lenient in wording and spacing and strict in what is calculated: `(3) So B = (20 - 2) = 18` is a chain as
good as the reference's wording, `(3) Let's calculate B = (20 - 2 = 18.` is broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from tripost_core.problems import expression as ex
from tripost_core.problems.multistep_arithmetic import ANSWER, MAX_LINE_CHARS, canonical_integer
from tripost_core.trajectory import FINAL, Step

_WHERE = re.compile(r"\bwhere\b", re.IGNORECASE)
_WRITTEN = re.compile(r"\bwritten\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“”]([^\"“”]*)[\"“”]")
_DEFINITION = re.compile(r"(?<![A-Za-z0-9])([A-Za-z][0-9]{0,3})\s*=")
_CONCLUDING = re.compile(r"\bfinal equation is\b:?", re.IGNORECASE)
_CALCULATING = re.compile(r"\bcalculate\b:?", re.IGNORECASE)
# Words that may stand before the first expression: no digit, bracket, operator or equality sign among them.
_WORDS = re.compile(r"(?:[^0-9()\[\]+*=\-−×·]|(?<=[A-Za-z])-(?=[A-Za-z]))*")
_SUFFIX_CHARS = 400
_MAX_DEFINITIONS = 64
_BROKEN_SEGMENT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one line, without surrounding spaces."""

    line: str
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.line[self.start : self.end]

    def to(self, other: Part) -> str:
        """The line from here to the end of a later part, verbatim."""
        return self.line[self.start : other.end]


@dataclass(frozen=True, slots=True)
class Partition:
    """`This equation can be written as "(A - B)", where A = (1 + 2) and B = (3 - 4).`"""

    symbolic: Part
    definitions: tuple[tuple[Part, Part], ...]
    """Letter and expression."""


@dataclass(frozen=True, slots=True)
class Chain:
    """`A = (1 + 2) = 3`, the parts between equality signs; `concluding`: announced as the final equation."""

    parts: tuple[Part, ...]
    concluding: bool


@dataclass(frozen=True, slots=True)
class Answer:
    value: int
    part: Part


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that says nothing that can be checked."""

    part: Part
    reason: str


def read_step(step: Step) -> Partition | Chain | Answer | Broken:
    """One line; never raises."""
    line = step.line
    body = _part(line, len(line) - len(step.body), len(line))
    if body.start == body.end:
        return Broken(_part(line, 0, len(line)), "the step is empty")
    if len(line) > MAX_LINE_CHARS:
        return Broken(_shortened(body), "the step is far too long")
    if step.header == FINAL:
        return _read_answer(line, body)
    where = _WHERE.search(line, body.start)
    quoted = _QUOTED.search(line, body.start)
    if where or (quoted and _WRITTEN.search(line, body.start)):
        return _read_partition(line, body, where, quoted)
    return _read_chain(line, body)


def states_answer(line: str) -> bool:
    """Whether the line reads like a final line, whatever its header."""
    return len(line) <= MAX_LINE_CHARS and ANSWER.search(line.rstrip()) is not None


def _read_answer(line: str, body: Part) -> Answer | Broken:
    match = ANSWER.search(line[: body.end], body.start)
    value = canonical_integer(match[1]) if match else None
    if match is None or value is None:
        return Broken(_shortened(body), "the final response does not give an integer as the answer")
    return Answer(int(value), Part(line, match.start(), match.end()))


def _read_partition(
    line: str, body: Part, where: re.Match[str] | None, quoted: re.Match[str] | None
) -> Partition | Broken:
    if quoted and (where is None or quoted.start() < where.start()):
        symbolic: Part | None = _part(line, quoted.start(1), quoted.end(1))
    else:
        assert where is not None, line
        symbolic = _expression_after_words(_part(line, body.start, _without(line, where.start(), " ,;")))
    if symbolic is None or symbolic.start == symbolic.end:
        return Broken(_shortened(body), "it does not say how the equation can be written")
    if where is None:
        return Partition(symbolic, ())
    names = list(islice(_DEFINITION.finditer(line, where.end(), body.end), _MAX_DEFINITIONS))
    if not names or line[where.end() : names[0].start()].strip(" ,:"):
        return Broken(_shortened(body), "the letters are not defined in the form A = (...)")
    definitions = []
    for index, name in enumerate(names):
        last = index + 1 == len(names)
        end = _without(line, body.end if last else names[index + 1].start(), " ,;." if last else " ,;")
        if line[:end].endswith("and") and not line[end - 4 : end - 3].isalnum():
            end = _without(line, end - 3, " ,;")
        definitions.append((Part(line, name.start(1), name.end(1)), _part(line, name.end(), max(end, name.end()))))
    return Partition(symbolic, tuple(definitions))


def _read_chain(line: str, body: Part) -> Chain | Broken:
    concluding = _CONCLUDING.search(line, body.start)
    calculating = None if concluding else _CALCULATING.search(line, body.start)
    announced = concluding or calculating
    position = announced.end() if announced else body.start
    end = _without(line, body.end, " ")
    if line[position:end].endswith("."):
        end -= 1
    parts = []
    for text in line[position:end].split("="):
        parts.append(_part(line, position, position + len(text)))
        position += len(text) + 1
    if len(parts) == 1 and not concluding:
        return Broken(_shortened(body), "it is not a calculation that can be followed")
    first = _expression_after_words(parts[0])
    if first is None:
        shown = parts[0] if len(parts) == 1 else Part(line, parts[0].start, max(parts[0].end, parts[1].end))
        return Broken(_shortened(shown if shown.text.strip() else body), _why_not(parts[0].text))
    return Chain((first, *parts[1:]), concluding is not None)


def _expression_after_words(part: Part) -> Part | None:
    """The longest expression that the part ends with, when only words stand before it."""
    if _parses(part.text):
        return part
    words_end = _WORDS.match(part.line, part.start, part.end).end()  # type: ignore[union-attr]
    for start in range(max(part.start + 1, part.end - _SUFFIX_CHARS), part.end):
        if start > words_end:
            return None
        if part.line[start].isspace() or part.line[start - 1].isalnum():
            continue
        if _parses(part.line[start : part.end]):
            return Part(part.line, start, part.end)
    return None


def _parses(text: str) -> bool:
    try:
        ex.parse(text)
    except ex.ExpressionError:
        return False
    return True


def _why_not(text: str) -> str:
    try:
        ex.parse(text)
    except ex.ExpressionError as error:
        return str(error)
    return "it is not a calculation that can be followed"


def _part(line: str, start: int, end: int) -> Part:
    text = line[start:end]
    start += len(text) - len(text.lstrip())
    return Part(line, start, max(start, start + len(text.strip())))


def _without(line: str, end: int, characters: str) -> int:
    """`end` moved left over these characters and white space."""
    while end and (line[end - 1] in characters or line[end - 1].isspace()):
        end -= 1
    return end


def _shortened(part: Part) -> Part:
    return _part(part.line, part.start, min(part.end, part.start + _BROKEN_SEGMENT_CHARS))
