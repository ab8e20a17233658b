"""Planted mistakes in logical deduction: a student that reasons as the gold rationale does, but errs once.

What follows the mistake goes astray with it: the student ends with another order, `Astray`, in which the objects of
the gold order are exchanged, and its later combinations, conclusion and answer are those of the gold rationale with
the objects exchanged. `lucky` is the exception: there the rest of the rationale stays right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tripost_core.experts.base import Planted
from tripost_core.problems.base import Problem
from tripost_core.problems.logical_deduction import TASK
from tripost_core.problems.logical_rationale import (
    Known,
    RationaleStep,
    combination_body,
    final_line,
    reading_body,
    remaining_steps,
    show,
    statement_body,
    total_body,
)
from tripost_core.problems.logical_statements import Claim, Story, names_of, read_claim, read_story
from tripost_core.problems.logical_stories import THEMES
from tripost_core.problems.ordering_patterns import Gap, Pattern, at_place
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.trajectory import FINAL

_TRIES = 12
"""Random places and mistakes that are tried before a problem counts as having no place for a class."""
_MOST_DRAWS = 40


@dataclass(frozen=True, slots=True)
class Gold:
    """The gold rationale as steps. `orders`: what each step leaves, by header; `order`: the true one."""

    story: Story
    steps: tuple[RationaleStep, ...]
    orders: dict[str, int]
    order: tuple[int, ...]

    def left_by(self, headers: Sequence[str]) -> int:
        """The orders that these steps leave together."""
        left = orders_of(self.story.n).all
        for header in headers:
            left &= self.orders[header]
        return left

    def before(self, step: RationaleStep) -> int:
        """The orders that all steps before this one leave."""
        return self.left_by([s.header for s in self.steps[: self.steps.index(step)]])

    def kind(self, kind: str) -> list[RationaleStep]:
        """The steps of a kind: `statement`, `total`, `combination`, `conclusion`."""
        return [step for step in self.steps if _kind(step) == kind]


def _kind(step: RationaleStep) -> str:
    if step.statement is not None:
        return "statement"
    if step.option is not None:
        return "conclusion"
    return "total" if step.pattern is None else "combination"


@lru_cache(maxsize=512)
def _gold(story: Story) -> Gold:
    steps = tuple(remaining_steps(Known(story)))
    every = orders_of(story.n).all
    orders = {s.header: s.pattern.orders(story.n) if s.pattern is not None else every for s in steps}
    order = orders_of(story.n).permutations[story.orders.bit_length() - 1]
    return Gold(story, steps, orders, order)


@dataclass(frozen=True, slots=True)
class Error:
    """A wrong line in the place of a step: its body, and the orders that one who believes it may have in mind."""

    step: RationaleStep
    body: str
    orders: int


_Fault = Callable[[Gold, random.Random], Error | None]

# -- statements --------------------------------------------------------------------------------------------------------


def _misread(gold: Gold, rng: random.Random) -> Error | None:
    """Two objects the wrong way round, or an object in another place."""
    step, claim = _some_statement(gold, rng)
    n = gold.story.n
    pattern = claim.pattern
    if len(claim.things) == 2:
        wrong = Pattern(pattern.things[::-1], pattern.gaps)
    else:
        from_end = pattern.gaps[0].open
        rank = pattern.gaps[-1 if from_end else 0].least + 1
        others = [r for r in (rank - 1, rank + 1) if 1 <= r <= n] + [rank]
        other_rank = rng.choice(others)
        wrong = at_place(claim.things[0], other_rank, from_end if other_rank != rank else not from_end)
    if wrong.orders(n) & pattern.orders(n):
        return None  # the middle from the other end
    return Error(step, statement_body(gold.story, claim.text, wrong), wrong.orders(n))


def _incomplete(gold: Gold, rng: random.Random) -> Error | None:
    """A place without its question marks."""
    step, claim = _some_statement(gold, rng)
    if len(claim.things) == 2:
        return None
    wide = Gap(open=True)
    body = statement_body(gold.story, claim.text, Pattern(claim.things, (wide, wide)))
    return Error(step, body, orders_of(gold.story.n).all & ~claim.pattern.orders(gold.story.n))


def _miscopied(gold: Gold, rng: random.Random) -> Error | None:
    """A statement about other objects than the question's."""
    step, claim = _some_statement(gold, rng)
    story = gold.story
    mentions = list(names_of(story.listed).find(claim.text))
    others = [_mentioned(story, thing) for thing in rng.sample(range(story.n), story.n) if thing not in claim.things]
    if len(mentions) == 2 and rng.random() < 0.5:
        (_, a, b), (_, c, d) = mentions
        text = _capital(claim.text[c:d]) + claim.text[b:c] + _small(claim.text[a:b], story)
    elif others:
        _, start, end = rng.choice(mentions)
        name = others[0] if start else _capital(others[0])
        text = claim.text[:start] + name + claim.text[end:]
    else:
        return None
    altered = read_claim(story, text)
    if altered is None:
        return None
    orders = altered.pattern.orders(story.n)
    if any(not s.pattern.orders(story.n) & ~orders for s in story.statements):
        return None  # it follows from another statement
    return Error(step, statement_body(story, text, altered.pattern), orders)


def _wrong_label(gold: Gold, rng: random.Random) -> Error | None:
    """The same end on both sides of a pattern."""
    step = rng.choice([s for s in gold.steps if s.pattern is not None])
    assert step.pattern is not None
    first, last = gold.story.labels
    end = rng.choice((first, last))
    shown = show(gold.story, step.pattern)
    body = _body(gold, step).replace(shown, shown.replace(f"({first})", f"({end})").replace(f"({last})", f"({end})"))
    return Error(step, body, orders_of(gold.story.n).all)


def _some_statement(gold: Gold, rng: random.Random) -> tuple[RationaleStep, Claim]:
    step = rng.choice(gold.kind("statement"))
    assert step.statement is not None
    return step, gold.story.statements[step.statement]


def _mentioned(story: Story, thing: int) -> str:
    """An object as the sentences of the story call it, within a sentence."""
    for sentence in (*story.options, *story.statements):
        for found, start, end in names_of(story.listed).find(sentence.text):
            if found == thing:
                return _small(sentence.text[start:end], story)
    return story.names[thing]


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _small(name: str, story: Story) -> str:
    return "the" + name[3:] if name.startswith("The ") else name


# -- objects -----------------------------------------------------------------------------------------------------------


def _wrong_number(gold: Gold, rng: random.Random) -> Error | None:
    """Another number of objects, or an order with more places than there are objects."""
    story = gold.story
    anything = orders_of(story.n).all
    if rng.random() < 0.5:
        (step,) = gold.kind("total")
        return Error(step, total_body(story, story.n + rng.choice((-1, 1)), story.listed), anything)
    step = rng.choice(gold.kind("combination"))
    assert step.pattern is not None
    gaps = list(step.pattern.gaps)
    i = rng.randrange(len(gaps))
    gaps[i] = Gap(gaps[i].least + story.n - step.pattern.least + 1, gaps[i].open)
    return Error(step, combination_body(story, step.premises, replace(step.pattern, gaps=tuple(gaps))), anything)


def _lost(gold: Gold, rng: random.Random) -> Error | None:
    """An object is left out of the list of all, or of an order that is said to be complete."""
    story = gold.story
    anything = orders_of(story.n).all
    complete = [s for s in gold.kind("combination") if s.pattern is not None and s.pattern.exact]
    if rng.random() < 0.5 or not complete:
        (step,) = gold.kind("total")
        i = rng.randrange(story.n)
        return Error(step, total_body(story, story.n, [*story.listed[:i], *story.listed[i + 1 :]]), anything)
    step = rng.choice(complete)
    assert step.pattern is not None
    i = rng.randrange(story.n)
    things = (*step.pattern.things[:i], *step.pattern.things[i + 1 :])
    return Error(step, combination_body(story, step.premises, Pattern(things, (Gap(),) * story.n)), anything)


def _invented(gold: Gold, rng: random.Random) -> Error | None:
    return _renamed(gold, rng, _stranger(gold.story, rng))


def _duplicated(gold: Gold, rng: random.Random) -> Error | None:
    """One object stands for another one too."""
    story = gold.story
    step = rng.choice([*gold.kind("combination"), *gold.kind("total")])
    things = list(range(story.n)) if step.pattern is None else list(step.pattern.things)
    if len(things) < 2:
        return None
    i, j = rng.sample(range(len(things)), 2)
    things[i] = things[j]
    if step.pattern is None:
        body = total_body(story, story.n, [story.listed[thing] for thing in things])
    else:
        body = combination_body(story, step.premises, Pattern(tuple(things), step.pattern.gaps))
    return Error(step, body, orders_of(story.n).all)


def _renamed(gold: Gold, rng: random.Random, stranger: str) -> Error | None:
    """An object is called by a name that the question does not have."""
    story = gold.story
    anything = orders_of(story.n).all
    i = rng.randrange(story.n)
    step = rng.choice([*gold.kind("combination"), *gold.kind("total")])
    if step.pattern is None:
        listed = [*story.listed[:i], _like(story.listed[i], stranger), *story.listed[i + 1 :]]
        return Error(step, total_body(story, story.n, listed), anything)
    strange = replace(story, names=(*story.names[:i], stranger, *story.names[i + 1 :]))
    if i not in step.pattern.things:
        return None
    return Error(step, combination_body(strange, step.premises, step.pattern), anything)


def _stranger(story: Story, rng: random.Random) -> str:
    known = names_of(story.listed)
    words = [name.split()[0] for theme in THEMES for name in theme.names]
    return rng.choice([word for word in words if known.one(word) is None])


def _like(listed: str, stranger: str) -> str:
    """With an article where the object has one."""
    if not listed.startswith(("a ", "an ")):
        return stranger
    return f"{'an' if stranger[0] in 'aeiou' else 'a'} {stranger}"


# -- combinations ------------------------------------------------------------------------------------------------------


def _wrong_reference(gold: Gold, rng: random.Random) -> Error | None:
    """A step that has not come yet, or one that does not tell what the step says."""
    step = rng.choice(gold.kind("combination"))
    assert step.pattern is not None
    story, orders = gold.story, step.pattern.orders(gold.story.n)
    earlier = [s.header for s in gold.steps[: gold.steps.index(step)] if s.header not in step.premises]
    other = rng.choice([*earlier, step.header, str(int(step.header) + 1)])
    i = rng.randrange(len(step.premises))
    premises = sorted({*step.premises[:i], other, *step.premises[i + 1 :]}, key=int)
    if other in earlier:
        left = gold.left_by(premises)
        wide = Gap(open=True)
        pairs = zip(step.pattern.things, step.pattern.things[1:], strict=False)
        contradicted = any(not left & Pattern(pair, (wide, wide, wide)).orders(story.n) for pair in pairs)
        if not left & ~orders or contradicted or not left & orders:
            return None
    return Error(step, combination_body(story, premises, step.pattern), orders_of(story.n).all)


def _wrong_order(gold: Gold, rng: random.Random) -> Error | None:
    """Two neighbours exchanged whose order the combined steps tell."""
    step = rng.choice(gold.kind("combination"))
    assert step.pattern is not None
    things = list(step.pattern.things)
    if len(things) < 2:
        return None
    i = rng.randrange(len(things) - 1)
    world = orders_of(gold.story.n)
    if gold.left_by(step.premises) & ~world.before(things[i], things[i + 1]):
        return None
    things[i], things[i + 1] = things[i + 1], things[i]
    return _drawn(gold, step, Pattern(tuple(things), step.pattern.gaps))


def _wrong_place(gold: Gold, rng: random.Random) -> Error | None:
    """A gap with one question mark more or less than the combined steps tell, and no other mistake."""
    step = rng.choice(gold.kind("combination"))
    assert step.pattern is not None
    gaps = list(step.pattern.gaps)
    i = rng.randrange(len(gaps))
    least = gaps[i].least + rng.choice((-1, 1))
    if least < 0:
        return None
    gaps[i] = Gap(least, gaps[i].open)
    pattern = Pattern(step.pattern.things, tuple(gaps))
    n = gold.story.n
    fits = pattern.least == n or (pattern.least < n and any(gap.open for gap in gaps))
    wide = Gap(open=True)
    ends = [(pattern.things[:1], (gaps[0], wide)), (pattern.things[-1:], (wide, gaps[-1]))]
    inner = [(pattern.things[k : k + 2], (wide, gaps[k + 1], wide)) for k in range(len(pattern.things) - 1)]
    left = gold.left_by(step.premises)
    if not fits or all(left & Pattern(*part).orders(n) for part in (*ends, *inner)):
        return None
    return _drawn(gold, step, pattern)


def _unsupported(gold: Gold, rng: random.Random) -> Error | None:
    """One more object put where the combined steps allow it, but do not tell that it is."""
    step = rng.choice(gold.kind("combination"))
    assert step.pattern is not None
    n = gold.story.n
    left = gold.left_by(step.premises)
    order = _some_order(left, n, rng)
    missing = [thing for thing in range(n) if thing not in step.pattern.things]
    if order is None or not missing:
        return None
    place = order.index(rng.choice(missing))
    things = sorted((*step.pattern.things, order[place]), key=order.index)
    wide = Gap(open=True)
    gaps = [wide] * (len(things) + 1)
    pattern = Pattern(tuple(things), tuple(gaps))
    if not left & ~pattern.orders(n) or not gold.story.orders & ~pattern.orders(n):
        return None
    return _drawn(gold, step, pattern)


def _drawn(gold: Gold, step: RationaleStep, pattern: Pattern) -> Error:
    orders = pattern.orders(gold.story.n)
    return Error(step, combination_body(gold.story, step.premises, pattern), orders or orders_of(gold.story.n).all)


def _some_order(orders: int, n: int, rng: random.Random) -> tuple[int, ...] | None:
    """A random order of a set, or None of an empty one."""
    permutations = orders_of(n).permutations
    for _ in range(_MOST_DRAWS):
        number = rng.randrange(len(permutations))
        if orders >> number & 1:
            return permutations[number]
    return permutations[(orders & -orders).bit_length() - 1] if orders else None


# -- conclusion --------------------------------------------------------------------------------------------------------


def _misread_ordering(gold: Gold, rng: random.Random) -> Error | None:
    """Another object than the one that stands in the place asked about."""
    (step,) = gold.kind("conclusion")
    asked = gold.story.options[gold.story.answer]
    others = [option for option in gold.story.options if option != asked and option.predicate == asked.predicate]
    if len(asked.things) > 1 or not others:
        return None
    wrong = rng.choice(others)
    return Error(step, reading_body(gold.story, wrong.things[0], asked.predicate), wrong.pattern.orders(gold.story.n))


def _wrong_question(gold: Gold, rng: random.Random) -> Error | None:
    """What stands at an end, where another place is asked about."""
    (step,) = gold.kind("conclusion")
    story = gold.story
    asked = story.options[story.answer]
    from_end = rng.random() < 0.5
    thing = gold.order[-1 if from_end else 0]
    if asked.things == (thing,):
        return None
    label = story.labels[1 if from_end else 0]
    plain = {"left": "is the leftmost", "right": "is the rightmost"}
    first_or_last = f"is the {'last' if from_end else 'first'}"
    places = ("above", "below", "before", "after", "first", "last")
    predicate = plain.get(label) or (first_or_last if label in places else f"is the {label}")
    option = next((o for o in story.options if o.things == (thing,)), None)
    claim = read_claim(story, f"{_capital(_mentioned(story, thing))} {predicate}")
    if option is None or claim is None or gold.story.orders & ~claim.pattern.orders(story.n):
        return None
    return Error(step, reading_body(story, thing, predicate), option.pattern.orders(story.n))


_FAULTS: dict[str, _Fault] = {
    "misread_statement": _misread,
    "incomplete_pattern": _incomplete,
    "miscopied_statement": _miscopied,
    "wrong_label": _wrong_label,
    "wrong_number": _wrong_number,
    "lost_object": _lost,
    "invented_object": _invented,
    "duplicated_object": _duplicated,
    "wrong_reference": _wrong_reference,
    "wrong_order": _wrong_order,
    "wrong_place": _wrong_place,
    "unsupported_step": _unsupported,
    "misread_ordering": _misread_ordering,
    "wrong_question": _wrong_question,
}
_HIDDEN = ("misread_statement", "incomplete_pattern", "lost_object", "wrong_order", "wrong_place", "unsupported_step")
"""Mistakes that `lucky` makes in one line, the rest staying right."""

ERROR_CLASSES = (
    *_FAULTS, "inconsistent_final", "wrong_option", "missing_step", "unparsable_step", "wrong_header", "lucky"
)  # fmt: skip
"""The classes that `plant` knows, named as FBK names them."""


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` at a random place; None where none was found. Raises KeyError for a class that
    is not in `ERROR_CLASSES`."""
    gold = _gold(read_story(problem.question))
    for _ in range(_TRIES):
        if error_class in _FAULTS:
            planted = _plant_fault(gold, error_class, rng)
        else:
            planted = _WHOLE[error_class](gold, rng)
        if planted and TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky"):
            return planted
    return None


def _body(gold: Gold, step: RationaleStep) -> str:
    return step.line(gold.story).partition(") ")[2]


def _lines(gold: Gold) -> list[str]:
    return [*(step.line(gold.story) for step in gold.steps), final_line(gold.story, gold.story.answer)]


def _plant_fault(gold: Gold, error_class: str, rng: random.Random) -> Planted | None:
    error = _FAULTS[error_class](gold, rng)
    if error is None:
        return None
    index = gold.steps.index(error.step)
    lines = _lines(gold)[:index]
    lines.append(f"({error.step.header}) {error.body}")
    rest = _astray(gold, index + 1, error.orders, rng)
    return rest and Planted("\n".join([*lines, *rest]), error.step.header, error_class)


def _astray(gold: Gold, start: int, orders: int, rng: random.Random) -> list[str] | None:
    """The steps from `start` on and the final response of one who has a wrong order of `orders` in mind."""
    story = gold.story
    answer = story.options[story.answer]
    order = _some_order(orders & ~answer.pattern.orders(story.n), story.n, rng)
    if order is None:
        return None
    alone = orders_of(story.n).alone(order)
    believed = [i for i, option in enumerate(story.options) if alone & option.pattern.orders(story.n)]
    if not believed:
        return None
    exchanged = dict(zip(gold.order, order, strict=True))
    lines = []
    for step in gold.steps[start:]:
        kind = _kind(step)
        if kind == "combination":
            assert step.pattern is not None
            things = tuple(exchanged[thing] for thing in step.pattern.things)
            step = replace(step, pattern=Pattern(things, step.pattern.gaps))
        elif kind == "conclusion":
            step = replace(step, option=believed[0])
        lines.append(step.line(story))
    return [*lines, final_line(story, believed[0])]


def _plant_lucky(gold: Gold, rng: random.Random) -> Planted | None:
    error = _FAULTS[rng.choice(_HIDDEN)](gold, rng)
    if error is None:
        return None
    lines = _lines(gold)
    lines[gold.steps.index(error.step)] = f"({error.step.header}) {error.body}"
    return Planted("\n".join(lines), error.step.header, "lucky")


def _other_option(gold: Gold, rng: random.Random) -> int:
    return rng.choice([i for i in range(len(gold.story.options)) if i != gold.story.answer])


def _plant_inconsistent(gold: Gold, rng: random.Random) -> Planted | None:
    """The final response is about another object than the step before it."""
    return Planted("\n".join([*_lines(gold)[:-1], final_line(gold.story, _other_option(gold, rng))]), FINAL,
                   "inconsistent_final")  # fmt: skip


def _plant_option(gold: Gold, rng: random.Random) -> Planted | None:
    """The right sentence with the letter of another option."""
    line = final_line(gold.story, gold.story.answer, _other_option(gold, rng))
    return Planted("\n".join([*_lines(gold)[:-1], line]), FINAL, "wrong_option")


def _plant_missing(gold: Gold, rng: random.Random) -> Planted | None:
    """The attempt stops early, or a number of a step is left out and the rest goes astray."""
    lines = _lines(gold)
    if rng.random() < 0.5:
        stop = rng.randrange(len(lines))
        header = gold.steps[stop].header if stop < len(gold.steps) else FINAL
        return Planted("\n".join(lines[:stop]), header, "missing_step")
    left_out = rng.randrange(len(gold.steps) - 1)
    rest = _astray(gold, left_out + 1, orders_of(gold.story.n).all, rng)
    return rest and Planted("\n".join([*lines[:left_out], *rest]), gold.steps[left_out + 1].header, "missing_step")


def _plant_unparsable(gold: Gold, rng: random.Random) -> Planted | None:
    """A line that breaks off within a pattern, with nothing after it, or one that says nothing, before a wrong end."""
    lines = _lines(gold)
    if rng.random() < 0.5:
        drawn = [i for i, line in enumerate(lines) if '"' in line]
        i = rng.choice(drawn)
        cut = rng.randrange(lines[i].index('"') + 1, lines[i].rindex('"'))
        return Planted("\n".join([*lines[:i], lines[i][:cut]]), gold.steps[i].header, "unparsable_step")
    i = rng.randrange(len(gold.steps))
    empty = rng.choice(("Let me think about this.", "We put them in order.", "Next, the same again.", "..."))
    rest = _astray(gold, i + 1, orders_of(gold.story.n).all, rng)
    header = gold.steps[i].header
    return rest and Planted("\n".join([*lines[:i], f"({header}) {empty}", *rest]), header, "unparsable_step")


def _plant_header(gold: Gold, rng: random.Random) -> Planted | None:
    """A step that is said again and again until the output ends."""
    lines = _lines(gold)
    i = rng.randrange(len(gold.steps))
    repeated = [*lines[: i + 1], *[lines[i]] * rng.randint(1, 3)]
    return Planted("\n".join(repeated), gold.steps[i].header, "wrong_header")


_WHOLE: dict[str, Callable[[Gold, random.Random], Planted | None]] = {
    "inconsistent_final": _plant_inconsistent,
    "wrong_option": _plant_option,
    "missing_step": _plant_missing,
    "unparsable_step": _plant_unparsable,
    "wrong_header": _plant_header,
    "lucky": _plant_lucky,
}
