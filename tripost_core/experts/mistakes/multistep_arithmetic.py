"""One mistake in a gold rationale of multistep arithmetic, as a student makes it: what follows is built on it.

Every class of FBK is planted at a random place: which step, which link of its chain, which number or sign. Only
`lucky` leaves the rest as it was, so that the final answer is right although a step is wrong.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tripost_core.experts.base import Planted
from tripost_core.experts.scripted.arithmetic_diagnosis import diagnose, sign_slips
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem
from tripost_core.problems.multistep_arithmetic import (
    TASK,
    calculation_links,
    equation_links,
    partition,
    render,
)
from tripost_core.trajectory import FINAL

_ATTEMPTS = 60
_INNERMOST = re.compile(r"\([^()]*\)")
_NUMBER = re.compile(r"(?<![0-9)\w])-?[0-9]+")
_OPERATOR = re.compile(r" ([-+*]) ")


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` (a key of `PLANTERS`); None where the problem has no place for it."""
    for _ in range(_ATTEMPTS):
        planted = PLANTERS[error_class](_Gold(problem), rng)
        if planted is None:
            continue
        attempt, step = planted
        right = TASK.is_right(attempt, problem.answer)
        if (error_class in _STATES_SOMETHING_FALSE and right) or (error_class == "lucky" and not right):
            continue  # e.g. a product with zero has hidden the mistake
        return Planted(attempt, step, error_class)
    return None


class _Gold:
    """The parts of a problem's gold rationale."""

    def __init__(self, problem: Problem) -> None:
        self.symbolic, self.definitions = partition(problem.question)
        self.chains = {letter: calculation_links(text, {}) for letter, text in self.definitions.items()}
        self.values = {letter: int(links[-1]) for letter, links in self.chains.items()}
        self.equation = equation_links(self.symbolic, self.values)
        self.equation_step = str(len(self.definitions) + 2)

    def step_of(self, letter: str) -> str:
        return str(list(self.definitions).index(letter) + 2)

    def lines(self) -> list[str]:
        return render(self.symbolic, self.definitions, self.chains, self.equation).split("\n")

    def with_chain(self, letter: str, links: list[str]) -> str:
        """The attempt in which a letter is calculated like this, its value carried on."""
        chains = {**self.chains, letter: links}
        values = {**self.values, letter: int(links[-1])}
        return render(self.symbolic, self.definitions, chains, equation_links(self.symbolic, values))

    def with_equation(self, links: list[str]) -> str:
        return render(self.symbolic, self.definitions, self.chains, links)

    def with_partition(self, symbolic: str, definitions: dict[str, str]) -> str:
        chains = {letter: calculation_links(text, {}) for letter, text in definitions.items()}
        values = {letter: int(links[-1]) for letter, links in chains.items()}
        return render(symbolic, definitions, chains, equation_links(symbolic, values))


def near_miss(left: int, operator: str, right: int, rng: random.Random) -> int:
    """A result of `left operator right` as a student gets it wrong; by chance the right one (a product with 0)."""
    value = ex.evaluate((left, right, operator))
    near = [1, 2, 3, 9, 10, 11, 20, 100] if abs(value) >= 100 else [1, 1, 1, 2, 2, 3, 10]
    return value + rng.choice([-1, 1]) * rng.choice([*near, *((abs(left), abs(right)) if operator == "*" else ())])


# Mistakes inside a chain: one link is replaced, the chain goes on from it.


def _calculated_wrongly(gold: _Gold, rng: random.Random, error_class: str, carried: bool) -> tuple[str, str] | None:
    """A bracketed term gets a wrong value, in the calculation of a letter or in the final equation."""
    letter = rng.choice([*gold.chains, None])
    links = gold.equation if letter is None else gold.chains[letter]
    places = [
        i for i in range(1, len(links)) if _INNERMOST.search(links[i - 1]) and not re.search("[A-Z]", links[i - 1])
    ]
    places = [i for i in places if ex.parenthesise(ex.parse(links[i - 1])) == links[i - 1]]
    if not places:
        return None
    index = rng.choice(places)
    before = links[index - 1]
    match = rng.choice(list(_INNERMOST.finditer(before)))
    left, right, operator = ex.parse(match[0])
    assert isinstance(left, int) and isinstance(right, int) and isinstance(operator, str), before
    value = ex.evaluate((left, right, operator))
    if error_class == "algebraic":
        wrong = rng.choice(sorted(sign_slips(left, operator, right)))
    else:
        wrong = near_miss(left, operator, right, rng)
    if wrong == value:
        return None
    link = before[: match.start()] + str(wrong) + before[match.end() :]
    if diagnose(ex.parse(before), ex.parse(link), copied=False).error_class != error_class:
        return None  # e.g. a slip of the sign that is also a left out number
    rest = _reduced(link) if carried else links[index + 1 :]
    return _with_links(gold, letter, [*links[:index], link, *rest])


def _precedence_slip(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A group is bracketed from the left to the right, whatever binds more tightly."""
    letter = rng.choice(list(gold.chains))
    numbers, operators = _split(gold.definitions[letter])
    text = numbers[0]
    for operator, number in zip(operators, numbers[1:], strict=True):
        text = f"({text} {operator} {number})"
    definition = gold.definitions[letter]
    if ex.evaluate(ex.parse(text)) == ex.evaluate(ex.parse(definition)):
        return None
    return _with_links(gold, letter, [definition, *ex.reductions(ex.parse(text))])


def _algebraic(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    return _precedence_slip(gold, rng) if rng.random() < 0.3 else _calculated_wrongly(gold, rng, "algebraic", True)


def _copy(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A number changes between one link and the next, most often between step (1) and the calculation."""
    letter = rng.choice(list(gold.chains))
    links = gold.chains[letter]
    index = rng.choice([0, 0, *range(1, len(links) - 1)])
    before = ex.parse(gold.definitions[letter] if index == 0 else links[index - 1])
    match = rng.choice(list(_NUMBER.finditer(links[index])))
    wrong = str(rng.choice([n for n in range(-9, 10) if n != int(match[0])]))
    link = links[index][: match.start()] + wrong + links[index][match.end() :]
    after = ex.parse(link)
    if ex.evaluate(before) == ex.evaluate(after) or diagnose(before, after, index == 0).error_class != "copy":
        return None
    return _with_links(gold, letter, [*links[:index], link, *_reduced(link)])


def _changed_definition(
    gold: _Gold,
    rng: random.Random,
    error_class: str,
    change: Callable[[list[str], list[str]], str],
    min_numbers: int = 1,
) -> tuple[str, str] | None:
    """A group is written down differently in step (1), or only where it is calculated."""
    letter = rng.choice(list(gold.definitions))
    numbers, operators = _split(gold.definitions[letter])
    if len(numbers) < min_numbers:
        return None
    text = change(numbers, operators)
    before, after = ex.parse(gold.definitions[letter]), ex.parse(text)
    if ex.evaluate(before) == ex.evaluate(after):
        return None
    if rng.random() < 0.5 and error_class != "wrong_order":
        return gold.with_partition(gold.symbolic, {**gold.definitions, letter: text}), "1"
    if diagnose(before, after, copied=True).error_class != error_class:
        return None
    return _with_links(gold, letter, [text, *_reduced(text)])


def _missing_term(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    def change(numbers: list[str], operators: list[str]) -> str:
        index = rng.randrange(len(numbers))
        operators = [*operators[: max(index - 1, 0)], *operators[max(index, 1) :]]
        return _joined([*numbers[:index], *numbers[index + 1 :]], operators)

    return _changed_definition(gold, rng, "missing_term", change, min_numbers=3)


def _added_term(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    def change(numbers: list[str], operators: list[str]) -> str:
        index = rng.randrange(len(numbers))
        number = rng.choice([numbers[index], str(rng.randint(-9, 9))])
        operators = [*operators[:index], rng.choice("+-*"), *operators[index:]]
        return _joined([*numbers[: index + 1], number, *numbers[index + 1 :]], operators)

    return _changed_definition(gold, rng, "added_term", change)


def _wrong_order(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """Two numbers of a group, two letters of the final equation, or two definitions change places."""

    def change(numbers: list[str], operators: list[str]) -> str:
        first, second = rng.sample(range(len(numbers)), 2)
        swapped = list(numbers)
        swapped[first], swapped[second] = numbers[second], numbers[first]
        return _joined(swapped, operators)

    kind = rng.choice(["group", "equation", "partition"])
    if kind == "group" or len(gold.definitions) < 2:
        return _changed_definition(gold, rng, "wrong_order", change, min_numbers=2)
    first, second = rng.sample(list(gold.definitions), 2)
    swap = {first: second, second: first}
    if kind == "partition":
        swapped = {letter: gold.definitions[swap.get(letter, letter)] for letter in gold.definitions}
        return gold.with_partition(gold.symbolic, swapped), "1"
    symbolic = re.sub("[A-Z]", lambda match: swap.get(match[0], match[0]), gold.symbolic)
    links = equation_links(symbolic, gold.values)
    if links[-1] == gold.equation[-1]:
        return None  # `(B + A)` is as good as `(A + B)`
    return gold.with_equation(links), gold.equation_step


def _wrong_partition(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """An operator between the letters changes in step (1)."""
    matches = list(_OPERATOR.finditer(gold.symbolic))
    if not matches:
        return None
    match = rng.choice(matches)
    operator = rng.choice([sign for sign in "+-*" if sign != match[1]])
    symbolic = gold.symbolic[: match.start(1)] + operator + gold.symbolic[match.end(1) :]
    return gold.with_partition(symbolic, gold.definitions), "1"


def _wrong_substitution(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """The final equation is given another value than the one that was calculated for a letter."""
    letter = rng.choice(list(gold.values))
    value = gold.values[letter]
    wrong = rng.choice([-value, value + rng.choice([-10, -2, -1, 1, 2, 10]), *gold.values.values()])
    links = equation_links(gold.symbolic, {**gold.values, letter: wrong})
    return None if wrong == value else (gold.with_equation(links), gold.equation_step)


def _lucky(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    return _calculated_wrongly(gold, rng, "calculation", carried=False)


# Mistakes of form.


def _unknown_letter(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A letter that step (1) does not define is calculated, or stands in the final equation."""
    lines = gold.lines()
    letter = rng.choice(list(gold.definitions))
    unknown = rng.choice([name for name in "ABCDEFGHIJKLMNOPQRSTUVWXYZabc" if name not in gold.definitions])
    step = rng.choice([gold.step_of(letter), gold.equation_step])
    index = int(step) - 1
    if step == gold.equation_step:
        symbolic = gold.symbolic.replace(letter, unknown)
        lines[index] = lines[index].replace(f"is {gold.symbolic} =", f"is {symbolic} =")
    else:
        lines[index] = lines[index].replace(f"calculate {letter} =", f"calculate {unknown} =")
    return "\n".join(lines), step


def _uncalculated_letter(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A letter's calculation is left out and the steps are numbered on."""
    chains = dict(gold.chains)
    del chains[rng.choice(list(chains))]
    attempt = render(gold.symbolic, gold.definitions, chains, gold.equation)
    return attempt, str(len(chains) + 2)


def _missing_step(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """The attempt stops early, or a step is left out."""
    lines = gold.lines()
    kept = rng.randrange(1, len(lines))
    if rng.random() < 0.5:
        step = FINAL if kept == len(lines) - 1 else str(kept + 1)
        return "\n".join(lines[:kept]), step
    left_out = rng.randrange(len(lines) - 1)
    step = FINAL if left_out == len(lines) - 2 else str(left_out + 2)
    return "\n".join([*lines[:left_out], *lines[left_out + 1 :]]), step


def _wrong_order_of_steps(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    lines = gold.lines()
    index = rng.randrange(len(lines) - 2)
    lines[index], lines[index + 1] = lines[index + 1], lines[index]
    return "\n".join(lines), str(index + 2)


def _numbering(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A step repeats the number of an earlier one."""
    lines = gold.lines()
    index = rng.randrange(1, len(lines) - 1)
    number = rng.randrange(1, index + 1)
    lines[index] = f"({number})" + lines[index].removeprefix(f"({index + 1})")
    return "\n".join(lines), str(number)


def _unparsable_step(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A bracket, number or equality sign is lost, or a step says nothing that can be checked."""
    lines = gold.lines()
    index = rng.randrange(1, len(lines) - 1)
    header, body = lines[index].split(" ", 1)
    cuts = [m.start() for m in re.finditer(r"[()]|(?<== )-?\b[0-9]+(?=\.$)", body)]
    if rng.random() < 0.3:
        body = rng.choice(["This is not easy to see.", "Let's go on.", "Let's calculate it."])
    else:
        cut = rng.choice(cuts)
        body = body[:cut] + body[cut + 1 :] if body[cut] in "()" else body[:cut] + "."
    lines[index] = f"{header} {body}"
    return "\n".join(lines), str(index + 1)


def _unfinished_step(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    """A calculation stops before its last link."""
    lines = gold.lines()
    index = rng.randrange(1, len(lines) - 1)
    links = lines[index].split(" = ")
    if len(links) < 3 or links[-2].lstrip("-").isdigit():
        return None
    lines[index] = " = ".join(links[:-1]) + "."
    return "\n".join(lines), str(index + 1)


def _inconsistent_final(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    lines = gold.lines()
    value = int(gold.equation[-1])
    wrong = rng.choice([-value, value + rng.choice([-10, -1, 1, 10]), *gold.values.values()])
    lines[-1] = lines[-1].replace(f"is {value}.", f"is {wrong}.")
    return "\n".join(lines), FINAL


def _trailing_text(gold: _Gold, rng: random.Random) -> tuple[str, str] | None:
    lines = gold.lines()
    extra = rng.choice(["That is all.", lines[-1], f"({len(lines)}) {lines[-2].split(' ', 1)[1]}"])
    return "\n".join([*lines, extra]), str(len(lines)) if extra[1:].startswith(f"{len(lines)})") else FINAL


def _with_links(gold: _Gold, letter: str | None, links: list[str]) -> tuple[str, str] | None:
    if letter is None:
        return gold.with_equation(links), gold.equation_step
    return gold.with_chain(letter, links), gold.step_of(letter)


def _is_reducible(link: str) -> bool:
    """Whether it is numeric, with every operation in brackets."""
    expression = ex.parse(link)
    return len(expression) > 1 and not ex.letters(expression) and ex.parenthesise(expression) == link


def _reduced(link: str) -> list[str]:
    """What follows a link in a chain that goes on to its value."""
    links = ex.reductions(ex.parse(link))
    return links[1:] if links[0] == link else links


def _split(group: str) -> tuple[list[str], list[str]]:
    """`(1 + -2 * 3)` as its numbers and its operators."""
    tokens = group.strip("()").split(" ")
    return tokens[::2], tokens[1::2]


def _joined(numbers: list[str], operators: list[str]) -> str:
    pairs = [f" {operator} {number}" for operator, number in zip(operators, numbers[1:], strict=True)]
    return f"({numbers[0]}{''.join(pairs)})"


PLANTERS: dict[str, Callable[[_Gold, random.Random], tuple[str, str] | None]] = {
    "calculation": lambda gold, rng: _calculated_wrongly(gold, rng, "calculation", carried=True),
    "copy": _copy,
    "algebraic": _algebraic,
    "missing_term": _missing_term,
    "added_term": _added_term,
    "wrong_order": _wrong_order,
    "wrong_partition": _wrong_partition,
    "wrong_substitution": _wrong_substitution,
    "inconsistent_final": _inconsistent_final,
    "lucky": _lucky,
    "unknown_letter": _unknown_letter,
    "uncalculated_letter": _uncalculated_letter,
    "missing_step": _missing_step,
    "wrong_order_of_steps": _wrong_order_of_steps,
    "numbering": _numbering,
    "unparsable_step": _unparsable_step,
    "unfinished_step": _unfinished_step,
    "trailing_text": _trailing_text,
}
ERROR_CLASSES = tuple(PLANTERS)
_STATES_SOMETHING_FALSE = frozenset(ERROR_CLASSES[: ERROR_CLASSES.index("lucky")])
