"""FBK and IMP of the experts that follow an attempt line by line (paper section 2.2; the contract is
`experts.base.Expert`).

What is particular to a task is its `Walk`: what a line establishes and what is wrong with it. FBK walks the attempt and
stops at the first complaint; IMP walks the lines to be kept and lets the walk write the rest.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem, Task
from tripost_core.trajectory import FINAL, Attempt, Feedback, Step

_ANSWER_HEADER = re.compile(r"\s*(?:updated )?answer:", re.I)
MAX_SEGMENT = 400
"""Longest segment of a line, in characters."""
MAX_LAST_LINE = 1_000
"""Of the line after which an attempt stops, in characters; a list of 20 words, the paper's longest, fits."""


class Complaint(NamedTuple):
    """What is wrong with a line: its class, the segment `body[start:end]`, and why."""

    error_class: str
    start: int
    end: int
    reason: str


class Walk(ABC):
    """What the lines of an attempt have established so far."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the final response has come."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """Header of the line that should come next."""

    @abstractmethod
    def take(self, step: Step, before_final: bool) -> Complaint | None:
        """Follows one line that has a header; what is wrong with it, or None. `before_final`: the next line is the
        final response."""

    @abstractmethod
    def remaining(self) -> Iterable[str]:
        """The lines that lead from what is established to the final response."""


@dataclass(frozen=True, slots=True)
class _Flaw:
    """The first error of an attempt; `index` is that of the first line to be rewritten."""

    index: int
    step: str
    segment: str | None
    error_class: str
    reason: str


class LineByLine(ABC):
    """See `experts.base.Expert`."""

    name = "script-v1"

    def __init__(self, task: Task) -> None:
        self._task = task

    @abstractmethod
    def walk(self, problem: Problem) -> Walk:
        """At the beginning. Raises `errors.DataError` where the script cannot read the question."""

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        flaw = _find_flaw(self.walk(problem), attempt)
        if flaw is None:
            return Verdict(correct=True)
        lucky = self._task.is_right(attempt, problem.answer)
        return Verdict(False, flaw.step, flaw.segment, "lucky" if lucky else flaw.error_class, flaw.reason)

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """Keeps the lines before the step that the feedback names, or, where the attempt has no such step or the
        feedback cannot be parsed, those before the first error (all of a correct attempt)."""
        told = Feedback.parse(feedback)
        if told.terminal:
            return attempt
        flaw = _find_flaw(self.walk(problem), attempt)
        parsed = Attempt.parse(attempt)
        keep = flaw.index if flaw else None
        if told.error_step is not None and (flaw is None or flaw.step != told.error_step):
            named = parsed.index_of(told.error_step)
            keep = keep if named is None else named
        if keep is None:
            return attempt
        final = parsed.index_of(FINAL)
        steps = parsed.steps[_start(parsed.steps) : keep if final is None else min(keep, final)]
        walk = self.walk(problem)
        for step in steps:
            if step.header is not None:
                walk.take(step, before_final=False)
        return "\n".join([*(step.line for step in steps), *walk.remaining()])


def _find_flaw(walk: Walk, attempt: str) -> _Flaw | None:
    """The first error of an attempt, or None where it is right in every step."""
    steps = Attempt.parse(attempt).steps
    last = None
    for index in range(_start(steps), len(steps)):
        step = steps[index]
        if not step.line.strip():
            continue
        if walk.finished:
            assert last is not None
            start, end = clip(steps[last].body, 0)
            segment = steps[last].body[start:end] or steps[last].line.strip()
            return _Flaw(last, FINAL, segment, "unparsable_step", "nothing should follow the final response")
        if step.header is None:
            return _stray_line(walk, steps, index, last)
        complaint = walk.take(step, before_final=_is_before_final(steps, index))
        if complaint is not None:
            segment = step.body[complaint.start : complaint.end].strip()[:MAX_SEGMENT].rstrip()
            if not segment:
                segment = step.line[: len(step.line) - len(step.body)].strip() or step.line.strip()[:MAX_SEGMENT]
            return _Flaw(index, step.header, segment, complaint.error_class, complaint.reason)
        last = index
    if walk.finished:
        return None
    if last is None:
        return _Flaw(_start(steps), "1", None, "missing_step", "there is no answer")
    reason = "the answer stops here, this step and what follows it are missing"
    return _Flaw(last + 1, walk.expected, steps[last].line.strip()[:MAX_LAST_LINE], "missing_step", reason)


def _start(steps: Sequence[Step]) -> int:
    """Index of the first line of the attempt proper: an answer header before it is tolerated."""
    first = next((i for i, step in enumerate(steps) if step.line.strip()), len(steps))
    if first < len(steps) and _ANSWER_HEADER.match(steps[first].line):
        return first + 1
    return 0


def _is_before_final(steps: Sequence[Step], index: int) -> bool:
    """Whether the next line that is not blank is the final response."""
    return next((step.header == FINAL for step in steps[index + 1 :] if step.line.strip()), False)


def _stray_line(walk: Walk, steps: Sequence[Step], index: int, last: int | None) -> _Flaw:
    """A line without a header. It stands for the step that should come here; where that step comes later all the
    same, the line is an appendage of the step before it, which is to be rewritten without it."""
    expected = walk.expected
    start, end = clip(steps[index].line, 0)
    later = next((step for step in steps[index + 1 :] if step.header == expected), None)
    if later is None:
        reason = "this line does not begin with the number of a step"
        return _Flaw(index, expected, steps[index].line[start:end], "unparsable_step", reason)
    owner = later if last is None else steps[last]
    assert owner.header is not None
    start, end = clip(owner.line, 0)
    beside = "before" if last is None else "after"
    reason = f"the line {beside} it does not begin with the number of a step"
    return _Flaw(index if last is None else last, owner.header, owner.line[start:end], "unparsable_step", reason)


def clip(text: str, start: int) -> tuple[int, int]:
    """The span from `start`, without white space at its ends and at most `MAX_SEGMENT` long."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start, start + len(text[start : start + MAX_SEGMENT].rstrip())


def unreadable(body: str, start: int, reason: str) -> Complaint:
    """Of a line that cannot be read from `start` on; where it breaks off there, of what there is of it."""
    begin, end = clip(body, start)
    if begin == end:
        begin, end = clip(body, 0)
    return Complaint("unparsable_step", begin, end, reason)
