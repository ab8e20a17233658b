"""Planted mistakes in logical deduction: a student that reasons as the gold rationale does, but errs once.

What follows the mistake goes astray with it: the student ends with another order, in which the objects of
the gold order are exchanged, and its later combinations, conclusion and answer are those of the gold rationale with
the objects exchanged. `lucky` is the exception: there the rest of the rationale stays right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tripost_core.experts.base import Planted
from tripost_core.experts.mistakes.logical_deduction_faults import FAULTS
from tripost_core.experts.mistakes.logical_deduction_gold import Gold, gold_of, kind_of, some_order
from tripost_core.problems.base import Problem
from tripost_core.problems.logical_deduction import TASK
from tripost_core.problems.logical_rationale import final_line
from tripost_core.problems.logical_statements import read_story
from tripost_core.problems.ordering_patterns import Pattern
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.trajectory import FINAL

_TRIES = 12
"""Random places and mistakes that are tried before a problem counts as having no place for a class."""
_HIDDEN = ("misread_statement", "incomplete_pattern", "lost_object", "wrong_order", "wrong_place", "unsupported_step")
"""Mistakes that `lucky` makes in one line, the rest staying right."""

ERROR_CLASSES = (
    *FAULTS, "inconsistent_final", "wrong_option", "missing_step", "unparsable_step", "wrong_header", "lucky"
)  # fmt: skip
"""The classes that `plant` knows, named as FBK names them."""


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` at a random place; None where none was found. Raises KeyError for a class that
    is not in `ERROR_CLASSES`."""
    gold = gold_of(read_story(problem.question))
    for _ in range(_TRIES):
        if error_class in FAULTS:
            planted = _plant_fault(gold, error_class, rng)
        else:
            planted = _WHOLE[error_class](gold, rng)
        if planted and TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky"):
            return planted
    return None


def _lines(gold: Gold) -> list[str]:
    return [*(step.line(gold.story) for step in gold.steps), final_line(gold.story, gold.story.answer)]


def _plant_fault(gold: Gold, error_class: str, rng: random.Random) -> Planted | None:
    error = FAULTS[error_class](gold, rng)
    if error is None:
        return None
    index = gold.steps.index(error.step)
    lines = _lines(gold)[:index]
    lines.append(f"({error.step.header}) {error.body}")
    rest = _astray(gold, index + 1, error.orders, rng)
    return None if rest is None else Planted("\n".join([*lines, *rest]), error.step.header, error_class)


def _astray(gold: Gold, start: int, orders: int, rng: random.Random) -> list[str] | None:
    """The steps from `start` on and the final response of one who has a wrong order of `orders` in mind."""
    story = gold.story
    answer = story.options[story.answer]
    order = some_order(orders & ~answer.pattern.orders(story.n), story.n, rng)
    if order is None:
        return None
    alone = orders_of(story.n).alone(order)
    believed = [i for i, option in enumerate(story.options) if alone & option.pattern.orders(story.n)]
    if not believed:
        return None
    exchanged = dict(zip(gold.order, order, strict=True))
    lines = []
    for step in gold.steps[start:]:
        kind = kind_of(step)
        if kind == "combination":
            assert step.pattern is not None
            things = tuple(exchanged[thing] for thing in step.pattern.things)
            step = replace(step, pattern=Pattern(things, step.pattern.gaps))
        elif kind == "conclusion":
            step = replace(step, option=believed[0])
        lines.append(step.line(story))
    return [*lines, final_line(story, believed[0])]


def _plant_lucky(gold: Gold, rng: random.Random) -> Planted | None:
    error = FAULTS[rng.choice(_HIDDEN)](gold, rng)
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
    return (
        None
        if rest is None
        else Planted("\n".join([*lines[:left_out], *rest]), gold.steps[left_out + 1].header, "missing_step")
    )


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
    return (
        None
        if rest is None
        else Planted("\n".join([*lines[:i], f"({header}) {empty}", *rest]), header, "unparsable_step")
    )


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
