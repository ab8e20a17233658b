"""FBK and IMP for word sorting, by script (paper sections 2.2 and B4.2; the contract is `experts.base.Expert`).

FBK follows an attempt line by line on a board (`word_sorting_board`) and stops at the first line that cannot be read
(`word_sorting_lines`), is out of place, or claims what does not hold (`word_sorting_checks`). IMP follows the lines to
be kept on the same board and lets it write the rest.

Error classes: wrong_letter, wrong_number, copy_error, invented_word, duplicated_word, lost_word, wrong_order,
wrong_group, wrong_subpart, skipped_letter, repeated_letter, incomplete_sort, inconsistent_final, unparsable_step,
missing_step, wrong_header; `lucky` for any of them where the final response is right all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.line_by_line import MAX_SEGMENT, Complaint, LineByLine, Walk, unreadable
from tripost_core.experts.scripted.word_sorting_board import Board, Header, Looked, same_words
from tripost_core.experts.scripted.word_sorting_checks import (
    check_answer,
    check_conclusion,
    check_grouping,
    check_look,
)
from tripost_core.experts.scripted.word_sorting_lines import (
    Answer,
    Conclusion,
    Grouping,
    Line,
    Look,
    Unreadable,
    read_line,
)
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK, question_words, rationale_steps
from tripost_core.trajectory import FINAL, Attempt, Step

_HEADER = re.compile(r"[1-9][0-9]{0,5}(?:\.[1-9][0-9]{0,5}){0,199}")
_FIRST_WORDS = re.compile(r"\S+(?: \S+){0,2}")


class WordWalk(Walk):
    """Follows an attempt's lines. After an error it goes on with what would have been right."""

    def __init__(self, words: Sequence[str]) -> None:
        self.board = Board(words)
        self.previous: Header | None = None
        self.looks: list[Looked] = []

    @property
    def finished(self) -> bool:
        return self.board.finished

    @property
    def expected(self) -> str:
        header = Attempt.parse(next(self.remaining())).steps[0].header
        assert header is not None
        return header

    def remaining(self) -> Iterator[str]:
        return self.board.continuation()

    def take(self, step: Step, before_final: bool) -> Complaint | None:
        body = step.body
        line = read_line(body, final=step.header == FINAL)
        if step.header == FINAL:
            self.board.finished = True
            return unreadable(body, line.start, line.reason) if isinstance(line, Unreadable) else self._follow(line, "")
        assert step.header is not None
        complaint = self._place(step.header, isinstance(line, Look), _beginning(body))
        if isinstance(line, Unreadable):
            return complaint or unreadable(body, line.start, line.reason)
        followed = self._follow(line, step.header)
        return complaint or followed

    def _place(self, header: str, opens: bool, where: tuple[int, int]) -> Complaint | None:
        """Moves to the header; the complaint is about the numbering alone."""
        if not _HEADER.fullmatch(header):
            return Complaint("wrong_header", *where, "this is no number of a step")
        here = tuple(int(number) for number in header.split("."))
        previous, self.previous = self.previous, here
        fits = self.board.is_next(here, previous, opens)
        seen = previous is not None and here <= previous
        self.board.place_step(here, opens, fits)
        if fits:
            return None
        if seen:
            return Complaint("wrong_header", *where, "a step with this number or a later one has come before")
        return Complaint("missing_step", *where, "a step is missing before it")

    def _follow(self, line: Line, header: str) -> Complaint | None:
        match line:
            case Look():
                return self._follow_look(line, header)
            case Grouping():
                return self._follow_grouping(line)
            case Conclusion():
                return self._follow_conclusion(line)
            case Answer():
                return check_answer(line, self.board)
            case Unreadable():
                raise AssertionError(line)

    def _follow_look(self, look: Look, header: str) -> Complaint | None:
        board = self.board
        complaint, words = check_look(look, board, self.looks)
        cell = board.find_cell(words)
        looked = None
        if cell and cell.depth == look.position:
            looked = Looked(tuple(cell.words), cell.depth, header)
            board.split(cell)
            self.looks.append(looked)
        if look.subpart is None:
            board.scopes[0].look = board.pending = looked
        elif self.previous is not None:
            board.open(self.previous, words, looked)
        return complaint

    def _follow_grouping(self, grouping: Grouping) -> Complaint | None:
        board = self.board
        claimed = [word for piece in grouping.pieces for word in piece.words]
        looks = [looked for looked in (board.pending, board.scope.look) if looked]
        if not looks:
            reason = "no letters have been looked at yet"
            return Complaint("missing_step", grouping.pieces[0].start, grouping.pieces[-1].end, reason)
        looked = next((looked for looked in looks if same_words(looked.words, claimed)), looks[0])
        complaint = check_grouping(grouping, looked, board)
        board.pending = None
        if not complaint and same_words(claimed, board.words):
            board.order_stated |= all(len(piece.words) == 1 for piece in grouping.pieces)
        return complaint

    def _follow_conclusion(self, conclusion: Conclusion) -> Complaint | None:
        board = self.board
        claimed = [piece.words[0] for piece in conclusion.pieces]
        candidates = [board.scope.words, *board.unconcluded, board.words]
        words = next((words for words in candidates if same_words(words, claimed)), board.scope.words)
        complaint = check_conclusion(conclusion, words, board)
        board.conclude(words)
        return complaint


def _beginning(body: str) -> tuple[int, int]:
    """The span of the first three words, which tell what kind of step it is."""
    match = _FIRST_WORDS.search(body)
    start, end = match.span() if match else (0, 0)
    return start, min(end, start + MAX_SEGMENT)


class WordSortingExpert(LineByLine):
    def walk(self, problem: Problem) -> WordWalk:
        return WordWalk(question_words(problem.question))

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        if attempt == "\n".join(rationale_steps(question_words(problem.question))):
            return Verdict(correct=True)  # most right attempts, without following them
        return super().feedback(problem, attempt)


EXPERT = WordSortingExpert(TASK)
