"""The scripted expert as a filter of JSON lines (`tripost oracle`; the contract stands in docs/architecture.md).

    rationale   question                     -> + rationale, answer
    feedback    question, attempt            -> + correct, feedback, error_step, error_segment, error_class
    improve     question, attempt, feedback  -> + improved

One object a line, order and other fields kept. A line that cannot be handled gets `error` instead of the new fields.
Imports neither torch nor Prefect, so that a thousand lines take about a second, start included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tripost_core.errors import ConfigError, DataError
from tripost_core.experts.base import Expert
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import Problem, Task, load_task
from tripost_core.problems.options import with_options
from tripost_core.trajectory import Feedback

Fields = dict[str, Any]


def oracle_lines(mode: str, task: str, lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """For every line in, (the line out, whether it could be handled), one at a time.

    `mode` is `rationale`, `feedback` or `improve`. Raises ConfigError for another mode or an unknown task.
    """
    if mode not in _MODES:
        raise ConfigError(f"There is no oracle {mode!r}; there are {', '.join(_MODES)}.")
    return _answers(_MODES[mode], load_task(task), load_scripted_expert(task), lines)


def _answers(add: _Mode, task: Task, expert: Expert, lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for line in lines:
        fields: Fields = {}
        try:
            fields = _parse(line)
            answer, ok = {**fields, **add(task, expert, fields)}, True
        except DataError as error:
            answer, ok = {**fields, "error": str(error)}, False
        yield json.dumps(answer, ensure_ascii=False), ok


def _parse(line: str) -> Fields:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, a number of more than 4,300 digits, or nested too deeply
        raise DataError(f"The line is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise DataError("The line is JSON, but not an object.")
    return fields


def _text(fields: Fields, name: str) -> str:
    if name not in fields:
        raise DataError(f"The field {name!r} is missing.")
    value = fields[name]
    if not isinstance(value, str):
        raise DataError(f"The field {name!r} is not a string.")
    return value


def _problem(task: Task, fields: Fields) -> Problem:
    """The question, with the options that may stand beside it."""
    return task.parse_question(with_options(_text(fields, "question"), fields.get("options")))


def _attempt(task: Task, fields: Fields) -> str:
    """The attempt's lines, without an answer header before them."""
    text = _text(fields, "attempt")
    bare = text.lstrip()
    for opening in ("Updated ", ""):
        header = opening + task.answer_header
        if bare.startswith(header):
            return bare[len(header) :].strip()
        if bare.startswith(f"{opening}Answer:"):  # a header in other words, on a line of its own
            return bare.partition("\n")[2].strip()
    return text


def _rationale(task: Task, expert: Expert, fields: Fields) -> Fields:
    problem = _problem(task, fields)
    # A list of words is a list in JSON; every other answer is its canonical string.
    answer = problem.answer.split() if task.name == "word_sorting" else problem.answer
    return {"rationale": task.rationale(problem.question), "answer": answer}


def _feedback(task: Task, expert: Expert, fields: Fields) -> Fields:
    problem, attempt = _problem(task, fields), _attempt(task, fields)
    verdict = expert.feedback(problem, attempt)
    return {
        "correct": verdict.correct,
        "feedback": verdict.sentence(attempt),
        "error_step": verdict.error_step,
        "error_segment": verdict.error_segment,
        "error_class": verdict.error_class,
    }


def _improve(task: Task, expert: Expert, fields: Fields) -> Fields:
    problem, attempt = _problem(task, fields), _attempt(task, fields)
    feedback = _text(fields, "feedback")
    parsed = Feedback.parse(feedback)
    if not parsed.parsed:
        raise DataError("The field 'feedback' is no feedback: it names no step and does not say that all is correct.")
    return {"improved": attempt if parsed.terminal else expert.improve(problem, attempt, feedback)}


_Mode = Callable[[Task, Expert, Fields], Fields]
_MODES: dict[str, _Mode] = {"rationale": _rationale, "feedback": _feedback, "improve": _improve}
