"""The gold rationale of a logical deduction, as what a mistake can be planted in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tripost_core.problems.logical_rationale import Known, RationaleStep, remaining_steps
from tripost_core.problems.logical_statements import Story, names_of
from tripost_core.problems.ordering_solver import orders_of

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
        return [step for step in self.steps if kind_of(step) == kind]


def kind_of(step: RationaleStep) -> str:
    if step.statement is not None:
        return "statement"
    if step.option is not None:
        return "conclusion"
    return "total" if step.pattern is None else "combination"


@lru_cache(maxsize=512)
def gold_of(story: Story) -> Gold:
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


def mentioned(story: Story, thing: int) -> str:
    """An object as the sentences of the story call it, within a sentence."""
    for sentence in (*story.options, *story.statements):
        for found, start, end, _ in names_of(story.listed).find(sentence.text):
            if found == thing:
                return small(sentence.text[start:end], story)
    return story.names[thing]


def capital(name: str) -> str:
    return name[0].upper() + name[1:]


def small(name: str, story: Story) -> str:
    return "the" + name[3:] if name.startswith("The ") else name


def some_order(orders: int, n: int, rng: random.Random) -> tuple[int, ...] | None:
    """A random order of a set, or None of an empty one."""
    permutations = orders_of(n).permutations
    for _ in range(_MOST_DRAWS):
        number = rng.randrange(len(permutations))
        if orders >> number & 1:
            return permutations[number]
    return permutations[(orders & -orders).bit_length() - 1] if orders else None
