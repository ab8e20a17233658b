"""A `Task` made of a task file (`own_spec.OwnTask`): questions from JSONL, answers found and compared by its rules."""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from tripost_core.errors import ConfigError, DataError
from tripost_core.problems.base import Problem, Subtask, strip_question
from tripost_core.problems.files import read_rows
from tripost_core.problems.options import with_options
from tripost_core.problems.own_spec import OwnTask
from tripost_core.trajectory import FINAL, Attempt

ALL = "all"
"""The subtask of every question where the task file names no field for it."""
MAX_CHARS = 20_000
"""Longer attempts are not searched for an answer."""
_NUMBER = re.compile(r"[-+\u2212]?[$\u20ac\u00a3]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+|[eE][-+]?\d{1,3})?")
_CURRENCY = str.maketrans("", "", "$\u20ac\u00a3,")
_BRACES = re.compile(r"\{(\w+)\}")
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?![\w'])")
_HOOKS = ("rationale", "feedback", "improve", "extract_answer", "is_right")


class YourTask:
    """The task (`problems.base.Task`)."""

    def __init__(self, spec: OwnTask) -> None:
        self.spec = spec
        self.name = spec.name
        self.answer_header = spec.prompt.header
        self.subtasks: tuple[Subtask, ...] = tuple(Subtask(name, True) for name in spec.seen or (ALL,))
        self.holdout = spec.holdout
        self.paper_sizes: dict[str, dict[str, int]] = {}
        self.hooks = _hooks(spec.hooks, spec.name) if spec.hooks else {}

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """An own task has no generator. Raises DataError."""
        raise DataError(f"Questions of {self.name} cannot be generated: data.{split or 'train'}_file has to name some.")

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Raises DataError that names the first line at fault and how many there are."""
        problems, faults = [], []
        for row, place in read_rows(path):
            try:
                problems.append(self._problem(row, split))
            except DataError as error:
                faults.append(f"{place}: {error}")
        if faults:
            more = f" ({len(faults) - 1} more lines are at fault)" if len(faults) > 1 else ""
            raise DataError(f"{faults[0]}{more}")
        return problems

    def parse_question(self, question: str) -> Problem:
        """A question whose answer nobody has told: `answer` is empty."""
        text = strip_question(question)
        if not text:
            raise DataError("The question is empty.")
        return Problem(self.name, text, "", ALL if self.spec.seen is None else self.spec.seen[0], True)

    def rationale(self, question: str) -> str:
        if "rationale" not in self.hooks:
            raise DataError(f"The task {self.name} has no script that writes rationales.")
        try:
            return str(self.hooks["rationale"](question))
        except Exception as error:
            raise DataError(f"The script of {self.name} writes no rationale: {_told(error)}.") from error

    def extract_answer(self, attempt: str) -> str | None:
        """The answer in its canonical form, or None."""
        if len(attempt) > MAX_CHARS:
            return None
        if "extract_answer" in self.hooks:
            try:
                found = self.hooks["extract_answer"](attempt)
            except Exception:  # a grader that cannot read an attempt finds no answer in it
                return None
            return None if found is None else str(found)
        text = attempt
        if self.spec.answer.where == "final_line":
            final = Attempt.parse(attempt).final
            text = final.body if final else attempt.rstrip().split("\n")[-1]
        matches = list(re.finditer(self.spec.answer.find, text))
        return self.canonical(matches[-1][1]) if matches and matches[-1][1] is not None else None

    def is_right(self, attempt: str, answer: str) -> bool:
        if "is_right" in self.hooks:
            try:
                return bool(self.hooks["is_right"](attempt, answer))
            except Exception:
                return False
        found = self.extract_answer(attempt)
        if found is None or not answer:
            return False
        if self.spec.answer.compare != "number":
            return found == answer
        given, gold = _value(found), _value(answer)
        if given is None or gold is None:
            return False
        rule = self.spec.answer
        allowed = max(Fraction(str(rule.tolerance)), Fraction(str(rule.relative_tolerance)) * abs(gold))
        return abs(given - gold) <= allowed

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """The step before the final line states the final answer; a letter cannot be looked for and passes."""
        if self.spec.answer.consistency == "off":
            return True
        steps = Attempt.parse(attempt).steps
        final = next((i for i, step in enumerate(steps) if step.header == FINAL), 0)
        before = next((step for step in reversed(steps[:final]) if step.line.strip()), None)
        answer = self.extract_answer(attempt)
        if before is None or before.header is None or answer is None:
            return False
        match self.spec.answer.compare:
            case "choice":
                return True
            case "number":
                value = _value(answer)
                return any(_value(number[0]) == value for number in _NUMBER.finditer(before.body))
            case "set":
                text = self._fold(before.body)
                return all(part in text for part in answer.split(f"{self.spec.answer.separator} "))
            case _:
                return answer in self._fold(before.body)

    def canonical(self, text: str) -> str | None:
        """The form in which answers are compared; None where the text is no answer of the kind."""
        match self.spec.answer.compare:
            case "number":
                numbers = _NUMBER.findall(re.sub(r"(?<=\d)\s*/\s*(?=\d)", "/", text))
                value = _value(numbers[0]) if numbers else None
                return None if value is None else _written(value)
            case "choice":
                letter = _LETTER.match(text.strip())
                return letter[1].upper() if letter else None
            case "set":
                parts = sorted({self._fold(part) for part in text.split(self.spec.answer.separator)} - {""})
                return f"{self.spec.answer.separator} ".join(parts) or None
            case _:
                return self._fold(text) or None

    def final_line(self, answer: str) -> str:
        """How a gold rationale ends."""
        return f"(Final response) {self.spec.answer.final_line.replace('{answer}', answer)}"

    def _fold(self, text: str) -> str:
        """Without blanks to spare and the full stop."""
        text = " ".join(text.split()).removesuffix(".").strip()
        return text.casefold() if self.spec.answer.ignore_case else text

    def _problem(self, row: Mapping[str, Any], split: str) -> Problem:
        fields = self.spec.fields
        question = self._question(row)
        given = row.get(fields.answer)
        if isinstance(given, bool) or not isinstance(given, str | int | float | list):
            raise DataError(f"`{fields.answer}` is missing or neither text nor a number.")
        text = f"{self.spec.answer.separator} ".join(map(str, given)) if isinstance(given, list) else str(given)
        if self.spec.answer.gold is not None:
            match = re.search(self.spec.answer.gold, text)
            if match is None or match[1] is None:
                raise DataError(f"answer.gold does not match `{fields.answer}`: {text[-60:]!r}.")
            text = match[1]
        answer = self.canonical(text)
        if answer is None:
            raise DataError(f"the answer {text[:60]!r} is no {self.spec.answer.compare} answer.")
        subtask = str(row.get(fields.subtask, "")) or ALL if fields.subtask else ALL
        seen = self.spec.seen is None or subtask in self.spec.seen
        return Problem(self.name, question, answer, subtask, seen, split, self._steps(row, text.strip()))

    def _question(self, row: Mapping[str, Any]) -> str:
        fields = self.spec.fields
        if not isinstance(row.get(fields.question), str) or not row[fields.question].strip():
            raise DataError(f"`{fields.question}` is missing or not text.")

        def filled(match: re.Match[str]) -> str:
            key = fields.question if match[1] == "question" else match[1]
            if key not in row:
                raise DataError(f"prompt.question names the field `{key}`, which this line does not have.")
            return str(row[key]).strip()

        question = _BRACES.sub(filled, self.spec.prompt.question).strip()
        question = with_options(question, row.get(fields.options) if fields.options else None)
        if any("\ud800" <= char <= "\udfff" for char in question):
            raise DataError(f"`{fields.question}` has half a character in it (a lone surrogate).")
        return question

    def _steps(self, row: Mapping[str, Any], answer: str) -> str | None:
        """The rationale of a line as numbered steps that end with the final line; None without one."""
        if self.spec.fields.rationale is None:
            return None
        text = row.get(self.spec.fields.rationale)
        if not isinstance(text, str) or not text.strip():
            return None
        for pattern in self.spec.rationale.remove:
            text = re.sub(pattern, "", text)
        lines = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
        if not lines:
            return None
        if Attempt.parse(lines[0]).steps[0].header is None:
            lines = [f"({number}) {line}" for number, line in enumerate(lines, 1)]
        if Attempt.parse(lines[-1]).steps[0].header != FINAL:
            lines.append(self.final_line(answer))
        return "\n".join(lines)


def own_task(spec: OwnTask) -> YourTask:
    """The task of a specification; the same object for the same one. Raises ConfigError for hooks at fault."""
    return _own_task(spec.model_dump_json())


@lru_cache(maxsize=16)
def _own_task(spec: str) -> YourTask:
    return YourTask(OwnTask.model_validate_json(spec))


def _hooks(source: str, name: str) -> dict[str, Callable[..., Any]]:
    """The functions that a script defines."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    module = types.ModuleType(f"tripost_hooks_{name}_{digest}")
    try:
        exec(compile(source, f"<script of {name}>", "exec"), module.__dict__)
    except Exception as error:
        raise ConfigError(f"The script of {name} ends with {type(error).__name__}: {error}.") from error
    return {hook: getattr(module, hook) for hook in _HOOKS if callable(getattr(module, hook, None))}


def _told(error: Exception) -> str:
    """The kind of an exception and what it says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")


def _value(text: str) -> Fraction | None:
    """An exact number of `1,234.5`, `3/4`, `-2e3`; None for anything else or beyond reason."""
    text = text.translate(_CURRENCY).replace("\u2212", "-").strip().rstrip(".")
    if len(text) > 200:
        return None
    try:
        if "/" in text:
            above, below = text.split("/")
            return Fraction(int(above), int(below))
        value = Decimal(text)
        return Fraction(value) if value.is_finite() and abs(value.adjusted()) < 400 else None
    except (InvalidOperation, ValueError, ZeroDivisionError):
        return None


def _written(value: Fraction) -> str:
    """`42`, `-0.25`, `1/3`: the shortest that says it exactly."""
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return f"{Decimal(value.numerator) / Decimal(value.denominator):f}" if rest == 1 else str(value)
