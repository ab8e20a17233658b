"""FBK and IMP of multistep arithmetic as a script (paper sections 2.2, B4.1; docs/architecture.md).

FBK reads an attempt line by line and reports the first thing that is wrong. Any valid route passes: other letters,
another partition into the question's parts, another order of steps, more or fewer links. IMP keeps the lines before
the named step and continues from what they have established.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.arithmetic_reading import Fault, Reading
from tripost_core.experts.scripted.arithmetic_steps import Chain, read_step, states_answer
from tripost_core.problems import expression as ex
from tripost_core.problems.base import Problem
from tripost_core.problems.multistep_arithmetic import (
    TASK,
    calculation_body,
    calculation_links,
    equation_body,
    equation_links,
    expression_text,
    final_line,
)
from tripost_core.trajectory import FINAL, Attempt, Feedback, Step

_MAX_SEGMENT_CHARS = 1_000
_MAX_ATTEMPT_CHARS = 100_000

FORM_CLASSES = frozenset(
    {"numbering", "missing_step", "unparsable_step", "unfinished_step", "trailing_text", "unknown_letter",
     "uncalculated_letter", "wrong_order_of_steps"}
)  # fmt: skip
"""Faults of form: nothing false is stated, so that a right final answer does not make them `lucky`."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """The first fault of an attempt. `line` is where the untouched lines end; `step` and `fault` None: no fault."""

    line: int
    step: str | None = None
    fault: Fault | None = None


class ScriptedMultistepArithmetic:
    """The expert (`experts.base.Expert`)."""

    name = "script-v1"

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        """The first wrong step and its wrong segment; never raises, whatever the attempt."""
        judged = _judge(problem, attempt)
        if judged.step is None:
            return Verdict(correct=True)
        if judged.fault is None:
            return Verdict(False, judged.step, None, "missing_step", "the attempt is empty")
        error_class = judged.fault.error_class
        if error_class not in FORM_CLASSES and TASK.is_right(attempt, problem.answer):
            error_class = "lucky"
        return Verdict(False, judged.step, _shown(judged.fault.segment), error_class, judged.fault.reason)

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """The lines before the step that the feedback names, byte for byte, and a right continuation.

        Feedback that cannot be parsed: repaired from the first fault that FBK itself finds.
        """
        told = Feedback.parse(feedback)
        if told.terminal:
            return attempt
        steps = _steps(attempt)
        judged = _judge(problem, attempt)
        line = judged.line
        if told.error_step is None:
            if judged.step is None:
                return attempt
        elif told.error_step != judged.step:  # where a header occurs twice, FBK's own line is the right one
            named = next((i for i, step in enumerate(steps) if step.header == told.error_step), None)
            line = named if named is not None else line
        kept = list(steps[_first_line(steps) : line])
        text = "\n".join(step.line for step in kept)
        if len(text) > _MAX_ATTEMPT_CHARS // 2 or not text.strip():
            kept = []
        return "\n".join([*(step.line for step in kept), *_continuation(problem, kept)])


def _judge(problem: Problem, attempt: str) -> _Judged:
    steps = _steps(attempt)
    reading = Reading(ex.parse(expression_text(problem.question)))
    expected = 1
    ended = False
    last_line = None
    for line in range(_first_line(steps), len(steps)):
        step = steps[line]
        if not step.line.strip():
            continue
        last_line = line
        if ended:
            return _after_the_end(steps, line, expected)
        if step.header is None:
            is_final = states_answer(step.line) or step.line.lstrip().startswith("(Final")
            header = FINAL if is_final else str(expected)
            reason = "the line has no step number"
            return _Judged(line, header, Fault("unparsable_step", _shown(step.line), reason))
        if step.header not in (FINAL, str(expected)):
            return _Judged(line, step.header, _misnumbered(steps, line, expected, reading))
        fault = reading.read(read_step(step), partial(_goes_on, steps, line))
        if fault is not None:
            return _Judged(line, step.header, fault)
        if step.header == FINAL:
            ended = True
        else:
            expected += 1
    if ended:
        return _Judged(len(steps))
    if last_line is None:
        return _Judged(len(steps), "1")
    missing = FINAL if reading.result is not None else str(expected)
    reason = (
        "the final response is missing" if missing == FINAL else f"the attempt stops early: {reading.next_needed()}"
    )
    segment = _shown(steps[last_line].line)
    return _Judged(len(steps), missing, Fault("missing_step", segment, reason))


def _shown(text: str) -> str:
    """A segment: verbatim, without spaces around it, of bounded length."""
    return text.strip()[:_MAX_SEGMENT_CHARS].strip()


def _steps(attempt: str) -> Sequence[Step]:
    """Its lines; of text far beyond any attempt only the beginning, so that no input takes long."""
    return Attempt.parse(attempt[:_MAX_ATTEMPT_CHARS]).steps


def _first_line(steps: Sequence[Step]) -> int:
    """Past an answer header, which is tolerated before the first step."""
    for line, step in enumerate(steps):
        if step.line.strip():
            return line + 1 if step.line.lstrip().startswith(("Answer:", "Updated Answer:")) else 0
    return 0


def _goes_on(steps: Sequence[Step], line: int, letter: str | None) -> bool:
    """Whether a later line takes the calculation of `letter` (None: of the equation) further."""
    for step in steps[line + 1 : line + 50]:
        later = read_step(step)
        if isinstance(later, Chain):
            first = later.parts[0].text
            if first == letter or (letter is None and len(first) > 1):
                return True
    return False


def _misnumbered(steps: Sequence[Step], line: int, expected: int, reading: Reading) -> Fault:
    header = steps[line].header
    segment = f"({header})"
    if any(step.header == str(expected) for step in steps[line:]):
        return Fault("wrong_order_of_steps", segment, f"step ({expected}) has to come before it")
    if header is not None and header.isascii() and header.isdigit() and len(header) < 9 and int(header) > expected:
        return Fault("missing_step", segment, f"step ({expected}) is missing before it: {reading.next_needed()}")
    return Fault("numbering", segment, f"this step should have the number {expected}")


def _after_the_end(steps: Sequence[Step], line: int, expected: int) -> _Judged:
    """Text after the final response: blamed on its own header if that is new, else on the final response."""
    header = steps[line].header
    reason = "nothing may follow the final response"
    if header is not None and all(step.header != header for step in steps[:line]):
        return _Judged(line, header, Fault("trailing_text", _shown(steps[line].line), reason))
    final = next(step for step in steps[:line] if step.header == FINAL)
    return _Judged(line, FINAL, Fault("trailing_text", _shown(final.body), reason))


def _continuation(problem: Problem, kept: Sequence[Step]) -> list[str]:
    """The lines that bring the kept ones to the final response, true to the values that these claim."""
    if any(step.header == FINAL for step in kept):
        return []
    try:
        reading = Reading(ex.parse(expression_text(problem.question)))
        for step in kept:
            if step.header is not None:
                reading.read(read_step(step), lambda letter: True)
        bodies = _remaining_bodies(problem, reading)
        number = _next_number(kept)
        lines = [f"({number + i}) {body}" for i, body in enumerate(bodies)]
        if reading.result is None:
            assert reading.symbolic is not None
            result = ex.evaluate(reading.symbolic, reading.values)
        else:
            result = reading.result
        return [*lines, final_line(result)]
    except ex.ExpressionError:  # numbers claimed in the kept lines pass the bounds: only true ones can help
        return TASK.rationale(problem.question).split("\n")


def _remaining_bodies(problem: Problem, reading: Reading) -> list[str]:
    """Steps without headers: the partition, the letters not yet calculated, the final equation - what is missing."""
    if reading.result is not None:
        return []
    bodies = []
    if reading.symbolic is None:
        gold = Attempt.parse(TASK.rationale(problem.question)).steps[0]
        reading.read(read_step(gold), lambda letter: True)
        bodies.append(gold.body)
    assert reading.symbolic is not None
    for letter in reading.needed():
        text = reading.definition_texts[letter]
        if not _bracketed(text):
            text = f"({text})"
        bodies.append(calculation_body(letter, calculation_links(text, reading.values)))
    bodies.append(equation_body(equation_links(reading.symbolic_text, reading.values)))
    return bodies


def _bracketed(text: str) -> bool:
    """Whether one pair of brackets encloses the whole text, or it is a single number or letter."""
    if len(ex.parse(text)) == 1:
        return True
    if not (text.startswith("(") and text.endswith(")")):
        return False
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index == len(text) - 1
    return False


def _next_number(kept: Sequence[Step]) -> int:
    numbers = [int(step.header) for step in kept if step.header and step.header.isascii() and step.header.isdigit()
               and len(step.header) < 9]  # fmt: skip
    return numbers[-1] + 1 if numbers else 1


EXPERT = ScriptedMultistepArithmetic()
