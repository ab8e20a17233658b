"""Generated stories of logical deduction: an order is drawn, and statements that leave nothing else.

The sentences have the form of BIG-bench's; places, things and people are ours. Statements are true, none can be left
out, and there are as many as objects less one, or one more, as in the published questions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tripost_core.problems.options import join_options
from tripost_core.problems.ordering_patterns import at_place, before
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.problems.ordering_words import NUMBERS, ORDINALS

PLACE_SHARE = 0.18
"""Share of statements drawn that give a place; after the superfluous ones are gone it is about BIG-bench's."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How a theme speaks of order, as what follows a subject. `nearer`, `farther`: standing before or after another
    object; `from_start`, `from_end`: places, with `{}` for `second-`, `third-` (empty for the very first) or, in
    `ordinal` wordings, for the ordinal itself."""

    nearer: str
    farther: str
    from_start: tuple[str, str]
    """For the very first, for the others."""
    from_end: tuple[str, str]

    def place(self, place: int, n: int) -> str:
        """What is said of the object at `place` (from 0): counted from the nearer end, the middle from the start."""
        if place <= (n - 1) // 2:
            first, other = self.from_start
            return first if place == 0 else other.format(ORDINALS[place])
        first, other = self.from_end
        return first if place == n - 1 else other.format(ORDINALS[n - 1 - place])


_SIDE = Wording(
    "is to the left of", "is to the right of", ("is the leftmost", "is the {} from the left"),
    ("is the rightmost", "is the {} from the right"),
)  # fmt: skip
_PRICE = Wording(
    "are less expensive than", "are more expensive than", ("are the cheapest", "are the {}-cheapest"),
    ("are the most expensive", "are the {}-most expensive"),
)  # fmt: skip
_RANK = Wording(
    "finished above", "finished below", ("finished first", "finished {}"), ("finished last", "finished {}-to-last")
)
_ARRIVAL = Wording(
    "arrived before", "arrived after", ("arrived first", "arrived {}"), ("arrived last", "arrived {}-to-last")
)


def _graded(comparative: str, opposite: str) -> Wording:
    low, high = comparative.removesuffix("r") + "st", opposite.removesuffix("r") + "st"
    return Wording(
        f"is {comparative} than", f"is {opposite} than", (f"is the {low}", f"is the {{}}-{low}"),
        (f"is the {high}", f"is the {{}}-{high}"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Theme:
    """`intro` has `{}` for the number. `article`: names stand with `the` in sentences; `a`: listed with `a` or `an`."""

    intro: str
    wording: Wording
    names: tuple[str, ...]
    article: bool = True
    listed_with_article: bool = True

    def listed(self, name: str) -> str:
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if self.listed_with_article else name

    def subject(self, name: str) -> str:
        return f"The {name}" if self.article else name


def _theme(intro: str, wording: Wording, names: str, ending: str = "") -> Theme:
    """Singular things, each with an article; `ending`: a word that every name ends with."""
    return Theme(intro, wording, tuple(f"{name} {ending}".strip() for name in names.split()))


THEMES = (
    _theme("On a kitchen counter, there are {} jars", _SIDE,
           "tea salt rice flour sugar honey pepper ginger oat bean coffee raisin", "jar"),
    _theme("In a harbour, there are {} boats", _SIDE,
           "ferry tug yacht barge canoe dinghy raft kayak punt trawler cutter gondola"),
    _theme("Along a garden path, there are {} trees", _SIDE,
           "ash beech birch cedar elm fir oak pine willow maple larch alder"),
    _theme("In a village, there are {} buildings", _graded("older", "newer"),
           "mill inn chapel barn school forge bakery tower stable theatre library station"),
    _theme("In an attic, there are {} toys", _graded("older", "newer"),
           "kite doll puzzle drum robot train puppet ball rattle whistle sledge scooter"),
    Theme("A market stall sells {} vegetables", _PRICE,
          ("carrots", "beans", "leeks", "onions", "turnips", "radishes", "beets", "peas", "parsnips", "pumpkins",
           "lentils", "gherkins"), listed_with_article=False),
    Theme("A workshop sells {} tools", _PRICE,
          ("hammers", "saws", "pliers", "drills", "files", "rakes", "spades", "chisels", "axes", "clamps", "mallets",
           "ladders"), listed_with_article=False),
    Theme("In a chess tournament, there were {} players", _RANK,
          ("Ben", "Ida", "Leo", "Kim", "Max", "Pam", "Roy", "Sue", "Tim", "Una", "Vic", "Zoe"), False, False),
    Theme("In a spelling contest, there were {} pupils", _RANK,
          ("Abe", "Bea", "Cal", "Dot", "Fay", "Gil", "Hal", "Ivy", "Jon", "Kay", "Lou", "Ned"), False, False),
    Theme("At a dinner, there were {} guests", _ARRIVAL,
          ("Carl", "Dora", "Emil", "Gus", "Hope", "Ivan", "Jean", "Kurt", "Lena", "Nora", "Otto", "Ruth"),
          False, False),
    _theme("In a zoo, there are {} animals", _graded("shorter", "taller"),
           "camel zebra moose lion otter panda llama wolf goat bison ostrich badger"),
    _theme("In a storeroom, there are {} boxes", _graded("lighter", "heavier"),
           "tin glass paper cotton copper wooden wicker silver marble velvet iron amber", "box"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """A question's text, and its story alone, which no other question should have."""

    question: str
    story: str


def draw_story(rng: random.Random, n: int) -> Drawn:
    """A question about `n` objects, at most as many as a theme has names."""
    while True:
        theme = rng.choice(THEMES)
        names = rng.sample(theme.names, n)
        order = rng.sample(range(n), n)
        statements = _statements(rng, theme, names, order)
        if n - 1 <= len(statements) <= n:
            break
    listed = [theme.listed(name) for name in names]
    intro = f"{theme.intro.format(NUMBERS[n])}: {', '.join(listed[:-1])}, and {listed[-1]}."
    story = " ".join([intro, *statements])
    asked = theme.wording.place(rng.randrange(n), n)
    options = [f"{theme.subject(name)} {asked}." for name in names]
    return Drawn(join_options(story, options), story)


def _statements(rng: random.Random, theme: Theme, names: Sequence[str], order: Sequence[int]) -> list[str]:
    """Sentences that leave this order alone, none of them superfluous."""
    n = len(order)
    left = orders_of(n).all
    told: list[tuple[str, int]] = []
    while left.bit_count() > 1:
        sentence, orders = _statement(rng, theme, names, order)
        if left & ~orders:
            told.append((sentence, orders))
            left &= orders
    for entry in list(told):
        rest = [orders for other, orders in told if other != entry[0]]
        remaining = orders_of(n).all
        for orders in rest:
            remaining &= orders
        if remaining == left:
            told.remove(entry)
    return [sentence for sentence, _ in told]


def _statement(rng: random.Random, theme: Theme, names: Sequence[str], order: Sequence[int]) -> tuple[str, int]:
    """A true sentence and the orders that it allows."""
    n = len(order)
    if rng.random() < PLACE_SHARE:
        place = rng.randrange(n)
        sentence = f"{theme.subject(names[order[place]])} {theme.wording.place(place, n)}."
        return sentence, at_place(order[place], place + 1, from_end=False).orders(n)
    first, second = sorted(rng.sample(range(n), 2))
    near, far = names[order[first]], names[order[second]]
    orders = before(order[first], order[second]).orders(n)
    article = "the " if theme.article else ""
    if rng.random() < 0.5:
        return f"{theme.subject(near)} {theme.wording.nearer} {article}{far}.", orders
    return f"{theme.subject(far)} {theme.wording.farther} {article}{near}.", orders
