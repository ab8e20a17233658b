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
from collections.abc import Sequence
from dataclasses import dataclass

from tripost_core.experts.base import Verdict
from tripost_core.experts.scripted.word_sorting_board import Board, Header, Looked, same_words
from tripost_core.experts.scripted.word_sorting_checks import (
    Complaint,
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
from tripost_core.trajectory import FINAL, Attempt, Feedback, Step

_ANSWER_HEADER = re.compile(r"\s*(?:updated )?answer:", re.I)
_HEADER = re.compile(r"[1-9][0-9]{0,5}(?:\.[1-9][0-9]{0,5}){0,199}")
_FIRST_WORDS = re.compile(r"\S+(?: \S+){0,2}")
_MAX_SEGMENT = 400
"""Longest segment of a line, in characters; the longest list of the paper's questions fits."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first error of an attempt; `index` is that of the first line to be rewritten."""

    index: int
    step: str
    segment: str | None
    error_class: str
    reason: str


class Walk:
    """Follows an attempt's lines. After an error it goes on with what would have been right."""

    def __init__(self, words: Sequence[str]) -> None:
        self.board = Board(words)
        self.previous: Header | None = None
        self.looks: list[Looked] = []

    def take(self, step: Step) -> Complaint | None:
        """Follows one line that has a header; what is wrong with it, or None."""
        body = step.body
        line = read_line(body, final=step.header == FINAL)
        if step.header == FINAL:
            self.board.finished = True
            return _unreadable(line, body) if isinstance(line, Unreadable) else self._follow(line, "")
        assert step.header is not None
        complaint = self._place(step.header, isinstance(line, Look), _beginning(body))
        if isinstance(line, Unreadable):
            return complaint or _unreadable(line, body)
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


class WordSortingExpert:
    """See `experts.base.Expert`."""

    name = "script-v1"

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        words = question_words(problem.question)
        flaw = find_flaw(words, attempt)
        if flaw is None:
            return Verdict(correct=True)
        lucky = TASK.is_right(attempt, " ".join(sorted(words)))
        return Verdict(False, flaw.step, flaw.segment, "lucky" if lucky else flaw.error_class, flaw.reason)

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """Keeps the lines before the step that the feedback names, or, where the attempt has no such step or the
        feedback cannot be parsed, those before the first error (all of a correct attempt)."""
        told = Feedback.parse(feedback)
        if told.terminal:
            return attempt
        words = question_words(problem.question)
        flaw = find_flaw(words, attempt)
        parsed = Attempt.parse(attempt)
        keep = flaw.index if flaw else None
        if told.error_step is not None and (flaw is None or flaw.step != told.error_step):
            named = parsed.index_of(told.error_step)
            keep = keep if named is None else named
        if keep is None:
            return attempt
        final = parsed.index_of(FINAL)
        steps = parsed.steps[_start(parsed.steps) : keep if final is None else min(keep, final)]
        walk = Walk(words)
        for step in steps:
            if step.header is not None:
                walk.take(step)
        return "\n".join([*(step.line for step in steps), *walk.board.continuation()])


def find_flaw(words: Sequence[str], attempt: str) -> Flaw | None:
    """The first error of an attempt at sorting `words`, or None where it is right in every step."""
    if attempt == "\n".join(rationale_steps(words)):
        return None  # most right attempts, without following them
    steps = Attempt.parse(attempt).steps
    walk = Walk(words)
    last = None
    for index in range(_start(steps), len(steps)):
        step = steps[index]
        if not step.line.strip():
            continue
        if walk.board.finished:
            assert last is not None
            start, end = _clip(steps[last].body, 0)
            segment = steps[last].body[start:end] or steps[last].line.strip()
            return Flaw(last, FINAL, segment, "unparsable_step", "nothing should follow the final response")
        if step.header is None:
            return _stray_line(walk, steps, index, last)
        if complaint := walk.take(step):
            segment = step.body[complaint.start : complaint.end].strip()[:_MAX_SEGMENT].rstrip() or step.line.strip()
            return Flaw(index, step.header, segment, complaint.error_class, complaint.reason)
        last = index
    if walk.board.finished:
        return None
    if last is None:
        return Flaw(_start(steps), "1", None, "missing_step", "there is no answer")
    reason = "the answer stops here, this step and what follows it are missing"
    return Flaw(last + 1, _next_header(walk), steps[last].line.strip(), "missing_step", reason)


def _start(steps: Sequence[Step]) -> int:
    """Index of the first line of the attempt proper: an answer header before it is tolerated."""
    first = next((i for i, step in enumerate(steps) if step.line.strip()), len(steps))
    if first < len(steps) and _ANSWER_HEADER.match(steps[first].line):
        return first + 1
    return 0


def _stray_line(walk: Walk, steps: Sequence[Step], index: int, last: int | None) -> Flaw:
    """A line without a header. It stands for the step that should come here; where that step comes later all the
    same, the line is an appendage of the step before it, which is to be rewritten without it."""
    expected = _next_header(walk)
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


def _next_header(walk: Walk) -> str:
    header = Attempt.parse(next(walk.board.continuation())).steps[0].header
    assert header is not None
    return header


def _unreadable(line: Unreadable, body: str) -> Complaint:
    start, end = _clip(body, line.start)
    if start == end:  # the line breaks off: what there is of it
        start, end = _clip(body, 0)
    return Complaint("unparsable_step", start, end, line.reason)


def _beginning(body: str) -> tuple[int, int]:
    """The span of the first three words, which tell what kind of step it is."""
    match = _FIRST_WORDS.match(body)
    start, end = match.span() if match else (0, 0)
    return start, min(end, start + _MAX_SEGMENT)


def _clip(text: str, start: int) -> tuple[int, int]:
    """The span from `start`, without white space at its ends and at most `_MAX_SEGMENT` long."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start, start + len(text[start : start + _MAX_SEGMENT].rstrip())


EXPERT = WordSortingExpert()
