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
from collections.abc import Iterator

from tripost_core.experts.scripted.line_by_line import Complaint, LineByLine, Walk, unreadable
from tripost_core.experts.scripted.logical_deduction_board import Board
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
from tripost_core.trajectory import FINAL, Step

_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


class LogicalWalk(Walk):
    """Follows an attempt's lines. Lines with an error establish nothing."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.board = Board(Known(story))
        self._finished = False
        # Statements as the gold rationale writes them are most lines of most attempts and need no reading.
        self._gold = {statement_body(story, s.text, s.pattern): i for i, s in enumerate(story.statements)}

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def expected(self) -> str:
        return FINAL if self.board.known.concluded else self._next_header

    @property
    def _next_header(self) -> str:
        return str(self.board.known.number + 1)

    def remaining(self) -> Iterator[str]:
        return continuation(self.board.known)

    def take(self, step: Step, before_final: bool) -> Complaint | None:
        header, body = step.header, step.body
        assert header is not None
        if header == FINAL:
            self._finished = True
        elif _NUMBER.fullmatch(header) is None:
            return Complaint("wrong_header", 0, 0, "this is no number of a step")
        else:
            expected = self._next_header
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
                return unreadable(body, line.start, line.reason)

    def _take_statement(self, header: str, orders: int, turn: int, number: int | None) -> None:
        self.board.turn = turn
        self.board.grounds[header] = orders
        if number is not None:
            self.board.known.stated.setdefault(number, header)


class LogicalDeductionExpert(LineByLine):
    def walk(self, problem: Problem) -> LogicalWalk:
        return LogicalWalk(read_story(problem.question))


EXPERT = LogicalDeductionExpert(TASK)
