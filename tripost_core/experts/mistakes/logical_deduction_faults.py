"""Wrong lines of a logical deduction, one function for each error class (`experts.scripted.logical_deduction`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tripost_core.experts.mistakes.logical_deduction_gold import Error, Gold, capital, mentioned, small, some_order
from tripost_core.problems.logical_rationale import (
    RationaleStep,
    combination_body,
    reading_body,
    show,
    statement_body,
    total_body,
)
from tripost_core.problems.logical_statements import Claim, Story, names_of, read_claim
from tripost_core.problems.logical_stories import THEMES
from tripost_core.problems.ordering_patterns import Gap, Pattern, at_place
from tripost_core.problems.ordering_solver import orders_of

Fault = Callable[[Gold, random.Random], Error | None]

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
    others = [mentioned(story, thing) for thing in rng.sample(range(story.n), story.n) if thing not in claim.things]
    if len(mentions) == 2 and rng.random() < 0.5:
        (_, a, b, _), (_, c, d, _) = mentions
        text = capital(claim.text[c:d]) + claim.text[b:c] + small(claim.text[a:b], story)
    elif others:
        _, start, end, _ = rng.choice(mentions)
        name = others[0] if start else capital(others[0])
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
    body = (
        step.line(gold.story)
        .partition(") ")[2]
        .replace(shown, shown.replace(f"({first})", f"({end})").replace(f"({last})", f"({end})"))
    )
    return Error(step, body, orders_of(gold.story.n).all)


def _some_statement(gold: Gold, rng: random.Random) -> tuple[RationaleStep, Claim]:
    step = rng.choice(gold.kind("statement"))
    assert step.statement is not None
    return step, gold.story.statements[step.statement]


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
    return Error(step, combination_body(story, step.premises, step.pattern._replace(gaps=tuple(gaps))), anything)


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
    order = some_order(left, n, rng)
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
    claim = read_claim(story, f"{capital(mentioned(story, thing))} {predicate}")
    if option is None or claim is None or gold.story.orders & ~claim.pattern.orders(story.n):
        return None
    return Error(step, reading_body(story, thing, predicate), option.pattern.orders(story.n))


FAULTS: dict[str, Fault] = {
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
