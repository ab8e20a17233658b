"""What kind of mistake turned one expression into another: calculation, copy, algebraic, missing or added term, order.

Both expressions are numeric (letters already replaced by their values) and known to differ.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tripost_core.problems import expression as ex

_SHOWN_CHARS = 120


@dataclass(frozen=True, slots=True)
class Diagnosis:
    error_class: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Node:
    expression: ex.Postfix
    value: int
    operator: str | None = None
    children: tuple[_Node, ...] = ()


def diagnose(before: ex.Postfix, after: ex.Postfix, copied: bool) -> Diagnosis:
    """Why `after` does not follow from `before`; `copied`: it was to be written down again, not to be calculated.

    Raises ExpressionError when values pass the bounds.
    """
    before_leaves, after_leaves = ex.literals(before), ex.literals(after)
    if len(after_leaves) > len(before_leaves):
        return Diagnosis("added_term", f"it has a number that {show(before)} does not have")
    if len(after_leaves) == len(before_leaves):
        return _same_length(before, after, copied)
    if len(after_leaves) > 1 and not Counter(after_leaves) - Counter(before_leaves):
        return Diagnosis("missing_term", f"a number of {show(before)} is left out")
    return _evaluated(before, after)


def sign_slips(left: int, operator: str, right: int) -> set[int]:
    """Wrong values of `left operator right` that come from a lost, added or misplaced sign."""
    if operator == "*":
        return {-left * right}
    return {left + right, left - right, right - left, -left - right}


def show(expression: ex.Postfix) -> str:
    """Its text, shortened for a reason."""
    text = ex.plain(expression)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def show_number(value: int) -> str:
    return str(value) if value.bit_length() <= 200 else "another number"


def _same_length(before: ex.Postfix, after: ex.Postfix, copied: bool) -> Diagnosis:
    before_leaves, after_leaves = ex.literals(before), ex.literals(after)
    before_order, after_order = _in_order(before), _in_order(after)
    if before_order == after_order:
        return Diagnosis("algebraic", f"other brackets than in {show(before)} change the order of the operations")
    slip = "copy" if copied else "algebraic"
    if before_leaves == after_leaves:
        return Diagnosis(slip, f"an operator of {show(before)} is changed")
    if sorted(before_leaves) == sorted(after_leaves):
        return Diagnosis("wrong_order", f"numbers of {show(before)} have changed their places")
    old, new = next((a, b) for a, b in zip(before_leaves, after_leaves, strict=True) if a != b)
    if [abs(a) for a in before_leaves] == [abs(b) for b in after_leaves]:
        return Diagnosis(slip, f"the sign changes from {show_number(old)} to {show_number(new)}")
    return Diagnosis("copy", f"{show_number(old)} in {show(before)} becomes {show_number(new)}")


def _evaluated(before: ex.Postfix, after: ex.Postfix) -> Diagnosis:
    """`after` has fewer numbers: some terms of `before` were calculated, and one of them wrongly."""
    a, b = _tree(before), _tree(after)
    while a.children and b.children and a.operator == b.operator:
        differing = [(x, y) for x, y in zip(a.children, b.children, strict=True) if x.value != y.value]
        if not differing:
            break
        a, b = differing[0]
    if a.children and not b.children:
        return _wrong_value(a, b.value)
    if not a.children and not b.children:
        if a.value == -b.value:
            return Diagnosis("algebraic", f"the sign changes from {show_number(a.value)} to {show_number(b.value)}")
        return Diagnosis("copy", f"{show_number(a.value)} becomes {show_number(b.value)}")
    if a.children and b.children and len(ex.literals(a.expression)) == len(ex.literals(b.expression)):
        return _same_length(a.expression, b.expression, copied=False)
    if a.children and b.value in _values_out_of_order(a.expression):
        return _out_of_order(a)
    return Diagnosis("calculation", f"{show(a.expression)} is {show_number(a.value)}, not {show_number(b.value)}")


def _wrong_value(node: _Node, given: int) -> Diagnosis:
    stated = f"{show(node.expression)} is {show_number(node.value)}, not {show_number(given)}"
    simple = all(not child.children for child in node.children)
    if simple and node.operator in ("+", "-", "*"):
        left, right = (child.value for child in node.children)
        if given in sign_slips(left, node.operator, right):
            return Diagnosis("algebraic", f"a sign is wrong: {stated}")
    elif given == -node.value:
        return Diagnosis("algebraic", f"the sign is wrong: {stated}")
    elif given in _values_out_of_order(node.expression):
        return _out_of_order(node)
    return Diagnosis("calculation", stated)


def _out_of_order(node: _Node) -> Diagnosis:
    return Diagnosis("algebraic", f"the operations of {show(node.expression)} are done in the wrong order")


def _values_out_of_order(expression: ex.Postfix) -> set[int]:
    """Values from the left to the right and from the right to the left, without regard to precedence and brackets."""
    sequence = _in_order(expression)
    numbers = [token for token in sequence if isinstance(token, int)]
    operators = [token for token in sequence if isinstance(token, str)]
    if len(operators) != len(numbers) - 1:
        return set()
    forward: ex.Postfix = (numbers[0],)
    for operator, number in zip(operators, numbers[1:], strict=True):
        forward = (*forward, number, operator)
    backward: ex.Postfix = (*numbers, *reversed(operators))
    sums_first: list[int] = [numbers[0]]
    for operator, number in zip(operators, numbers[1:], strict=True):
        if operator == "*":
            sums_first.append(number)
        else:
            sums_first[-1] += number if operator == "+" else -number
    product = 1
    for factor in sums_first:
        product *= factor
    return {ex.evaluate(forward), ex.evaluate(backward), product}


def _in_order(expression: ex.Postfix) -> list[int | str]:
    """Numbers and binary operators as they are written, without brackets; a lone minus sign is dropped."""
    stack: list[list[int | str]] = []
    for token in expression:
        if isinstance(token, int):
            stack.append([token])
        elif token in ("+", "-", "*"):
            right = stack.pop()
            stack[-1] += [token, *right]
    return stack[0]


def _tree(expression: ex.Postfix) -> _Node:
    stack: list[_Node] = []
    for token in expression:
        if isinstance(token, int):
            stack.append(_Node((token,), token))
        elif token == "~":
            child = stack.pop()
            stack.append(_Node((*child.expression, token), -child.value, token, (child,)))
        else:
            right = stack.pop()
            left = stack.pop()
            joined = (*left.expression, *right.expression, token)
            value = ex.evaluate((left.value, right.value, token))
            stack.append(_Node(joined, value, token, (left, right)))
    return stack[0]
