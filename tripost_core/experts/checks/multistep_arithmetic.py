"""Every operation of an attempt that takes more than the multiplication table, worked out by its digits.

`-6 * 34: 6 * 30 = 180, 6 * 4 = 24, 180 + 24 = 204, so -204`. Operations are those of the expression with which a step
begins, in the order in which they are calculated; the last one is the first whose result the attempt has wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.arithmetic_steps import Chain, read_step
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem
from tripost_core.trajectory import Attempt

MAX_DIGITS = 6
"""Larger numbers are not worked with: no attempt at a seen question has them, and the line would not end."""
_BLAMED = re.compile(r"\((-?\d+) ([-+*]) (-?\d+)\) is -?\d+, not")


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The checks of the steps up to the wrong one, or of all; empty where nothing has to be worked out."""
    said = []
    blamed = _BLAMED.search(verdict.reason or "")
    for step in Attempt.parse(attempt).steps:
        if step.header is None or not step.header.isdigit():
            break
        is_wrong = step.header == verdict.error_step
        worked = []
        for left, operator, right in _operations(step.line, step.header):
            if (text := worked_out(left, operator, right)) is not None:
                worked.append(text)
            if is_wrong and blamed and (str(left), operator, str(right)) == blamed.groups():
                break
        if worked:
            said.append(f"({step.header}) {'; '.join(worked)}.")
        if is_wrong:
            break
    return " ".join(said)


def worked_out(left: int, operator: str, right: int) -> str | None:
    """One operation in steps with few digits; None where it is at most one such step itself, or far too large."""
    if operator == "-":
        total, sign_right = left - right, -right
    else:
        total, sign_right = (left * right if operator == "*" else left + right), right
    a, b = abs(left), abs(sign_right)
    if max(a, b) >= 10**MAX_DIGITS:
        return None
    if operator == "*":
        steps = _product(a, b)
    elif (left < 0) == (sign_right < 0) or not a or not b:
        steps = _sum(a, b)
    else:
        steps = _difference(max(a, b), min(a, b))
    if not steps:
        return None
    if steps == [f"{left} {operator} {right} = {total}"]:
        return steps[0]
    found = int(steps[-1].rpartition(" ")[2])
    end = f", so {total}" if total != found else ""
    return f"{left} {operator} {right}: {', '.join(steps)}{end}"


def _operations(line: str, header: str) -> Iterator[tuple[int, str, int]]:
    """Of the first expression without letters in a calculation, in the order of a stack machine."""
    chain = read_step(Attempt.parse(line).steps[0])
    if not isinstance(chain, Chain):
        return
    for part in chain.parts:
        try:
            expression = ex.parse(part.text)
        except ex.ExpressionError:
            return
        if not ex.letters(expression):
            yield from operations(expression)
            return


def operations(expression: ex.Postfix) -> Iterator[tuple[int, str, int]]:
    """(left, operator, right) of every operation; ends early where the numbers grow too large."""
    stack: list[int] = []
    for token in expression:
        if isinstance(token, int):
            stack.append(token)
        elif token == "~":
            stack[-1] = -stack[-1]
        else:
            right, left = stack.pop(), stack.pop()
            if max(abs(left), abs(right)) >= 10**MAX_DIGITS:
                return
            yield left, token, right
            stack.append(left * right if token == "*" else left + right if token == "+" else left - right)


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
