"""One operation on integers as it is done on paper: digit by digit from the ones, with carries.

    289 + 8     2 8 9 + 8: 9 + 8 = 17, 8 + 1 = 9: 2 9 7: 297
    104 - 8     1 0 4 - 8: 14 - 8 = 6, 10 - 1 = 9, 1 - 1 = 0: 9 6: 96
    36 * -8     3 6 * 8: 6 * 8 = 48, 3 * 8 = 24, 24 + 4 = 28: 2 8 8: -288
    16 * 37     3 7 * 1 6: 7 * 6 = 42, 3 * 6 = 18, 18 + 4 = 22: 2 2 2; 3 7 0; 3 7 0 + 2 2 2: 0 + 2 = 2, ...: 5 9 2: 592

No step needs more than the tables of single digits, which a student of a million parameters knows by heart; sums and
products of longer numbers it does not. The digits are said alone before and after, the larger number first: to take
one out of `58`, to see which of two numbers is larger and to put `2` and `9` together are steps as well, and they went
wrong (docs/log.md).
"""

from __future__ import annotations

MAX_DIGITS = 6
"""Larger numbers are not worked with: no attempt at a seen question has them, and the line would not end."""


def calculated(left: int, operator: str, right: int) -> int:
    """`operator`: +, - or *."""
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def worked_out(left: int, operator: str, right: int) -> str:
    """The steps, `: ` and the result; the result alone where there is nothing to do in columns, or far too much.

    `operator`: +, - or *.
    """
    result = calculated(left, operator, right)
    if operator == "-":
        operator, right = "+", -right
    a, b = sorted((abs(left), abs(right)), reverse=True)
    if a >= 10**MAX_DIGITS:
        steps = ""
    elif operator == "*":
        steps = _product(a, b)
    elif (left < 0) == (right < 0):
        steps = _sum(a, b)
    else:
        steps = _difference(a, b)
    return f"{steps}: {result}" if steps else str(result)


def _digits(number: int) -> list[int]:
    """From the ones on."""
    return [int(digit) for digit in reversed(str(number))]


def _spelled(number: int) -> str:
    return " ".join(str(number))


def _in_columns(larger: int, operator: str, smaller: int, steps: list[str]) -> str:
    result = _spelled(abs(calculated(larger, operator, smaller)))
    return f"{_spelled(larger)} {operator} {_spelled(smaller)}: {', '.join(steps)}: {result}"


def _sum(larger: int, smaller: int) -> str:
    if not smaller or larger < 10:
        return ""
    steps, carry, below = [], 0, _digits(smaller)
    for place, digit in enumerate(_digits(larger)):
        terms = [digit, *below[place : place + 1], *([carry] if carry else [])]
        if len(terms) == 1:
            break
        steps.append(f"{' + '.join(map(str, terms))} = {sum(terms)}")
        carry = sum(terms) // 10
    return _in_columns(larger, "+", smaller, steps)


def _difference(larger: int, smaller: int) -> str:
    if not smaller or larger < 10:
        return ""
    steps, borrowed, below = [], 0, _digits(smaller)
    for place, digit in enumerate(_digits(larger)):
        terms = [*below[place : place + 1], *([borrowed] if borrowed else [])]
        if not terms:
            break
        borrowed = int(digit < sum(terms))
        digit += 10 * borrowed
        steps.append(f"{' - '.join(map(str, [digit, *terms]))} = {digit - sum(terms)}")
    return _in_columns(larger, "-", smaller, steps)


def _product(larger: int, smaller: int) -> str:
    if smaller < 2 or larger < 10:
        return ""
    stages, total = [], 0
    for place, digit in enumerate(_digits(smaller)):
        if not digit:
            continue
        part = larger * digit * 10**place
        steps = _times_digit(larger, digit)
        stages.append(f"{steps}: {_spelled(part)}" if steps else _spelled(part))
        if total:
            stages.append(_sum(max(total, part), min(total, part)))
        total += part
    if stages == [_spelled(total)]:
        return ""  # a power of ten
    return f"{_spelled(larger)} * {_spelled(smaller)}: {'; '.join(stages)}"


def _times_digit(number: int, digit: int) -> str:
    if digit == 1:
        return ""
    steps, carry = [], 0
    for each in _digits(number):
        product = each * digit
        steps.append(f"{each} * {digit} = {product}")
        if carry:
            steps.append(f"{product} + {carry} = {product + carry}")
        carry = (product + carry) // 10
    return ", ".join(steps)
