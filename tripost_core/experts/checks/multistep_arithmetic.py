"""Every step calculated again, with each operation that takes more than the multiplication table worked out by digits.

    (2) -248? Let's calculate A = (4 * 9 * -8) = ((4 * 9) * -8) = (36 * -8) [30 * 8 = 240, 6 * 8 = 48, 240 + 48 = 288] =
    -288. No: (2) Let's calculate A = (4 * 9 * -8) = ((4 * 9) * -8) = (36 * -8) = -288.

The chain is that of a rationale, so a student that writes attempts can write it; what stands in square brackets is the
way that the attempt did not take. The attempt's own result stands before it, because a student that calculated a step
again, and rightly, was seen to call the attempt correct all the same; behind it, it was seen to repeat its new result.
`Yes` or `No` is said of every step, where both numbers are near. The wrong step is then said as it should have been,
because a small student that repairs its answer copies what it wrote last (docs/log.md).
"""

from __future__ import annotations

import re

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.arithmetic_steps import Chain, Partition, read_step
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem
from tripost_core.trajectory import Attempt

MAX_DIGITS = 6
"""Larger numbers are not worked with: no attempt at a seen question has them, and the line would not end."""
MAX_STATED_CHARS = 40
_INNERMOST = re.compile(r"\([^()]*\)")
_WORKING = re.compile(r" \[[^]]*\]")


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps up to the wrong one, or all, but the first (which calculates nothing), calculated again.

    Ends before a step that cannot be read; definitions and values are the true ones, since a step that is reached has
    only right ones before it.
    """
    steps = [step for step in Attempt.parse(attempt).steps if step.header is not None and step.header.isdigit()]
    partition = read_step(steps[0]) if steps else None
    if not isinstance(partition, Partition) or (steps and steps[0].header == verdict.error_step):
        return ""
    definitions = {letter.text: text.text for letter, text in partition.definitions}
    said: list[str] = []
    try:
        values = {letter: ex.evaluate(ex.parse(text)) for letter, text in definitions.items()}
        for step in steps[1:]:
            chain = read_step(step)
            if not isinstance(chain, Chain):
                break
            name, stated = chain.parts[0].text, chain.parts[-1].text[:MAX_STATED_CHARS]
            if name in definitions:
                again = f"Let's calculate {name} = {worked_chain(definitions[name])}"
            else:
                symbolic = partition.symbolic.text
                again = f"Then, the final equation is {symbolic} = {worked_chain(ex.replace_letters(symbolic, values))}"
            said.append(f"({step.header}) {stated}? {again}.")
            if step.header == verdict.error_step:
                said.append(f"No: ({step.header}) {_WORKING.sub('', again)}.")
                break
            said.append("Yes.")
    except ex.ExpressionError:  # nested definitions, or numbers beyond every bound
        pass
    return " ".join(said)


def worked_chain(text: str) -> str:
    """The links of an expression without letters, as in a rationale, each result with its working before it.

    Raises ExpressionError.
    """
    said = link = ex.parenthesise(ex.parse(text))
    if link != text:
        said = f"{text} = {link}"
    while "(" in link:
        for term in _INNERMOST.findall(link):
            expression = ex.parse(term)
            value = ex.evaluate(expression)
            link = link.replace(term, str(value))
            working = _working(expression)
            said += f" [{working}] = {link}" if working else f" = {link}"
        link = ex.parenthesise(ex.parse(link))
    return said


def worked_out(left: int, operator: str, right: int) -> str | None:
    """One operation, signs aside, in steps of one digit and zeros; None where it is less than one such step, or far too
    large."""
    if operator == "-":
        operator, right = "+", -right
    a, b = abs(left), abs(right)
    if max(a, b) >= 10**MAX_DIGITS:
        return None
    if operator == "*":
        steps = _product(a, b)
    elif (left < 0) == (right < 0) or not a or not b:
        steps = _sum(a, b)
    else:
        steps = _difference(max(a, b), min(a, b))
    return ", ".join(steps) or None


def _working(expression: ex.Postfix) -> str | None:
    if len(expression) != 3:
        return None
    left, right, operator = expression
    if not isinstance(left, int) or not isinstance(right, int) or not isinstance(operator, str):
        return None
    return worked_out(left, operator, right)


def _parts(number: int) -> list[int]:
    """284 -> 200, 80, 4."""
    digits = str(number)
    return [int(digit) * 10 ** (len(digits) - i - 1) for i, digit in enumerate(digits) if digit != "0"]


def _product(a: int, b: int) -> list[str]:
    if min(a, b) < 2 or max(a, b) < 10:
        return []
    products = [(x, y, x * y) for x in _parts(a) for y in _parts(b)]
    steps = [f"{x} * {y} = {xy}" for x, y, xy in products]
    return [*steps, *_running_sum([xy for *_, xy in products])]


def _running_sum(terms: list[int]) -> list[str]:
    steps, total = [], terms[0]
    for term in terms[1:]:
        steps.append(f"{total} + {term} = {total + term}")
        total += term
    return steps


def _sum(a: int, b: int) -> list[str]:
    """The larger number, and the parts of the smaller one added from the largest on."""
    if min(a, b) == 0 or max(a, b) < 10:
        return []
    return _running_sum([max(a, b), *_parts(min(a, b))])


def _difference(larger: int, smaller: int) -> list[str]:
    if larger < 10:
        return []
    steps, left = [], larger
    for part in _parts(smaller):
        steps.append(f"{left} - {part} = {left - part}")
        left -= part
    return steps
