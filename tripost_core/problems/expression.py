"""Exact, bounded arithmetic on text: integers, letters, `+ - *`, unary minus and brackets.

An expression is held in postfix order, e.g. `(2 + A) * -3` as `(2, "A", "+", -3, "*")`; `~` is the unary minus of
something that is not a literal. Two texts have the same postfix exactly when they differ only in spacing and in
brackets that change nothing. Nothing here is recursive, and every size is bounded, so text of any origin is safe.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import lru_cache

from tripost_core.errors import DataError

MAX_CHARS = 4_000
MAX_LEAVES = 400
MAX_DEPTH = 60
MAX_DIGITS = 150
"""Bounds on one expression: characters, literals and letters, nested brackets, digits of a literal."""
_MAX_BITS = 4_000

Postfix = tuple[int | str, ...]

_TOKEN = re.compile(r"[0-9]+|[A-Za-z][0-9]{0,3}|\S")
_LETTER = re.compile(r"[A-Za-z][0-9]{0,3}")
_INNERMOST = re.compile(r"\([^()]*\)")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}
_OPERATORS = frozenset("+-*~")
_LOOKALIKES = str.maketrans("−–×·∙[]", "--***()")
_PRIME = (1 << 61) - 1


class ExpressionError(DataError):
    """The text is not an expression within the bounds; the message is a clause that says why."""


@lru_cache(maxsize=8192)
def parse(text: str) -> Postfix:
    """The postfix form. Typographic minus and times signs and square brackets count as `-`, `*` and parentheses.

    Raises ExpressionError.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError("the expression is too long")
    out: list[int | str] = []
    pending: list[str] = []  # operators and open brackets, innermost last
    depth = leaves = 0
    operand_expected = True

    for token in _TOKEN.findall(text.translate(_LOOKALIKES)):
        if token in _PRECEDENCE:
            if not operand_expected:
                while pending and pending[-1] != "(" and _PRECEDENCE[pending[-1]] >= _PRECEDENCE[token]:
                    out.append(pending.pop())
                pending.append(token)
                operand_expected = True
            elif token == "-":
                pending.append("~")
            elif token == "*":
                raise ExpressionError("a number is missing")
            continue
        if token == "(":
            if not operand_expected:
                raise ExpressionError("an operator is missing")
            depth += 1
            if depth > MAX_DEPTH:
                raise ExpressionError("the brackets are nested too deeply")
            pending.append(token)
            continue
        if token == ")":
            if operand_expected:
                raise ExpressionError("a number is missing")
            while pending and pending[-1] != "(":
                out.append(pending.pop())
            if not pending:
                raise ExpressionError("the numbers of left and right brackets differ")
            pending.pop()
            depth -= 1
        else:
            if not operand_expected:
                raise ExpressionError("an operator is missing")
            leaves += 1
            if leaves > MAX_LEAVES or len(token) > MAX_DIGITS:
                raise ExpressionError("the expression is too long")
            if not (token.isascii() and token.isalnum()):
                raise ExpressionError("it is not an arithmetic expression")
            out.append(int(token) if token.isdigit() else token)
            operand_expected = False
        while pending and pending[-1] == "~":  # an operand is complete: minus signs before it apply to it
            pending.pop()
            last = out[-1]
            if isinstance(last, int):
                out[-1] = -last
            elif last == "~":
                out.pop()
            else:
                out.append("~")
    if operand_expected:
        raise ExpressionError("a number is missing")
    while pending:
        if pending[-1] == "(":
            raise ExpressionError("the numbers of left and right brackets differ")
        out.append(pending.pop())
    return tuple(out)


def is_letter(token: int | str) -> bool:
    """Whether a postfix token is a name such as `A`."""
    return isinstance(token, str) and token not in _OPERATORS


def letters(expression: Postfix) -> list[str]:
    """The different letters in order of first appearance."""
    return list(dict.fromkeys([t for t in expression if isinstance(t, str) and t not in _OPERATORS]))


def literals(expression: Postfix) -> list[int]:
    return [token for token in expression if isinstance(token, int)]


def num_leaves(expression: Postfix) -> int:
    """How many numbers and letters it has."""
    return len([token for token in expression if token not in _OPERATORS])


def evaluate(expression: Postfix, values: Mapping[str, int] | None = None) -> int:
    """The exact value, letters taken from `values`.

    Raises ExpressionError for a letter without a value and for intermediate results beyond about 1,200 digits.
    """
    stack: list[int] = []
    for token in expression:
        if isinstance(token, int):
            stack.append(token)
        elif token == "+":
            right = stack.pop()
            stack[-1] += right
        elif token == "-":
            right = stack.pop()
            stack[-1] -= right
        elif token == "*":
            right = stack.pop()
            stack[-1] *= right
            if stack[-1].bit_length() > _MAX_BITS:  # sums of so few terms stay near their largest one
                raise ExpressionError("the numbers are too large")
        elif token == "~":
            stack[-1] = -stack[-1]
        elif values is not None and token in values:
            stack.append(values[token])
        else:
            raise ExpressionError(f"{token} has no value")
    return stack[0]


def substitute(expression: Postfix, definitions: Mapping[str, Postfix]) -> Postfix:
    """Letters replaced by their definitions, once. Raises ExpressionError when the result is too long."""
    out: list[int | str] = []
    for token in expression:
        definition = definitions.get(token) if isinstance(token, str) else None
        if definition is not None:
            out.extend(definition)
        elif token == "~" and (isinstance(out[-1], int) or out[-1] == "~"):  # as `parse` folds it
            last = out.pop()
            if isinstance(last, int):
                out.append(-last)
        else:
            out.append(token)
        if len(out) > 3 * MAX_LEAVES:
            raise ExpressionError("the expression is too long")
    return tuple(out)


@lru_cache(maxsize=4096)
def _tag(leaf: int | str) -> int:
    return random.Random(f"leaf {leaf}").randrange(_PRIME)


def fingerprint(expression: Postfix, tag_literals: bool) -> int:
    """A residue that two expressions share exactly when they are the same polynomial (but for a chance of 1e-17).

    The variables are the letters and, with `tag_literals`, the absolute values of the literals: `8 - -2` and
    `2 + 8` agree, `2 + 2` and `2 * 2` do not, although their values do.
    """
    stack: list[int] = []
    for token in expression:
        if isinstance(token, int):
            value = _tag(abs(token)) if tag_literals else abs(token)
            stack.append(-value % _PRIME if token < 0 else value % _PRIME)
        elif token == "~":
            stack[-1] = -stack[-1] % _PRIME
        elif token in _PRECEDENCE:
            right = stack.pop()
            left = stack.pop()
            value = left + right if token == "+" else left - right if token == "-" else left * right
            stack.append(value % _PRIME)
        else:
            stack.append(_tag(token))
    return stack[0]


@lru_cache(maxsize=4096)
def parenthesise(expression: Postfix) -> str:
    """Its text with brackets around every binary operation, the outermost included."""
    stack: list[str] = []
    for token in expression:
        if token == "~":
            stack[-1] = f"-{stack[-1]}"
        elif isinstance(token, str) and token in _PRECEDENCE:
            right = stack.pop()
            left = stack.pop()
            stack.append(f"({left} {token} {right})")
        else:
            stack.append(str(token))
    return stack[0]


def reductions(expression: Postfix) -> list[str]:
    """The links of a calculation, from the fully bracketed expression to the bare number (paper.md B3.1, 4).

    A round takes the innermost bracketed terms from left to right; each is evaluated, all its textual occurrences are
    replaced, and the result is one link (the same link twice where a term occurs twice, as in the reference data).
    """
    text = parenthesise(expression)
    links = [text]
    while "(" in text:
        for term in _INNERMOST.findall(text):
            text = text.replace(term, str(evaluate(parse(term))))
            links.append(text)
        text = parenthesise(parse(text))
    if links[-1] != text:  # `--7` is left where a bracket stood behind a minus sign
        links.append(text)
    return links


@lru_cache(maxsize=4096)
def plain(expression: Postfix) -> str:
    """Its text with no bracket but the needed ones, and a pair around the whole of more than one number."""
    stack: list[tuple[str, int]] = []  # text and precedence; 3 for what needs no brackets
    for token in expression:
        if token == "~":
            text, precedence = stack.pop()
            stack.append((f"-{text}" if precedence == 3 and text[0] != "-" else f"-({text})", 3))
        elif isinstance(token, str) and token in _PRECEDENCE:
            own = _PRECEDENCE[token]
            right, right_precedence = stack.pop()
            left, left_precedence = stack.pop()
            left = f"({left})" if left_precedence < own else left
            right = f"({right})" if right_precedence <= own else right
            stack.append((f"{left} {token} {right}", own))
        else:
            stack.append((str(token), 3))
    text, precedence = stack[0]
    return text if precedence == 3 else f"({text})"


def subexpressions(expression: Postfix) -> list[Postfix]:
    """Every subtree in postfix form, the expression itself last."""
    starts: list[int] = []
    found: list[Postfix] = []
    for index, token in enumerate(expression):
        if isinstance(token, str) and token in _PRECEDENCE:
            starts.pop()
            begin = starts.pop()
        elif token == "~":
            begin = starts.pop()
        else:
            begin = index
        starts.append(begin)
        found.append(expression[begin : index + 1])
    return found


def last_operand_start(expression: Postfix, end: int) -> int:
    """Where the subtree begins whose last token stands at `end`."""
    missing, index = 1, end
    while True:
        token = expression[index]
        if isinstance(token, str) and token in _PRECEDENCE:
            missing += 1
        elif token != "~":
            missing -= 1
        if not missing:
            return index
        index -= 1


def replace_letters(text: str, values: Mapping[str, int]) -> str:
    """The text with every letter that has a value replaced by it."""
    return _LETTER.sub(lambda m: str(values.get(m[0], m[0])), text)


def normalise(text: str) -> str:
    """The text with one space around binary operators and none elsewhere; brackets stay as they are.

    Raises ExpressionError where it does not parse.
    """
    parse(text)
    out: list[str] = []
    operand_expected = True
    for token in _TOKEN.findall(text.translate(_LOOKALIKES)):
        if token in _PRECEDENCE and not operand_expected:
            out.append(f" {token} ")
            operand_expected = True
        else:
            out.append(token)
            if token not in _PRECEDENCE:
                operand_expected = token == "("
    return "".join(out)
