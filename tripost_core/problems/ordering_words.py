"""The words that order things: `to the left of`, `is newer than`, `finished second-to-last`, `are the third-cheapest`.

A predicate is read by its grammar - comparatives, superlatives, ordinals, places - and not by a list of sentences. What
words cannot tell is which adjectives are opposites; those that are known stand in `_OPPOSITES`, and unknown ones get an
axis of their own, which the story then has to place (`logical_statements`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

_OPPOSITES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("left", "right"), ("west", "east")),
    (
        ("above", "below"), ("before", "after"), ("ahead", "behind"), ("front", "back"), ("over", "under"),
        ("top", "bottom"), ("upper", "lower"), ("high", "low"), ("early", "late"), ("soon", "late"), ("fast", "slow"),
        ("quick", "slow"), ("good", "bad"), ("north", "south"), ("first", "last"), ("start", "end"),
        ("beginning", "end"), ("front", "rear"), ("over", "beneath"), ("over", "underneath"),
    ),
    (("old", "new"), ("old", "young"), ("old", "recent"), ("old", "modern"), ("ancient", "modern")),
    (("cheap", "expensive"), ("cheap", "costly"), ("cheap", "pricey"), ("cheap", "dear")),
    (("short", "tall"), ("short", "long")),
    (("light", "heavy"),),
    (("small", "big"), ("small", "large"), ("little", "large"), ("small", "great"), ("tiny", "huge")),
    (("cold", "hot"), ("cool", "warm"), ("cold", "warm"), ("cool", "hot")),
    (("shallow", "deep"),),
    (("narrow", "wide"), ("narrow", "broad")),
    (("thin", "thick"), ("thin", "fat"), ("slim", "stout")),
    (("weak", "strong"),),
    (("soft", "hard"), ("soft", "firm")),
    (("easy", "difficult"), ("simple", "complicated"), ("simple", "complex")),
    (("quiet", "loud"), ("quiet", "noisy")),
    (("dark", "bright"), ("dim", "bright"), ("dark", "light-coloured")),
    (("sour", "sweet"), ("bitter", "sweet")),
    (("poor", "rich"), ("poor", "wealthy")),
    (("near", "far"), ("close", "far"), ("close", "distant"), ("near", "distant")),
    (("blunt", "sharp"), ("dull", "sharp")),
    (("empty", "full"),),
    (("dirty", "clean"),),
    (("dry", "wet"),),
    (("smooth", "rough"),),
    (("mild", "spicy"),),
    (("stale", "fresh"),),
    (("ugly", "pretty"), ("ugly", "beautiful")),
    (("sad", "happy"),),
    (("calm", "wild"),),
    (("few", "many"), ("less", "more"), ("least", "most")),
)  # fmt: skip
"""Per axis, pairs of opposites: the word for its first end, the word for its other end."""

_IRREGULAR = {
    "better": "good", "best": "good", "worse": "bad", "worst": "bad", "elder": "old", "eldest": "old",
    "farther": "far", "further": "far", "farthest": "far", "furthest": "far", "latter": "late",
}  # fmt: skip
_SUPERLATIVES = {"good": "best", "bad": "worst", "far": "farthest", "few": "fewest"}
_NOT_GRADED = {"left", "right", "above", "below", "before", "after", "ahead", "behind", "front", "back", "over",
               "under", "top", "bottom", "first", "last", "start", "end", "beginning", "rear", "north", "south",
               "east", "west",
               "beneath", "underneath", "least", "most", "less", "more"}  # fmt: skip
_VERBS = {"cost": "expensive", "weigh": "heavy"}
_VOWELS = "aeiou"


def _stem(word: str) -> str:
    """What an adjective and its `-er` and `-est` forms have in common: `large`, `larger` -> `larg`."""
    word = word.lower()
    if word in _IRREGULAR:
        return _stem(_IRREGULAR[word])
    if len(word) > 2 and word[-1] == word[-2]:
        word = word[:-1]
    if word.endswith("e"):
        word = word[:-1]
    return word[:-1] + "y" if word.endswith("i") else word


def _graded(word: str, ending: str) -> str | None:
    """The stem of a comparative (`er`) or superlative (`est`), None for another word."""
    word = word.lower()
    if word in _IRREGULAR and (word.endswith(ending) or (ending == "est" and word.endswith("st"))):
        return _stem(word)
    if word in ("worse", "upper") and ending == "er":
        return _stem(word)
    if word.endswith(ending) and len(word) > len(ending) + 1 and word not in ("other", "rather", "under", "over"):
        return _stem(word[: -len(ending)])
    return None


_AXES: dict[str, tuple[str, int]] = {}
for _pairs in _OPPOSITES:
    for _pair in _pairs:
        for _sign, _word in zip((-1, 1), _pair, strict=True):
            _AXES.setdefault(_word if _word in _NOT_GRADED else _stem(_word), (_pairs[0][0], _sign))


@dataclass(frozen=True, slots=True)
class Pole:
    """One end of an axis: `sign` -1 is its first end. `label` says how the text calls it, e.g. `newest`."""

    axis: str
    sign: int
    label: str

    @property
    def opposite(self) -> Pole:
        return Pole(self.axis, -self.sign, "")


@dataclass(frozen=True, slots=True)
class Relation:
    """The subject is nearer to `pole` than the object; `distance`: so many places nearer, None for any number."""

    pole: Pole
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The `rank`-th from `pole` (from 1); no pole: the middle."""

    pole: Pole | None
    rank: int = 1


def _pole(word: str, label: str = "", flip: bool = False) -> Pole:
    key = word if word in _NOT_GRADED else _graded(word, "er") or _graded(word, "est") or _stem(word)
    axis, sign = _AXES.get(key, (key, 1))
    return Pole(axis, -sign if flip else sign, label or word)


def superlative(adjective: str) -> str:
    """`newest` of `new`, `most expensive` of `expensive`."""
    if adjective in _NOT_GRADED:
        return adjective
    if adjective in _SUPERLATIVES:
        return _SUPERLATIVES[adjective]
    syllables = len(re.findall(r"[aeiouy]+", adjective.removesuffix("e")))
    if syllables > 2 or (syllables == 2 and not adjective.endswith(("y", "ow", "et", "le"))):
        return f"most {adjective}"
    if adjective.endswith("e"):
        return adjective + "st"
    if adjective.endswith("y") and adjective[-2] not in _VOWELS:
        return adjective[:-1] + "iest"
    if re.fullmatch(r".*[^aeiou][aeiou][bdgmnpt]", adjective) and syllables == 1:
        return adjective + adjective[-1] + "est"
    return adjective + "est"


_ORDINAL = r"(?P<ord>" + "|".join(ORDINALS) + r"|[1-9][0-9]?(?:st|nd|rd|th)|next|middle)"
_END = r"(?P<end>left|right|top|bottom|front|back|rear|start|end|beginning|north|south|east|west)"
_MORE_THAN = re.compile(r"(?:\b(?P<verb>\w+) )?\b(?P<degree>more|less|fewer)(?: (?P<adjective>[\w -]+?))? than$")
_OF_SIDE = re.compile(rf"\b{_END}(?:hand)?(?: (?:side|end))? (?:of|from)$")
_PREPOSITION = re.compile(
    r"\b(?P<word>above|below|before|after|ahead of|behind|in front of|over|under|underneath|beneath)$"
)
_PREPOSITIONS = {"ahead of": "ahead", "in front of": "front"}
_ADJACENT = re.compile(r"\b(?:immediately|directly|just)\b")
_PLACES = re.compile(
    r"\b(?P<count>one|two|three|four|five|six|[1-6]) (?:places?|positions?|spots?|slots?|steps?|seats?)\b"
)
_NEGATION = re.compile(r"\b(?:not|never|nor|neither|no)\b|n't\b")

_FROM_END = re.compile(rf"\b{_ORDINAL}(?: \w+)? from (?:the )?{_END}$")
_TO_LAST = re.compile(rf"\b{_ORDINAL}(?:[- ](?:to|from)(?: the)?)?[- ]last$")
_MOST = re.compile(r"\b(?P<end>left|right|top|bottom|front|back|north|south|east|west|upper|lower)(?:ern)?most$")
_AT_END = re.compile(rf"\b(?:at|on|in|to) the (?:(?:far|extreme|very) )?{_END}(?:[- ](?:hand )?(?:end|side))?$")
_DEGREE = re.compile(rf"\b(?:{_ORDINAL}[- ])?(?P<degree>most|least)(?:[- ](?P<adjective>\w+(?:[- ]\w+)?))?$")
_SUPERLATIVE = re.compile(rf"\b(?:{_ORDINAL}[- ])?(?P<graded>\w+)$")
_PLAIN_ORDINAL = re.compile(rf"\b(?:{_ORDINAL}|(?P<last>last|penultimate))$")
_MIDDLE = re.compile(r"\b(?:in the (?:exact |very )?middle|the (?:middle|median)(?: one)?|in the cent(?:er|re))$")
_TRAILING = re.compile(
    r"(?: (?:one|overall|place|position|in line|in order|of all|of them all|of the (?:group|lot)))+$"
)


@lru_cache(maxsize=4096)
def read_relation(words: str) -> Relation | None:
    """What stands between two objects, e.g. `is to the left of the`; None where it orders nothing."""
    text = _plain(words).removesuffix(" the")
    if _NEGATION.search(text):
        return None
    distance = None
    if match := _PLACES.search(text):
        count = match["count"]
        distance = int(count) if count.isdigit() else NUMBERS.index(count)
        text = " ".join((text[: match.start()] + text[match.end() :]).split())
    elif _ADJACENT.search(text):
        distance = 1
    pole = _relation_pole(text)
    return Relation(pole, distance) if pole else None


def _relation_pole(text: str) -> Pole | None:
    if match := _MORE_THAN.search(text):
        less = match["degree"] != "more"
        verb = (match["verb"] or "").removesuffix("s").removesuffix("ed")
        adjective = match["adjective"]
        if adjective is None or verb in _VERBS:
            adjective = _VERBS.get(verb)
        if adjective is None:
            return _pole("less" if less else "more", "least" if less else "most")
        return _pole(adjective, f"{'least' if less else 'most'} {adjective}", flip=less)
    if text.endswith(" than"):
        words = [word for word in text.split()[-5:-1] if _graded(word, "er")]
        known = [word for word in words if _graded(word, "er") in _AXES]  # not the noun of `a newer computer than`
        return _pole((known or words)[0], _er_to_est((known or words)[0])) if words else None
    if match := _OF_SIDE.search(text):
        return _pole(match["end"])
    if match := _PREPOSITION.search(text):
        return _pole(_PREPOSITIONS.get(match["word"], match["word"]))
    return None


def _er_to_est(word: str) -> str:
    if word in _IRREGULAR:
        return superlative(_IRREGULAR[word])
    return word[:-2] + "est" if word.endswith("er") else word


@lru_cache(maxsize=4096)
def read_position(words: str) -> Position | None:
    """What is said of one object, e.g. `is the second from the left`; None where it gives no place."""
    text = _TRAILING.sub("", _plain(words))
    if _NEGATION.search(text):
        return None
    if match := _FROM_END.search(text):
        return Position(_pole(match["end"]), _rank(match["ord"]))
    if match := _TO_LAST.search(text):
        return Position(_pole("last"), _rank(match["ord"]))
    if _MIDDLE.search(text):
        return Position(None)
    if match := _MOST.search(text):
        return Position(_pole(match["end"]))
    if match := _AT_END.search(text):
        return Position(_pole(match["end"]))
    if match := _DEGREE.search(text):
        return _by_degree(text, match)
    if match := _PLAIN_ORDINAL.search(text):
        if match["last"]:
            return Position(_pole("last"), 2 if match["last"] == "penultimate" else 1)
        return Position(_pole("first"), _rank(match["ord"])) if match["ord"] not in ("next", "middle") else None
    if match := _SUPERLATIVE.search(text):
        graded = _graded(match["graded"], "est")
        if graded is not None:
            return Position(_pole(graded, match["graded"]), _rank(match["ord"]))
    return None


def _by_degree(text: str, match: re.Match[str]) -> Position:
    least = match["degree"] == "least"
    adjective = match["adjective"]
    if adjective is None:
        verb = next((word for word in text.split() if word.removesuffix("s").removesuffix("ed") in _VERBS), None)
        if verb is None:
            return Position(_pole("least" if least else "most"), _rank(match["ord"]))
        adjective = _VERBS[verb.removesuffix("s").removesuffix("ed")]
    return Position(_pole(adjective, f"{match['degree']} {adjective}", flip=least), _rank(match["ord"]))


def _rank(ordinal: str | None) -> int:
    if ordinal is None:
        return 1
    if ordinal == "next":
        return 2
    digits = re.match(r"[0-9]+", ordinal)
    return int(digits[0]) if digits else ORDINALS.index(ordinal) + 1


def read_label(label: str) -> Pole | None:
    """The end that a pattern's label names, e.g. `oldest`, `most expensive`, `left`, `cheap`."""
    text = _plain(label).removeprefix("the ")
    if text in _NOT_GRADED:
        return _pole(text)
    position = read_position(text)
    if position is not None and position.pole is not None and position.rank == 1:
        return position.pole
    return _pole(text) if _stem(text) in _AXES else None


def opposites(axis: str) -> tuple[tuple[str, str], ...]:
    """The pairs of words for the two ends of an axis; none for an axis that is not known."""
    return next((pairs for pairs in _OPPOSITES if pairs[0][0] == axis), ())


def pair_is_named(pair: tuple[str, str], label: str) -> bool:
    """Whether a label such as `newest` uses a word of the pair."""
    return any(label == word or label == superlative(word) or label.endswith(f" {word}") for word in pair)


def _plain(text: str) -> str:
    """Lower case, single blanks, hyphens between letters as they are."""
    return " ".join(text.lower().replace("\u2011", "-").replace("\u2013", "-").split())
