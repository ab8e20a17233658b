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

from tripost_core.problems.logical_statements import Story
from tripost_core.problems.nouns import singular
from tripost_core.problems.options import LETTERS
from tripost_core.problems.ordering_patterns import Pattern, hull, merge
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.problems.ordering_words import NUMBERS


@dataclass(frozen=True, slots=True)
class Ordering:
    """What a combining step has established. `counted`: the number of objects is among its grounds."""

    header: str
    pattern: Pattern
    orders: int
    counted: bool


@dataclass(frozen=True, slots=True)
class RationaleStep:
    """One numbered step before it is put into words. `statement`: the number of the statement that it takes up;
    `premises`: the steps that it combines, for the pattern; `option`: what it concludes; none of these: it lists all
    objects."""

    header: str
    statement: int | None = None
    pattern: Pattern | None = None
    premises: tuple[str, ...] = ()
    option: int | None = None

    def line(self, story: Story) -> str:
        if self.statement is not None:
            assert self.pattern is not None
            body = statement_body(story, story.statements[self.statement].text, self.pattern)
        elif self.pattern is not None:
            body = combination_body(story, self.premises, self.pattern)
        elif self.option is not None:
            body = conclusion_body(story, self.option)
        else:
            body = total_body(story, story.n, story.listed)
        return f"({self.header}) {body}"


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
    for step in remaining_steps(known):
        yield step.line(known.story)
    yield final_line(known.story, known.story.answer)


def remaining_steps(known: Known) -> Iterator[RationaleStep]:
    """The numbered steps that are missing; `known` grows with them."""
    while not known.concluded:
        known.number += 1
        yield _next(known, str(known.number))


def _next(known: Known, header: str) -> RationaleStep:
    story, best = known.story, known.best
    for number, statement in enumerate(story.statements):
        if number not in known.stated and (best is None or best.orders & ~statement.pattern.orders(story.n)):
            known.stated[number] = header
            return RationaleStep(header, statement=number, pattern=statement.pattern)
    step = _next_step(known)
    if known.total is None and step is not None:
        known.total = header
        return RationaleStep(header)
    if step is not None:
        premises, pattern, counted = step
        known.orderings.append(Ordering(header, pattern, pattern.orders(story.n), counted))
        return RationaleStep(header, pattern=pattern, premises=tuple(premises))
    known.concluded = True
    return RationaleStep(header, option=story.answer)


# -- which step comes next ---------------------------------------------------------------------------------------------


def _next_step(known: Known) -> tuple[list[str], Pattern, bool] | None:
    """(premises' headers, pattern, whether the number of objects is among the premises), or None where the best
    ordering says all that the statements leave."""
    story, best = known.story, known.best
    numbers = tuple(sorted(known.stated))
    patterns = tuple(statement.pattern for statement in story.statements)
    found = plan_step(story.n, patterns, best and best.pattern, bool(best and best.counted), numbers)
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
    n: int, statements: tuple[Pattern, ...], best: Pattern | None, counted: bool, numbers: tuple[int, ...]
) -> tuple[bool, tuple[int, ...], bool, Pattern] | None:
    """(whether the best pattern is used, statements used, whether the number of objects is, the new pattern), with the
    statements of these `numbers` at hand; None where nothing can be added."""
    patterns = {i: statements[i] for i in numbers}
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


def statement_body(story: Story, text: str, pattern: Pattern) -> str:
    return f"{text}: {show(story, pattern)}."


def total_body(story: Story, number: int, listed: Sequence[str]) -> str:
    comma = "," if len(listed) > 2 else ""
    return f"There are in total {NUMBERS[number]} {story.kind}: {', '.join(listed[:-1])}{comma} and {listed[-1]}."


def combination_body(story: Story, premises: Sequence[str], pattern: Pattern) -> str:
    named = [f"({header})" for header in premises]
    listed = ", ".join(named[:-1]) + " and " + named[-1] if len(named) > 1 else named[0]
    return f"Combining {listed} we get the following ordering: {show(story, pattern)}."


def conclusion_body(story: Story, number: int) -> str:
    """That the option with this number holds."""
    option = story.options[number]
    if len(option.things) > 1:
        return f"According to this ordering, {option.text[0].lower()}{option.text[1:]}."
    return reading_body(story, option.things[0], option.predicate)


def reading_body(story: Story, thing: int, predicate: str) -> str:
    """That `thing` is what `predicate` says, read off the last ordering."""
    predicate = _singular_verb(predicate)
    kind = f"{singular(story.kind)} {'who' if _are_people(story) else 'that'}"
    return f"According to this ordering, the {kind} {predicate} is {with_article(story, thing)}."


def final_line(story: Story, sentence: int, letter: int | None = None) -> str:
    """With the sentence of one option, and its letter or that of another one."""
    shown = LETTERS[sentence if letter is None else letter]
    return f"(Final response) {story.options[sentence].text}. So the answer is ({shown})."


def with_article(story: Story, thing: int) -> str:
    """`the quail`, `Ana`: as the options call it."""
    option = next((o for o in story.options if o.things == (thing,)), None)
    if option is None:
        return story.names[thing]
    mention = option.text[: len(option.text) - len(option.predicate)].strip()
    return mention[0].lower() + mention[1:] if mention.lower().startswith(("the ", "a ", "an ")) else mention


def _are_people(story: Story) -> bool:
    """Whether the objects are called by proper names."""
    return all(name[0].isupper() for name in story.listed)


def _singular_verb(predicate: str) -> str:
    verb, _, rest = predicate.partition(" ")
    return " ".join([{"are": "is", "were": "was"}.get(verb, verb), rest]).strip()
