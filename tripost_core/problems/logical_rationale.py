"""The scripted rationale of logical deduction, written from any point on (paper.md B1.4 has the reference's form).

Every statement becomes a pattern, the objects are counted, then patterns are combined, a step at a time, until the
order is known; each combination follows from the steps that it names and from nothing else. What comes next depends
only on what the steps so far have established (`Known`), so a repair goes on exactly as the gold rationale does.

The rule: take the best pattern there is and the first statement that adds to it without losing any of it; where no
statement does, bring in the number of objects, which closes gaps; where a statement adds something but part of it
cannot be written as one pattern, it stays available and is named again later; where one statement is not enough,
name two, and so on. With all of them the order is what the statements leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

from tripost_core.problems.logical_statements import Claim, Story
from tripost_core.problems.options import LETTERS
from tripost_core.problems.ordering_patterns import Pattern, hull, merge
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.problems.ordering_words import NUMBERS

_SINGULARS = {"people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse",
              "geese": "goose", "feet": "foot", "teeth": "tooth", "loaves": "loaf", "wolves": "wolf",
              "shelves": "shelf", "knives": "knife", "leaves": "leaf", "scarves": "scarf", "movies": "movie",
              "pies": "pie", "ties": "tie", "cookies": "cookie", "shoes": "shoe", "series": "series"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ordering:
    """What a combining step has established. `counted`: the number of objects is among its grounds."""

    header: str
    pattern: Pattern
    orders: int
    counted: bool


@dataclass
class Known:
    """What the steps of an attempt have established; headers say where."""

    story: Story
    stated: dict[int, str] = field(default_factory=dict)
    """Statements by number, from 0."""
    total: str | None = None
    orderings: list[Ordering] = field(default_factory=list)
    concluded: bool = False
    number: int = 0
    """Of the last step."""

    @property
    def best(self) -> Ordering | None:
        """The ordering that leaves the fewest orders; of equals the most explicit, then the latest."""
        return min(
            reversed(self.orderings),
            key=lambda o: (o.orders.bit_count(), sum(gap.open for gap in o.pattern.gaps), -len(o.pattern.things)),
            default=None,
        )


def rationale(story: Story) -> str:
    """All lines of the gold rationale."""
    return "\n".join(continuation(Known(story)))


def continuation(known: Known) -> Iterator[str]:
    """The lines that lead from what is known to the final response."""
    story = known.story
    while not known.concluded:
        known.number += 1
        header = str(known.number)
        body = _next_body(known, header)
        yield f"({header}) {body}"
    yield final_line(story)


def _next_body(known: Known, header: str) -> str:
    story = known.story
    best = known.best
    for number, statement in enumerate(story.statements):
        if number not in known.stated and (best is None or best.orders & ~statement.pattern.orders(story.n)):
            known.stated[number] = header
            return statement_body(story, statement)
    step = _next_step(known)
    if known.total is None and step is not None:
        known.total = header
        return total_body(story)
    if step is not None:
        premises, pattern, counted = step
        known.orderings.append(Ordering(header, pattern, pattern.orders(story.n), counted))
        return combination_body(story, premises, pattern)
    known.concluded = True
    return conclusion_body(story)


# -- which step comes next ---------------------------------------------------------------------------------------------


def _next_step(known: Known) -> tuple[list[str], Pattern, bool] | None:
    """(premises' headers, pattern, whether the number of objects is among the premises), or None where the best
    ordering says all that the statements leave."""
    story, best = known.story, known.best
    numbers = tuple(sorted(known.stated))
    found = plan_step(story, best and best.pattern, bool(best and best.counted), numbers)
    if found is None:
        return None
    uses_best, used, uses_total, pattern = found
    headers = [known.stated[i] for i in used]
    if uses_best:
        assert best is not None
        headers.append(best.header)
    if uses_total:
        headers.append(known.total or str(known.number))
    counted = uses_total or bool(uses_best and best and best.counted)
    return sorted(headers, key=int), pattern, counted


@lru_cache(maxsize=8192)
def plan_step(
    story: Story, best: Pattern | None, counted: bool, numbers: tuple[int, ...]
) -> tuple[bool, tuple[int, ...], bool, Pattern] | None:
    """(whether the best pattern is used, statements used, whether the number of objects is, the new pattern)."""
    n = story.n
    patterns = {i: story.statements[i].pattern for i in numbers}
    sets = {i: pattern.orders(n) for i, pattern in patterns.items()}
    if best is None:
        for i, j in combinations(numbers, 2):
            if merged := _merged(patterns[i], patterns[j], n):
                return False, (i, j), False, merged
        found = _narrowed(orders_of(n).all, numbers, sets, n, at_least=2)
        return found and (False, found[0], True, found[1])
    known = best.orders(n)
    adding = [i for i in numbers if known & ~sets[i]]
    if not counted:
        for i in adding:
            if merged := _merged(best, patterns[i], n):
                return True, (i,), False, merged
        closed = hull(known, n)
        if _openness(closed) < _openness(best):
            return True, (), True, closed
    found = _narrowed(known, adding, sets, n)
    return found and (True, found[0], not counted, found[1])


def _openness(pattern: Pattern) -> int:
    return sum(gap.open for gap in pattern.gaps)


def _merged(first: Pattern, second: Pattern, n: int) -> Pattern | None:
    """The two combined without counting, if that says more than either and all that they say together."""
    merged = merge((first, second), n)
    if merged is None:
        return None
    orders = merged.orders(n)
    both = first.orders(n) & second.orders(n)
    return merged if orders == both and both not in (first.orders(n), second.orders(n)) else None


def _narrowed(
    known: int, numbers: Sequence[int], sets: dict[int, int], n: int, at_least: int = 1
) -> tuple[tuple[int, ...], Pattern] | None:
    """The fewest statements that narrow down the known orders, in view of all objects, and the pattern of what is
    left; first those of which nothing gets lost in it."""
    for size in range(min(at_least, len(numbers)), len(numbers) + 1):
        lossy = None
        for used in combinations(numbers, size):
            left = known
            for i in used:
                left &= sets[i]
            pattern = hull(left, n)
            orders = pattern.orders(n)
            if orders == left != known:
                return used, pattern
            if lossy is None and orders.bit_count() < known.bit_count():
                lossy = used, pattern
        if lossy:
            return lossy
    return None


# -- how the steps read ------------------------------------------------------------------------------------------------


def show(story: Story, pattern: Pattern) -> str:
    """`"(left) ?? quail ? falcon (right)"`."""
    first, last = story.labels
    return f'"({first}) {pattern.text(story.names)} ({last})"'


def statement_body(story: Story, statement: Claim) -> str:
    return f"{statement.text}: {show(story, statement.pattern)}."


def total_body(story: Story) -> str:
    listed = story.listed
    comma = "," if story.n > 2 else ""
    return f"There are in total {NUMBERS[story.n]} {story.kind}: {', '.join(listed[:-1])}{comma} and {listed[-1]}."


def combination_body(story: Story, premises: list[str], pattern: Pattern) -> str:
    named = [f"({header})" for header in premises]
    listed = ", ".join(named[:-1]) + " and " + named[-1] if len(named) > 1 else named[0]
    return f"Combining {listed} we get the following ordering: {show(story, pattern)}."


def conclusion_body(story: Story) -> str:
    option = story.options[story.answer]
    if len(option.things) > 1:
        return f"According to this ordering, {option.text[0].lower()}{option.text[1:]}."
    thing = _with_article(story, option.things[0])
    predicate = _singular_verb(option.predicate)
    kind = f"{_singular(story.kind)} {'who' if _are_people(story) else 'that'}"
    return f"According to this ordering, the {kind} {predicate} is {thing}."


def final_line(story: Story) -> str:
    option = story.options[story.answer]
    return f"(Final response) {option.text}. So the answer is ({LETTERS[story.answer]})."


def _with_article(story: Story, thing: int) -> str:
    """`the quail`, `Ana`: as the options call it."""
    option = next((o for o in story.options if o.things == (thing,)), None)
    if option is None:
        return story.names[thing]
    mention = option.text[: len(option.text) - len(option.predicate)].strip()
    return mention[0].lower() + mention[1:] if mention.lower().startswith(("the ", "a ", "an ")) else mention


def _are_people(story: Story) -> bool:
    """Whether the objects are called by proper names."""
    return all(name[0].isupper() for name in story.listed)


def _singular(kind: str) -> str:
    head, _, last = kind.rpartition(" ")
    if last.lower() in _SINGULARS:
        last = _SINGULARS[last.lower()]
    elif last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses", "zes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return f"{head} {last}".strip()


def _singular_verb(predicate: str) -> str:
    verb, _, rest = predicate.partition(" ")
    return " ".join([{"are": "is", "were": "was"}.get(verb, verb), rest]).strip()
