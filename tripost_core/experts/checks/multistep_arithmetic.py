"""The attempt's steps said again, each operation worked out in columns behind the attempt's own result of it.

    (2) Let's calculate A = (4 * 9 * -8) = ((4 * 9) * -8) = (36 * -8) [36] (36 * -8) = -248 [3 6 * 8: 6 * 8 = 48,
    3 * 8 = 24, 24 + 4 = 28: 2 8 8: -288] No.

What stands in square brackets is the way that the attempt did not take. Four things are for small students, which were
seen to fail otherwise (docs/log.md): the attempt is copied from left to right, because they look up badly what a step
ended with; the two results stand side by side, the attempt's first, because they call an attempt correct whose numbers
are not near, and write their own again where it is the nearest; behind a working the last link begins again, because
they lose the place where they were copying; and in an update the working stands before the result,

    (2) Let's calculate A = (4 * 9 * -8) = ((4 * 9) * -8) [36] = (36 * -8) [3 6 * 8: 6 * 8 = 48, 3 * 8 = 24,
    24 + 4 = 28: 2 8 8: -288] = -288.

because they do not copy a result from afar that they can calculate.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise

from tripost_core.experts.base import Verdict
from tripost_core.experts.checks.columns import calculated, worked_out
from tripost_core.experts.mistakes.multistep_arithmetic import near_miss
from tripost_core.experts.scripted.arithmetic_steps import Chain, Part, Partition, read_step
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem
from tripost_core.problems.multistep_arithmetic import calculation_links, equation_links, partition
from tripost_core.trajectory import Attempt, Step

MAX_CHAIN_CHARS = 600
"""Longer lines are not said again: no step of a seen question is as long, and the line would not end."""
WORKING = re.compile(r" \[[^\[\]\n]*\]")
_OPERATION = re.compile(r"\((-?\d+) ([-+*]) (-?\d+)\)")


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps up to the wrong one, or all, but the first (which calculates nothing), said again with workings.

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
            if not isinstance(chain, Chain) or len(step.line) > MAX_CHAIN_CHARS:
                break
            if step.header == verdict.error_step:
                meant = values.get(chain.parts[0].text, ex.evaluate(ex.parse(partition.symbolic.text), values))
                said.append(f"{_with_workings(step.line, _up_to_the_wrong_one(chain.parts[1:], meant))} No.")
                break
            said.append(f"{_with_workings(step.line, chain.parts[1:])}.")
    except ex.ExpressionError:  # nested definitions, or numbers beyond every bound
        pass
    return " ".join(said)


def without_workings(attempt: str) -> str:
    """The attempt as it stands in a rationale."""
    return WORKING.sub("", attempt)


def with_workings(lines: Sequence[str], kept: int) -> list[str]:
    """The lines; from `kept` on, which are not the attempt's own, each operation is worked out before its result."""
    return [*lines[:kept], *(_worked(step) for step in Attempt.parse("\n".join(lines)).steps[kept:])]


def _worked(step: Step) -> str:
    chain = read_step(step) if step.header is not None and step.header.isdigit() else None
    if not isinstance(chain, Chain) or len(step.line) > MAX_CHAIN_CHARS:
        return step.line
    said, done = "", 0
    for link, following in pairwise(chain.parts[1:]):
        operation = _OPERATION.search(link.text)
        if operation is not None and operation[0] not in following.text:
            left, operator, right = operation.groups()
            said += f"{step.line[done : link.end]} [{worked_out(int(left), operator, int(right))}]"
            done = link.end
    return said + step.line[done:]


def operations(problem: Problem, rng: random.Random, n: int = 12) -> list[str]:
    """`(23 + 73) [7 3 + 2 3: 3 + 3 = 6, 7 + 2 = 9: 9 6: 96] = 96`: `n` operations of the size of those in the question
    that have to be done in columns, or of two digits where it has none.

    Most of a student's mistakes are in operations of which a question has one; in rationales they are rare.
    """
    symbolic, definitions = partition(problem.question)
    chains = [calculation_links(text, {}) for text in definitions.values()]
    values = {name: int(links[-1]) for name, links in zip(definitions, chains, strict=True)}
    found = [found.groups() for links in (*chains, equation_links(symbolic, values)) for link in links[:-1]
             if (found := _OPERATION.search(link)) is not None]  # fmt: skip
    hard = [each for each in found if ":" in worked_out(int(each[0]), each[1], int(each[2]))]
    lines: list[str] = []
    while len(lines) < n:
        # Every other line is like the last operation, which has the longest numbers.
        known = hard[-1:] if len(lines) % 2 else hard
        left, operator, right = rng.choice(known) if known else ("10", rng.choice("+-*"), "10")
        a, b = (_as_long(number, rng) for number in (left, right))
        lines.append(f"({a} {operator} {b}) [{worked_out(a, operator, b)}] = {calculated(a, operator, b)}")
    return lines


def _as_long(number: str, rng: random.Random) -> int:
    """A number of the same sign and as many digits."""
    digits = len(number.lstrip("-"))
    drawn = rng.randrange(10 ** (digits - 1), 10**digits)
    return -drawn if number.startswith("-") else drawn


def drill(problem: Problem, rng: random.Random) -> list[tuple[str, bool]]:
    """Every operation of a question worked out, half of the results behind it wrong and called so.

    Pieces of one text, and whether a student is to imitate them (not the wrong results). In an attempt `No` is said
    once in a thousand tokens, and a student of this size learns to say it late; here it is said in every line.
    """
    symbolic, definitions = partition(problem.question)
    chains = [(f"Let's calculate {name}", calculation_links(text, {})) for name, text in definitions.items()]
    values = {name: int(links[-1]) for name, (_, links) in zip(definitions, chains, strict=True)}
    numeric = equation_links(symbolic, values)
    chains.append((f"Then, the final equation is {numeric[0]}", numeric[1:]))
    pieces = []
    for number, (opening, links) in enumerate(chains, 2):
        pieces.append((f" ({number}) {opening} = {links[0]}", True))
        again = ""
        for link, following in pairwise(links):
            operation = _OPERATION.search(link)
            if operation is None or operation[0] in following:
                pieces.append((f"{again} = {following}", True))
                again = ""
                continue
            left, operator, right = int(operation[1]), operation[2], int(operation[3])
            wrong = link.replace(operation[0], str(near_miss(left, operator, right, rng)), 1)
            is_wrong = rng.random() < 0.5 and wrong != following
            pieces.append((f"{again} = ", True))
            pieces.append((wrong if is_wrong else following, not is_wrong))
            pieces.append((f" [{worked_out(left, operator, right)}]" + " No." * is_wrong, True))
            again = f" {following}"
        if not pieces[-1][0].endswith("."):
            pieces.append((".", True))
    return pieces


def _up_to_the_wrong_one(links: tuple[Part, ...], meant: int) -> tuple[Part, ...]:
    """The links as far as the first that is worth something else than the step; all where none is."""
    for i, link in enumerate(links):
        try:
            wrong = ex.evaluate(ex.parse(link.text)) != meant
        except ex.ExpressionError:
            wrong = True
        if wrong:
            return links[: i + 1]
    return links


def _with_workings(line: str, links: tuple[Part, ...]) -> str:
    """A step's line as far as these links, the first operation of each worked out behind the link that follows."""
    if not links:
        return line
    said, done, again = line[: links[0].end], links[0].end, ""
    for link, following in pairwise(links):
        said += again + line[done : following.end]
        done, again = following.end, ""
        operation = _OPERATION.search(link.text)
        if operation is not None and operation[0] not in following.text:
            left, operator, right = operation.groups()
            said += f" [{worked_out(int(left), operator, int(right))}]"
            again = f" {following.text}"
    return said
