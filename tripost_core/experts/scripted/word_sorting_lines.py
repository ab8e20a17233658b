"""Reading one line of a word-sorting attempt, however broken: which kind of step it is and what it claims.

Nothing here judges the claims. The scanners are anchored and look at every character a bounded number of times, so a
hostile line costs time in proportion to its length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tripost_core.problems.word_sorting import MAX_LETTERS, ordinal

_POSITIONS = {ordinal(position): position for position in range(MAX_LETTERS + 1)}
_QUOTED = re.compile(r'"[^"]*"')
_LETTERS = re.compile(r"\sletters?\s*:", re.I)
_SUBPART = re.compile(r'\[\s*"[^"]*"(?:\s*[?<>,]\s*"[^"]*")*\s*\]')
_NOW = re.compile(r"\bwe now have\b\s*:?\s*", re.I)
_HENCE = re.compile(r"\bhence\b,?\s*(?:we(?: now)? have\b)?\s*:?\s*", re.I)
_ITEM = re.compile(r'"([^"]*)"\s*=\s*"([^"]*)"\s*\((-?[0-9]{1,6})\)')
_ENTRY = re.compile(
    r'\((-?[0-9]{1,6})\)\s*(?:"([^"]*)"|(\[\s*"[^"]*"(?:\s*[?<>,]\s*"[^"]*")*\s*\]))',
)
_COMMA = re.compile(r"\s*,\s*")
_RELATION = re.compile(r"\s*([<>?])\s*")
_WORD = re.compile(r'[\[\s]*"([^"]*)"[\]\s]*')
_ANSWER = re.compile(r"\bthe answer is\b\s*:?", re.I)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a line: its words and relations as claimed, and where it stands in the step's body.

    An item of a look has one word, its `letter` and `number`; an entry of a grouping has a `number`; a word of a
    conclusion has neither. `relation` is what stands before the piece (`<`, `>`, `?`, empty for the first);
    `inner` are the signs between the words of a bracket.
    """

    words: tuple[str, ...]
    start: int
    end: int
    letter: str = ""
    number: int = 0
    relation: str = ""
    bracketed: bool = False
    inner: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """`... subpart [...] by looking at their second letters: ...`; `subpart` is None for `The first letter: ...`."""

    position: int
    subpart: Piece | None
    phrase: tuple[int, int]
    """Span of the words that name the letters, e.g. `by looking at their second letters`."""
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """`We now have: ...`"""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`Hence, we have ...`"""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """`So the answer is: ...`; `phrase` is the span of `the answer is:`."""

    phrase: tuple[int, int]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No step that can be read; `start` is where reading stopped."""

    start: int
    reason: str


Line = Look | Grouping | Conclusion | Answer | Unreadable


def read_line(body: str, final: bool) -> Line:
    """The claim of a line whose header has been taken off; `final` where the header was `(Final response)`."""
    if final:
        return _read_answer(body)
    if body.startswith("We now have: "):
        return _read_grouping(body, len("We now have: "))
    if body.startswith("Hence, we have "):
        return _read_conclusion(body, len("Hence, we have "))
    # Words may hold anything but a double quote ("hence", "["): only what stands outside the quotes tells the kind.
    outside = _QUOTED.sub(lambda match: '"' + "*" * (len(match[0]) - 2) + '"', body)
    if match := _LETTERS.search(outside):
        return _read_look(body, outside, match)
    if match := _HENCE.search(outside):
        return _read_conclusion(body, match.end())
    if match := _NOW.search(outside):
        return _read_grouping(body, match.end())
    return Unreadable(0, "it neither looks at letters, nor orders words, nor draws a conclusion")


def _read_look(body: str, outside: str, match: re.Match[str]) -> Look | Unreadable:
    ordinals = outside[: match.start()].split()[-1:]
    if not ordinals or ordinals[0].lower() not in _POSITIONS:
        return Unreadable(0, "it does not say which letters are looked at")
    subpart = None
    phrase_start = 0
    if bracket := _SUBPART.search(outside, 0, match.start()):
        words, inner = _bracket(body[bracket.start() : bracket.end()])
        subpart = Piece(words, bracket.start(), bracket.end(), bracketed=True, inner=inner)
        phrase_start = bracket.end()
    lead = outside[: subpart.start] if subpart else ""
    if re.search(r'["\[\]]', lead + outside[phrase_start : match.start()]):
        return Unreadable(0, "the subpart to be sorted cannot be read")
    phrase = _trim(body, phrase_start, match.end() - 1)
    pieces = []
    position = match.end()
    while item := _ITEM.match(body, _skip_space(body, position)):
        pieces.append(Piece((item[1],), item.start(), item.end(), item[2], int(item[3])))
        position = item.end()
        if not (comma := _COMMA.match(body, position)):
            break
        position = comma.end()
    else:
        return Unreadable(position, "it should name a word, one of its letters and that letter's number")
    if body[position:].strip() not in ("", "."):
        return Unreadable(position, "the list of letters should be over here")
    return Look(_POSITIONS[ordinals[0].lower()], subpart, phrase, tuple(pieces))


def _read_grouping(body: str, position: int) -> Grouping | Unreadable:
    pieces: list[Piece] = []
    relation = ""
    while entry := _ENTRY.match(body, position):
        words, inner = ((entry[2],), "") if entry[3] is None else _bracket(entry[3])
        pieces.append(
            Piece(words, *entry.span(), "", int(entry[1]), relation, entry[3] is not None, inner),
        )
        position = entry.end()
        if not (sign := _RELATION.match(body, position)):
            break
        relation, position = sign[1], sign.end()
    else:
        return Unreadable(position, "it should name a number and the words whose letter has it")
    if body[position:].strip() not in ("", "."):
        return Unreadable(position, "the ordering should go on with a smaller-than sign or be over here")
    return Grouping(tuple(pieces))


def _read_conclusion(body: str, position: int) -> Conclusion | Unreadable:
    pieces: list[Piece] = []
    relation = ""
    while word := _WORD.match(body, position):
        quote = body.index('"', position)
        pieces.append(Piece((word[1],), quote, quote + len(word[1]) + 2, relation=relation))
        position = word.end()
        if not (sign := _RELATION.match(body, position)):
            break
        relation, position = sign[1], sign.end()
    else:
        return Unreadable(position, "it should name a word in double quotes")
    if body[position:].strip() not in ("", "."):
        return Unreadable(position, "the ordering should go on with a smaller-than sign or be over here")
    return Conclusion(tuple(pieces))


def _read_answer(body: str) -> Answer | Unreadable:
    match = _ANSWER.search(body)
    if not match:
        return Unreadable(0, "it does not say what the answer is")
    end = len(body.rstrip())
    if end > match.end() and body[end - 1] == ".":
        end -= 1
    words = re.compile(r"\S+").finditer(body, match.end(), end)
    return Answer(match.span(), tuple(Piece((word[0],), *word.span()) for word in words))


def _bracket(text: str) -> tuple[tuple[str, ...], str]:
    """The words of `["a" ? "b"]` and the signs between them."""
    words = tuple(quoted[1:-1] for quoted in _QUOTED.findall(text))
    return words, re.sub(r"[\[\]\s]", "", _QUOTED.sub("", text))


def _skip_space(body: str, position: int) -> int:
    while position < len(body) and body[position].isspace():
        position += 1
    return position


def _trim(body: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends; never empty where `body[start:end]` holds anything else."""
    start = _skip_space(body, start)
    return start, start + len(body[start:end].rstrip())
