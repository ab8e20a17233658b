"""FBK and IMP for logical deduction, by script (paper section 2.2; the contract is `experts.base.Expert`).

FBK follows an attempt line by line and stops at the first line that cannot be read (`logical_deduction_lines`) or that
does not follow from the lines before it (`logical_deduction_checks`). IMP follows the lines to be kept on the same
board and continues from what they have established (`problems.logical_rationale`).

Error classes: miscopied_statement, misread_statement, incomplete_pattern, wrong_label, wrong_number, lost_object,
invented_object, duplicated_object, wrong_reference, wrong_order, wrong_place, unsupported_step, misread_ordering,
wrong_question, inconsistent_final, wrong_option, missing_step, wrong_header, unparsable_step; `lucky` for any of them
where the final response is right all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.logical_deduction_board import Board, Complaint
from tripost_core.experts.scripted.logical_deduction_checks import (
    check_answer,
    check_combination,
    check_conclusion,
    check_statement,
    check_total,
    take_ordering,
)
from tripost_core.experts.scripted.logical_deduction_lines import (
    Answer,
    Combination,
    Conclusion,
    Statement,
    Total,
    Unreadable,
    read_line,
)
from tripost_core.problems.base import Problem
from tripost_core.problems.logical_deduction import TASK
from tripost_core.problems.logical_rationale import Known, continuation, statement_body
from tripost_core.problems.logical_statements import Story, read_story
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.trajectory import FINAL, Attempt, Feedback, Step

_ANSWER_HEADER = re.compile(r"\s*(?:updated )?answer:", re.I)
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_MAX_SEGMENT = 400
"""Longest segment of a line, in characters."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first error of an attempt; `index` is that of the first line to be rewritten."""

    index: int
    step: str
    segment: str | None
    error_class: str
    reason: str


class Walk:
    """Follows an attempt's lines. Lines with an error establish nothing."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.board = Board(Known(story))
        self.finished = False
        # Statements as the gold rationale writes them are most lines of most attempts and need no reading.
        self._gold = {statement_body(story, s.text, s.pattern): i for i, s in enumerate(story.statements)}

    @property
    def next_header(self) -> str:
        return str(self.board.known.number + 1)

    def take(self, step: Step, before_final: bool = False) -> Complaint | None:
        """Follows one line that has a header; what is wrong with it, or None."""
        header, body = step.header, step.body
        assert header is not None
        if header == FINAL:
            self.finished = True
        elif _NUMBER.fullmatch(header) is None:
            return Complaint("wrong_header", 0, 0, "this is no number of a step")
        else:
            expected = self.next_header
            seen = int(header) <= self.board.known.number
            if not seen or self._is_free(header):
                self.board.known.number = int(header)
            if header != expected:
                error_class = "wrong_header" if seen else "missing_step"
                return Complaint(error_class, 0, 0, f"this should be step ({expected})")
        return self._follow(header, body, before_final)

    def _is_free(self, header: str) -> bool:
        return int(header) > self.board.known.number

    def _follow(self, header: str, body: str, before_final: bool) -> Complaint | None:
        board = self.board
        if (number := self._gold.get(body)) is not None and header != FINAL:
            self._take_statement(header, self.story.statements[number].pattern.orders(self.story.n), 1, number)
            return None
        line = read_line(body, self.story, final=header == FINAL)
        match line:
            case Statement():
                complaint, number = check_statement(line, body, board)
                if complaint is None:
                    turn = line.drawing.turn or board.turn
                    self._take_statement(header, line.drawing.pattern(turn).orders(self.story.n), turn, number)
                return complaint
            case Total():
                complaint = check_total(line, body, board)
                if complaint is None:
                    board.known.total = board.known.total or header
                    board.grounds[header] = orders_of(self.story.n).all
                return complaint
            case Combination():
                complaint, _ = check_combination(line, body, board)
                if complaint is None:
                    take_ordering(line, header, board)
                return complaint
            case Conclusion():
                return check_conclusion(line, body, board, before_final)
            case Answer():
                return check_answer(line, board)
            case Unreadable():
                start, end = _clip(body, line.start)
                if start == end:  # the line breaks off: what there is of it
                    start, end = _clip(body, 0)
                return Complaint("unparsable_step", start, end, line.reason)

    def _take_statement(self, header: str, orders: int, turn: int, number: int | None) -> None:
        self.board.turn = turn
        self.board.grounds[header] = orders
        if number is not None:
            self.board.known.stated.setdefault(number, header)


class LogicalDeductionExpert:
    """See `experts.base.Expert`."""

    name = "script-v1"

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        flaw = find_flaw(read_story(problem.question), attempt)
        if flaw is None:
            return Verdict(correct=True)
        lucky = TASK.is_right(attempt, problem.answer)
        return Verdict(False, flaw.step, flaw.segment, "lucky" if lucky else flaw.error_class, flaw.reason)

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """Keeps the lines before the step that the feedback names, or, where the attempt has no such step or the
        feedback cannot be parsed, those before the first error (all of a correct attempt)."""
        told = Feedback.parse(feedback)
        if told.terminal:
            return attempt
        story = read_story(problem.question)
        flaw = find_flaw(story, attempt)
        parsed = Attempt.parse(attempt)
        keep = flaw.index if flaw else None
        if told.error_step is not None and (flaw is None or flaw.step != told.error_step):
            named = parsed.index_of(told.error_step)
            keep = keep if named is None else named
        if keep is None:
            return attempt
        final = parsed.index_of(FINAL)
        steps = parsed.steps[_start(parsed.steps) : keep if final is None else min(keep, final)]
        walk = Walk(story)
        for step in steps:
            if step.header is not None:
                walk.take(step)
        return "\n".join([*(step.line for step in steps), *continuation(walk.board.known)])


def find_flaw(story: Story, attempt: str) -> Flaw | None:
    """The first error of an attempt, or None where it is right in every step."""
    steps = Attempt.parse(attempt).steps
    walk = Walk(story)
    last = None
    for index in range(_start(steps), len(steps)):
        step = steps[index]
        if not step.line.strip():
            continue
        if walk.finished:
            assert last is not None
            start, end = _clip(steps[last].body, 0)
            segment = steps[last].body[start:end] or steps[last].line.strip()
            return Flaw(last, FINAL, segment, "unparsable_step", "nothing should follow the final response")
        if step.header is None:
            return _stray_line(walk, steps, index, last)
        complaint = walk.take(step, before_final=_is_before_final(steps, index))
        if complaint is not None:
            segment = step.body[complaint.start : complaint.end].strip()[:_MAX_SEGMENT].rstrip()
            if not segment:
                segment = step.line[: len(step.line) - len(step.body)].strip() or step.line.strip()[:_MAX_SEGMENT]
            return Flaw(index, step.header, segment, complaint.error_class, complaint.reason)
        last = index
    if walk.finished:
        return None
    if last is None:
        return Flaw(_start(steps), "1", None, "missing_step", "there is no answer")
    reason = "the answer stops here, this step and what follows it are missing"
    return Flaw(last + 1, _missing_header(walk), steps[last].line.strip()[:_MAX_SEGMENT], "missing_step", reason)


def _start(steps: Sequence[Step]) -> int:
    """Index of the first line of the attempt proper: an answer header before it is tolerated."""
    first = next((i for i, step in enumerate(steps) if step.line.strip()), len(steps))
    if first < len(steps) and _ANSWER_HEADER.match(steps[first].line):
        return first + 1
    return 0


def _is_before_final(steps: Sequence[Step], index: int) -> bool:
    """Whether the next line that is not blank is the final response."""
    return next((step.header == FINAL for step in steps[index + 1 :] if step.line.strip()), False)


def _missing_header(walk: Walk) -> str:
    return FINAL if walk.board.known.concluded else walk.next_header


def _stray_line(walk: Walk, steps: Sequence[Step], index: int, last: int | None) -> Flaw:
    """A line without a header. It stands for the step that should come here; where that step comes later all the
    same, the line is an appendage of the step before it, which is to be rewritten without it."""
    expected = _missing_header(walk)
    start, end = _clip(steps[index].line, 0)
    later = next((step for step in steps[index + 1 :] if step.header == expected), None)
    if later is None:
        reason = "this line does not begin with the number of a step"
        return Flaw(index, expected, steps[index].line[start:end], "unparsable_step", reason)
    owner = later if last is None else steps[last]
    assert owner.header is not None
    start, end = _clip(owner.line, 0)
    beside = "before" if last is None else "after"
    reason = f"the line {beside} it does not begin with the number of a step"
    return Flaw(index if last is None else last, owner.header, owner.line[start:end], "unparsable_step", reason)


def _clip(text: str, start: int) -> tuple[int, int]:
    """The span from `start`, without white space at its ends and at most `_MAX_SEGMENT` long."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start, start + len(text[start : start + _MAX_SEGMENT].rstrip())


EXPERT = LogicalDeductionExpert()
