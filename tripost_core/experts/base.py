"""What an expert is: FBK names the first error of an attempt, IMP repairs it from that step on (section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tripost_core.errors import DataError
from tripost_core.problems.base import Problem
from tripost_core.trajectory import Attempt, error_feedback, terminal_feedback


@dataclass(frozen=True, slots=True)
class Verdict:
    """FBK's judgement of one attempt.

    `correct`: right final answer and no wrong step. Otherwise `error_step` is the header of the first wrong step
    ("3", "3.2.1", "final"; the first missing header when the attempt stops early), `error_segment` a verbatim,
    non-empty part of its line (the last line there is when the step is missing; None for an empty attempt),
    `error_class` a short snake_case name and `reason` a clause without the final full stop.
    """

    correct: bool
    error_step: str | None = None
    error_segment: str | None = None
    error_class: str | None = None
    reason: str | None = None
    checks: str = ""
    """What was worked out to see this, in front of the sentence (`experts.checks`)."""

    def sentence(self, attempt: str) -> str:
        """The feedback line's text (without `Feedback: `)."""
        parsed = Attempt.parse(attempt)
        if self.correct:
            said = terminal_feedback(parsed)
        else:
            assert self.error_step is not None and self.reason is not None, self
            said = error_feedback(parsed, self.error_step, self.error_segment, self.reason)
        return f"{self.checks} {said}" if self.checks else said


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """What an expert that cannot be asked again has left us with: nothing that may go into a buffer.

    `reason`: why, a short snake_case name that becomes part of the row's and is counted in the report.
    """

    reason: str


class Expert(Protocol):
    """Judges and repairs attempts at one task's problems; bad input gives a verdict, never an exception."""

    name: str
    """What the rows record as the source, e.g. `script-v1`."""

    def feedback(self, problem: Problem, attempt: str) -> Verdict: ...

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """The attempt with every line before the first error kept byte for byte and the rest rewritten; an expert that
        `checks` may show workings in the kept ones.
        Terminal feedback returns the attempt unchanged."""
        ...


def judgement(expert: Expert, problem: Problem, attempt: str) -> Verdict | None:
    """The expert's, or None where it cannot read the question (of a file of one's own)."""
    try:
        return expert.feedback(problem, attempt)
    except DataError:
        return None


class AsyncExpert(Protocol):
    """An expert that has to be waited for and may fail to answer (a model behind an endpoint)."""

    name: str
    """What the rows record as the source: model and prompt version."""

    async def feedback(self, problem: Problem, attempt: str) -> Verdict | NoAnswer: ...

    async def improve(self, problem: Problem, attempt: str, feedback: str) -> str | NoAnswer:
        """As `Expert.improve`."""
        ...


@dataclass(frozen=True, slots=True)
class Planted:
    """A gold rationale with one mistake in it: where it is and what kind (`error_class` as FBK names it)."""

    attempt: str
    error_step: str
    error_class: str
