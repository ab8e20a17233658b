"""Multistep arithmetic: `((7 - -1 + -1 + -4) - (-7 + 7 * 3 * -9)) =` (BIG-bench; paper.md B2.2, B3.1).

`l` is the number of operands of an innermost group, `d` the levels of the complete binary tree above them: d2 has
2 groups, d22 has 4, d222 has 8. Reported subtasks join two lengths, e.g. `l3-4d22`; a single length (`l3d22`) can be
generated too. The canonical answer is the integer as a string.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from tripost_core.errors import DataError
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem, Subtask, strip_question
from tripost_core.problems.files import read_examples

_GROUP = re.compile(r"\(([^()]+)\)")
_SUBTASK = re.compile(r"l([2-9])(?:-([2-9]))?d(2{1,4})")
ANSWER = re.compile(r"(?:\bthe )?\banswer is:?\s*([-+−]?[0-9]+)(?=\s?\.?$)", re.IGNORECASE)
"""What a stripped final line ends with; group 1 is the integer."""
_LAST_NUMBER = re.compile(r"=\s*\(?([-+−]?[0-9]+)\)?\s?\.?$")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LINE_CHARS = 20_000
"""Longer lines are never read: no attempt at a question within bounds needs them."""
OTHER_SUBTASK = "other"
"""The subtask of a loaded question that has none of the reported shapes; counted as unseen."""


class MultistepArithmetic:
    """The task (`problems.base.Task`)."""

    name = "multistep_arithmetic"
    subtasks = (
        Subtask("l3-4d2", seen=True),
        Subtask("l3-4d22", seen=True),
        Subtask("l3-4d222", seen=False),
        Subtask("l5-6d2", seen=False),
        Subtask("l5-6d22", seen=False),
        Subtask("l5-6d222", seen=False),
    )
    # "addition and multiplication" at the end of the list is the reference's slip, kept for comparability.
    answer_header = (
        "Answer: Let's think step by step. Recall that the order of operations in mathematics is as follows: "
        "(1) Parentheses, (2) exponents, (3) multiplication and division (from left to right), (4) addition and "
        "multiplication (from left to right). So, remember to always compute the expressions inside parentheses or "
        "brackets first."
    )

    def __init__(self) -> None:
        # Each length has 150 training questions per depth; which of the 600 became validation is the paper's shuffle.
        self.holdout = 0.0
        self.paper_sizes = {
            "train": {"l3-4d2": 278, "l3-4d22": 272},
            "validation": {"l3-4d2": 22, "l3-4d22": 28},
            "test": {subtask.name: 60 for subtask in self.subtasks},
        }

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """`n` different questions, none in `exclude`; a joined subtask takes its two lengths in turn.

        Operands are uniform in -9..9 and operators uniform in `+ - *`; no innermost group occurs twice in a
        question. The first m of n questions are the same for every n >= m. Raises DataError.
        """
        match = _SUBTASK.fullmatch(subtask)
        if not match:
            names = ", ".join(s.name for s in self.subtasks)
            raise DataError(f"Multistep arithmetic has no subtask {subtask!r}; it has {names} (or one length: l3d2).")
        first, last = int(match[1]), int(match[2] or match[1])
        lengths = range(first, last + 1)
        if not lengths:
            raise DataError(f"The lengths of subtask {subtask!r} are in the wrong order.")
        rng = random.Random(f"{self.name} {subtask} {split} {seed}")
        taken = set(exclude)
        problems: list[Problem] = []
        rejected_in_a_row = 0
        while len(problems) < n:
            length = lengths[len(problems) % len(lengths)]
            question = f"{_draw(rng, length, depth=len(match[3]))} ="
            if question in taken:
                rejected_in_a_row += 1
                if rejected_in_a_row > 10_000:
                    raise DataError(f"Subtask {subtask} has no {n} different questions beside the excluded ones.")
                continue
            rejected_in_a_row = 0
            taken.add(question)
            problems.append(self._problem(question, split, None))
        return problems

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Questions of a BIG-bench JSON, BIG-Bench Hard JSON or JSONL file; subtasks come from their texts.

        Raises DataError, naming the place, also where a given answer is not the value of its question.
        """
        problems = []
        for example in read_examples(path):
            try:
                problem = self._problem(example["question"], split, example["rationale"])
            except DataError as error:
                raise DataError(f"{example['place']}: {error}") from None
            given = example["answer"] if isinstance(example["answer"], list) else [example["answer"]]
            if problem.answer not in [canonical_integer(text) for text in given]:
                raise DataError(
                    f"{example['place']}: the answer is {_short(', '.join(given))}, but the question's value is "
                    f"{problem.answer}."
                )
            problems.append(problem)
        return problems

    def parse_question(self, question: str) -> Problem:
        """The problem of a question, with or without `Q: ` and the trailing ` =`. Raises DataError."""
        return self._problem(question, "", None)

    def rationale(self, question: str) -> str:
        """The scripted gold rationale, byte for byte the reference's form (paper.md B3.1). Raises DataError."""
        symbolic, definitions = partition(question)
        chains = {letter: calculation_links(text, {}) for letter, text in definitions.items()}
        values = {letter: int(links[-1]) for letter, links in chains.items()}
        return render(symbolic, definitions, chains, equation_links(symbolic, values))

    def extract_answer(self, attempt: str) -> str | None:
        """The integer of the `(Final response)` line, or of the last line where no line has that header."""
        lines = attempt.rstrip().split("\n")
        line = next((line for line in lines if line.startswith("(Final response) ")), lines[-1])
        match = ANSWER.search(line.rstrip()) if len(line) <= MAX_LINE_CHARS else None
        return canonical_integer(match[1]) if match else None

    def is_right(self, attempt: str, answer: str) -> bool:
        given = self.extract_answer(attempt)
        return given is not None and given == canonical_integer(answer)

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """Whether the final answer is the number that the step before it ends with (paper section 2.3, filter c)."""
        lines = [line for line in attempt.split("\n") if line.strip()]
        if len(lines) < 2 or len(lines[-2]) > MAX_LINE_CHARS:
            return False
        match = _LAST_NUMBER.search(lines[-2].rstrip())
        answer = self.extract_answer(attempt)
        return match is not None and answer is not None and canonical_integer(match[1]) == answer

    def _problem(self, question: str, split: str, rationale: str | None) -> Problem:
        text = expression_text(question)
        subtask = _subtask_of(text)
        return Problem(
            task=self.name,
            question=f"{text} =",
            answer=str(ex.evaluate(ex.parse(text))),
            subtask=subtask,
            seen=any(s.name == subtask and s.seen for s in self.subtasks),
            split=split,
            rationale=rationale,
        )


@lru_cache(maxsize=4096)
def expression_text(question: str) -> str:
    """The question's expression, spaced as in the reference data. Raises DataError."""
    text = strip_question(question).removesuffix("=").strip()
    try:
        expression = ex.parse(text)
        text = ex.normalise(text)
        ex.evaluate(expression)
    except ex.ExpressionError as error:
        raise DataError(f"The question {_short(text)!r} is not an arithmetic expression: {error}.") from None
    if ex.letters(expression) or "(" not in text:
        raise DataError(f"The question {_short(text)!r} is not a bracketed expression of integers.")
    return text


def partition(question: str) -> tuple[str, dict[str, str]]:
    """`(A - B)` and `{"A": "(1 + 2)", "B": "(3 - 4)"}`: the innermost groups named from the left. Raises DataError."""
    text = expression_text(question)
    groups = _GROUP.findall(text)
    if len(groups) > len(_LETTERS):
        raise DataError(f"The question has {len(groups)} innermost groups, but there are {len(_LETTERS)} letters.")
    symbolic = text
    definitions = {}
    for letter, group in zip(_LETTERS, groups, strict=False):
        symbolic = symbolic.replace(f"({group})", letter)
        definitions[letter] = f"({group})"
    return symbolic, definitions


def calculation_links(definition: str, values: dict[str, int]) -> list[str]:
    """`A = ...`: the definition, with `values` for its letters if it has any, then its reductions to a number."""
    substituted = ex.replace_letters(definition, values)
    links = [definition] if substituted == definition else [definition, substituted]
    return links + ex.reductions(ex.parse(substituted))


def equation_links(symbolic: str, values: dict[str, int]) -> list[str]:
    """The final equation: symbolic, with the values, then its reductions to a number."""
    substituted = ex.replace_letters(symbolic, values)
    links = ex.reductions(ex.parse(substituted))
    if links[0] != substituted:  # brackets that precedence implies are written out first
        links.insert(0, substituted)
    return links if links[0] == symbolic else [symbolic, *links]


def partition_body(symbolic: str, definitions: dict[str, str]) -> str:
    """Step (1) without its header."""
    named = [f"{letter} = {text}" for letter, text in definitions.items()]
    listed = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    return f'This equation can be written as "{symbolic}", where {listed}.'


def calculation_body(letter: str, links: list[str]) -> str:
    """A `calculate` step without its header."""
    return f"Let's calculate {letter} = {' = '.join(links)}."


def equation_body(links: list[str]) -> str:
    """The `final equation` step without its header."""
    return f"Then, the final equation is {' = '.join(links)}."


def render(symbolic: str, definitions: dict[str, str], chains: dict[str, list[str]], equation: list[str]) -> str:
    """All lines of an attempt in the reference's form; the answer is the equation's last link."""
    bodies = [partition_body(symbolic, definitions)]
    bodies += [calculation_body(letter, links) for letter, links in chains.items()]
    bodies.append(equation_body(equation))
    lines = [f"({number}) {body}" for number, body in enumerate(bodies, start=1)]
    return "\n".join([*lines, final_line(int(equation[-1]))])


def final_line(value: int) -> str:
    return f"(Final response) So the answer is {value}."


def _draw(rng: random.Random, length: int, depth: int) -> str:
    groups: list[str] = []
    while len(groups) < 2**depth:
        operands = [str(rng.randint(-9, 9)) for _ in range(length)]
        group = operands[0] + "".join(f" {rng.choice('+-*')} {operand}" for operand in operands[1:])
        if f"({group})" not in groups:
            groups.append(f"({group})")
    while len(groups) > 1:
        groups = [f"({a} {rng.choice('+-*')} {b})" for a, b in zip(groups[::2], groups[1::2], strict=True)]
    return groups[0]


def _subtask_of(text: str) -> str:
    """The reported group of an expression text, from the lengths of its groups and the tree above them."""
    lengths = {ex.num_leaves(ex.parse(group)) for group in _GROUP.findall(text)}
    tree, depth = _GROUP.sub("g", text), 0
    while "(" in tree:
        collapsed = re.sub(r"\(g [-+*] g\)", "g", tree)
        if collapsed == tree:
            return OTHER_SUBTASK
        tree, depth = collapsed, depth + 1
    if tree != "g" or len(lengths) != 1 or depth not in (1, 2, 3):
        return OTHER_SUBTASK
    (length,) = lengths
    if length not in (3, 4, 5, 6):
        return OTHER_SUBTASK
    return f"l{'3-4' if length <= 4 else '5-6'}d{'2' * depth}"


def canonical_integer(text: str) -> str | None:
    """`-07` as `-7`; None where the text is no integer of at most 400 digits."""
    text = text.strip().replace("−", "-")
    return str(int(text)) if len(text) <= 400 and re.fullmatch(r"[-+]?[0-9]+", text) else None


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


TASK = MultistepArithmetic()
