"""Stories of logical deduction, read by their grammar: what the objects are and what each sentence says of their order.

    On a branch, there are three birds: a quail, an owl, and a falcon. The falcon is to the right of the quail. ...
    Options:
    (A) The quail is the leftmost.

The list after the colon gives the objects; every later sentence has to begin with one of them and either relate it to
another (`ordering_words.read_relation`) or give it a place (`read_position`). Nothing depends on what the objects are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from tripost_core.errors import DataError
from tripost_core.problems.base import strip_question
from tripost_core.problems.nouns import without_kind
from tripost_core.problems.options import LETTERS, join_options, split_options
from tripost_core.problems.ordering_patterns import Gap, Pattern, at_place
from tripost_core.problems.ordering_solver import MAX_OBJECTS, orders_of
from tripost_core.problems.ordering_words import (
    NUMBERS,
    Pole,
    Position,
    Relation,
    opposites,
    pair_is_named,
    read_position,
    read_relation,
    superlative,
)

MAX_CHARS = 6_000
"""Longest question that is read, in characters; six times the paper's longest."""
MAX_NAME_CHARS = 40

_PREAMBLE = re.compile(
    r"\s*The following paragraphs each describe a set of (?:\w+ )?objects arranged in a fixed order\. "
    r"The statements are logically consistent within each paragraph\.\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)(?<=[.!?])\s+(?=[A-Z\"'])")
_TOKEN = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")
_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})
_TAIL = re.compile(r"(?:(?: (?:on|in|at|along|from|of|by|inside|during) (?:the|a|an|this|that|all)\b)[\w ]*)?")
_FEW = dict(zip(NUMBERS, range(len(NUMBERS)), strict=True))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence says: `text` without its full stop, and the pattern of it. `things`: the objects it names, in
    its order; one thing: a place."""

    text: str
    things: tuple[int, ...]
    pattern: Pattern
    predicate: str
    """The sentence after its first object, e.g. `is the second from the left`."""


@dataclass(frozen=True, slots=True)
class Story:
    """A question read. `kind`: what the objects are, e.g. `birds`; `listed`: the objects with their articles;
    `names`: as patterns call them; `labels`: the two ends of the axis, from the first to the last place."""

    text: str
    kind: str
    listed: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str, str]
    axes: tuple[tuple[str, int], ...]
    """Every axis that words of this question have, and 1 or -1: whether its ends lie as `labels` do."""
    statements: tuple[Claim, ...]
    options: tuple[Claim, ...]
    orders: int
    """The orders that all statements leave (`ordering_solver`)."""
    answer: int
    """The option that holds in all of these orders."""

    @property
    def n(self) -> int:
        return len(self.names)

    @property
    def question(self) -> str:
        """The canonical question: with preamble, each option on a line of its own and with a full stop."""
        number = NUMBERS[self.n]
        stem = (
            f"The following paragraphs each describe a set of {number} objects arranged in a fixed order. "
            f"The statements are logically consistent within each paragraph. {self.text}"
        )
        return join_options(stem, [f"{option.text}." for option in self.options])

    def sign(self, pole: Pole) -> int | None:
        """-1 for the first end of this story's order, 1 for the last, None for a word that has no place in it."""
        turn = dict(self.axes).get(pole.axis)
        return None if turn is None else turn * pole.sign


class Mention(NamedTuple):
    """An object in a text: `text[start:end]` with its article, `text[name_start:end]` without."""

    thing: int
    start: int
    end: int
    name_start: int


class Names:
    """The objects of a story, found in text: with or without article, plural or singular, whole or by short name.

    Found by words, not by an expression of all names: compiling one takes longer than reading a whole question.
    """

    def __init__(self, listed: Sequence[str]) -> None:
        self.full = [_ARTICLE.sub("", name) for name in listed]
        self.short = _short_names(self.full)
        self._things: dict[tuple[str, ...], int] = {}
        for forms in (self.full, self.short):
            for thing, name in enumerate(forms):
                for alias in _numbers(name.lower()):
                    self._things.setdefault(tuple(_TOKEN.findall(alias)), thing)
        self._first_words = {words[0] for words in self._things}
        self._lengths = sorted({len(words) for words in self._things}, reverse=True)

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Mention]:
        """Every mention between `start` and `end`, from left to right, the longest name that fits."""
        tokens = list(_TOKEN.finditer(text, start, len(text) if end is None else end))
        words = [token[0].lower() for token in tokens]
        i = 0
        while i < len(tokens):
            first = i + 1 if words[i] in ("the", "a", "an") else i
            found = self._at(words, i) or (self._at(words, first) if first > i else None)
            if found is None:
                i += 1
                continue
            thing, begins, ends = found
            yield Mention(thing, tokens[i].start(), tokens[ends - 1].end(), tokens[begins].start())
            i = ends

    def _at(self, words: list[str], i: int) -> tuple[int, int, int] | None:
        if i >= len(words) or words[i] not in self._first_words:
            return None
        for length in self._lengths:
            thing = self._things.get(tuple(words[i : i + length]))
            if thing is not None and i + length <= len(words):
                return thing, i, i + length
        return None

    def one(self, text: str) -> int | None:
        """The object that the whole text names."""
        text = text.strip()
        mention = next(self.find(text), None)
        return mention.thing if mention and (mention.start, mention.end) == (0, len(text)) else None


def _short_names(names: Sequence[str]) -> list[str]:
    """`red` for `red book` where every object is some `book`; names without their common last word."""
    words = [name.split() for name in names]
    while all(len(parts) > 1 for parts in words) and len({parts[-1].lower() for parts in words}) == 1:
        words = [parts[:-1] for parts in words]
    short = [" ".join(parts) for parts in words]
    return short if len({name.lower() for name in short}) == len(short) else list(names)


def _numbers(name: str) -> list[str]:
    """A name as it is, and as its plural or singular."""
    other = name[:-1] if name.endswith("s") and not name.endswith("ss") else name + "s"
    return [name, other] if len(other) > 1 else [name]


@lru_cache(maxsize=4096)
def read_story(question: str) -> Story:
    """Reads and solves a question, with or without `Q: ` and preamble. Raises DataError, naming what is at fault."""
    if len(question) > MAX_CHARS:
        raise DataError(f"A question has at most {MAX_CHARS} characters, this one has {len(question)}.")
    stem, options = split_options(strip_question(question).translate(_QUOTES))
    text = " ".join(_PREAMBLE.sub("", " ".join(stem.split()), count=1).split())
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence]
    place = next((i for i, sentence in enumerate(sentences) if ": " in sentence), None)
    if place is None:
        raise DataError(f"This is not a logical-deduction question (no sentence lists the objects): {text[:80]!r}.")
    intro, _, listing = sentences[place].partition(": ")
    listed = _listed(listing)
    names = names_of(listed)
    told = [s for s in sentences[place + 1 :] if not s.endswith("?")]
    kind = _kind(intro, len(listed))
    readings = [_read(sentence, names, kind) for sentence in (*told, *options)]
    if len(options) < 2:
        raise DataError(f"The question has {len(options)} options; it needs at least two.")
    statements, choices = readings[: len(told)], readings[len(told) :]
    return _solve(text, kind, listed, names, statements, choices)


def _listed(listing: str) -> tuple[str, ...]:
    listing = listing.strip().rstrip(".!")
    parts = re.split(r",\s*(?:and\s+)?", listing) if "," in listing else re.split(r"\s+and\s+", listing)
    if "," in listing and " and " in parts[-1] and len(parts) < 8:  # no comma before the last `and`
        parts[-1:] = parts[-1].rsplit(" and ", 1)
    listed = tuple(part.strip() for part in parts)
    if not 2 <= len(listed) <= MAX_OBJECTS or any(not 0 < len(name) <= MAX_NAME_CHARS for name in listed):
        raise DataError(f"The question has to list 2 to {MAX_OBJECTS} objects after a colon, unlike {listing[:80]!r}.")
    bare = [_ARTICLE.sub("", name).lower() for name in listed]
    if len(set(bare)) < len(bare):
        raise DataError(f"An object is listed twice in {listing[:80]!r}.")
    if any(re.search(r'["?():]', name) for name in listed):
        raise DataError(f"The name of an object has a character that patterns need: {listing[:80]!r}.")
    return listed


def _kind(intro: str, count: int) -> str:
    """`birds` of `On a branch, there are three birds`. Raises DataError where the intro counts otherwise."""
    words = intro.lower().split()
    for i, word in enumerate(words):
        number = _FEW.get(word, int(word) if word.isascii() and word.isdigit() and len(word) < 3 else None)
        if number is not None and i + 1 < len(words):
            if number != count:
                raise DataError(f"The question says {word!r}, but it lists {count} objects.")
            return " ".join(intro.split()[i + 1 :])
    return "objects"


def read_claim(story: Story, sentence: str) -> Claim | None:
    """What a sentence says about the objects of a story; None where it says nothing that can be read."""
    try:
        reading = _read(sentence, names_of(story.listed), story.kind)
        pole = reading.what.pole
        if pole is not None and story.sign(pole) is None:
            return None
        return _claim(reading, dict(story.axes), story.n)
    except DataError:
        return None


def place_pattern(story: Story, thing: int, position: Position) -> Pattern | None:
    """The pattern of an object at a place; None where the story has no such place."""
    try:
        if position.pole is not None and story.sign(position.pole) is None:
            return None
        return _claim(_Reading("", (thing,), position, ""), dict(story.axes), story.n).pattern
    except DataError:
        return None


@lru_cache(maxsize=4096)
def names_of(listed: tuple[str, ...]) -> Names:
    """The names of a story's objects, made once."""
    return Names(listed)


@dataclass(frozen=True, slots=True)
class _Reading:
    text: str
    things: tuple[int, ...]
    what: Relation | Position
    predicate: str


def _read(sentence: str, names: Names, kind: str) -> _Reading:
    text = sentence.strip().rstrip(".!").strip()
    mentions = list(names.find(text))
    if not mentions or mentions[0].start > 0:
        raise DataError(f"The sentence {text[:80]!r} does not begin with one of the objects.")
    subject, end = mentions[0].thing, mentions[0].end
    predicate = text[end:].strip()
    if len(mentions) == 2:
        thing, start, stop, _ = mentions[1]
        relation = read_relation(text[end:start].strip())
        if relation is not None and thing != subject and _TAIL.fullmatch(text[stop:]):
            return _Reading(text, (subject, thing), relation, predicate)
    elif len(mentions) == 1:
        position = read_position(without_kind(predicate, kind))
        if position is not None:
            return _Reading(text, (subject,), position, predicate)
    raise DataError(f"The sentence {text[:80]!r} says nothing about the order that can be read.")


def _solve(
    text: str, kind: str, listed: tuple[str, ...], names: Names, statements: list[_Reading], choices: list[_Reading]
) -> Story:
    """Puts all words on one axis and finds the option that holds. Words of axes that are not known to be the same are
    tried both ways round; the way that leaves exactly one option to hold is meant, opposites before equals."""
    poles = [pole for reading in (*statements, *choices) if (pole := reading.what.pole) is not None]
    axes = list(dict.fromkeys(pole.axis for pole in poles))
    if not axes:
        raise DataError("No sentence of the question orders its objects.")
    main = max(axes, key=lambda axis: (bool(opposites(axis)), -axes.index(axis)))
    others = [axis for axis in axes if axis != main]
    if len(others) > 3:
        raise DataError(f"The question orders its objects by too many things: {', '.join(axes)}.")
    n = len(listed)
    for signs in product((-1, 1), repeat=len(others)):
        turn = {main: 1, **dict(zip(others, signs, strict=True))}
        told = [_claim(reading, turn, n) for reading in statements]
        offered = [_claim(reading, turn, n) for reading in choices]
        orders = orders_of(n).all
        for claim in told:
            orders &= claim.pattern.orders(n)
        holding = [i for i, claim in enumerate(offered) if not orders & ~claim.pattern.orders(n)]
        if orders and len(holding) == 1:
            return Story(
                text=text,
                kind=kind,
                listed=listed,
                names=tuple(names.short),
                labels=_labels(poles, main, turn),
                axes=tuple(turn.items()),
                statements=tuple(told),
                options=tuple(offered),
                orders=orders,
                answer=holding[0],
            )
    if others or not orders:
        raise DataError("The statements of the question contradict each other.")
    letters = ", ".join(LETTERS[i] for i in holding) or "none"
    raise DataError(f"The statements have to make exactly one option hold, but of these it is {letters}.")


def _claim(reading: _Reading, turn: dict[str, int], n: int) -> Claim:
    what, things = reading.what, reading.things
    if isinstance(what, Position) and what.pole is None:
        if n % 2 == 0:
            raise DataError(f"Of {n} objects none is in the middle.")
        pattern = at_place(things[0], n // 2 + 1, from_end=False)
    elif isinstance(what, Position):
        assert what.pole is not None
        if not 1 <= what.rank <= n:
            raise DataError(f"The sentence {reading.text[:80]!r} names a place that {n} objects do not have.")
        pattern = at_place(things[0], what.rank, from_end=what.pole.sign * turn[what.pole.axis] > 0)
    else:
        wide = Gap(open=True)
        between = wide if what.distance is None else Gap(what.distance - 1)
        pattern = Pattern((things[1], things[0]), (wide, between, wide))
        if what.pole.sign * turn[what.pole.axis] < 0:
            pattern = pattern.mirrored
    return Claim(reading.text, things, pattern, reading.predicate)


def _labels(poles: Sequence[Pole], main: str, turn: dict[str, int]) -> tuple[str, str]:
    """How patterns call the first and the last end, in superlatives: `oldest`, `newest`; `left`, `right`."""
    mentioned = [pole.label for pole in poles if pole.axis == main]
    for pair in opposites(main):
        if any(pair_is_named(pair, label) for label in mentioned):
            return superlative(pair[0]), superlative(pair[1])
    ends = {-1: "", 1: ""}
    for pole in poles:
        ends[pole.sign * turn[pole.axis]] = ends[pole.sign * turn[pole.axis]] or pole.label
    return ends[-1] or f"not {ends[1]}", ends[1] or f"not {ends[-1]}"
