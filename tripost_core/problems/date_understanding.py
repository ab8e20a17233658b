"""Date understanding: a story tells of today, a date beside it is asked for, one option has it (BIG-bench).

`date_questions` reads a question and finds its date by the calendar, `date_clues` knows what stories tell of today,
`date_stories` makes new ones. Subtasks go by the number of steps of the scripted rationale: one and two are seen, three
and more unseen (paper section 3.1). The canonical answer is the bare capital letter.

Published questions have a few wrong labels. A loaded question keeps the label of its file, as every published figure
does; where the calendar contradicts it, its scripted rationale does not reach it, and `splits` leaves it out of the
questions to train on, with a reason.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from pathlib import Path

from tripost_core.errors import DataError
from tripost_core.problems.base import Problem, Subtask, strip_question
from tripost_core.problems.calendar_dates import find_dates, read_date
from tripost_core.problems.date_questions import DateQuestion, rationale_lines, read_question
from tripost_core.problems.date_stories import draw_asked, draw_story, with_date_options
from tripost_core.problems.files import read_examples
from tripost_core.problems.options import LETTERS, option_letter, split_options, with_options
from tripost_core.trajectory import FINAL, Attempt

OTHER_SUBTASK = "other"
"""The subtask of a loaded question that the script does not understand; counted as unseen."""
ANSWER = re.compile(r"\banswer is:?\s*\(?(?P<letter>[A-Za-z])\)?(?![\w'/])", re.IGNORECASE)
"""What a final line says; the group is the letter."""
MAX_LINE_CHARS = 20_000
"""Longer lines are never read: no attempt at a question within bounds needs them."""

_SUBTASKS = ("steps1", "steps2", "steps3", "steps4+")
_ASKED = " What is the date "
_DRAWS_PER_QUESTION = 400
"""Draws without a new question after which a subtask counts as used up."""


class DateUnderstanding:
    """The task (`problems.base.Task`)."""

    name = "date_understanding"
    subtasks = tuple(Subtask(name, seen=name in ("steps1", "steps2")) for name in _SUBTASKS)
    answer_header = "Answer: Let's think step by step."
    holdout = 0.0
    paper_sizes: dict[str, dict[str, int]] = {  # noqa: RUF012 - the contract's plain dict
        "train": {"steps1": 22, "steps2": 169},
        "validation": {"steps1": 3, "steps2": 17},
        "test": {"steps1": 5, "steps2": 50, "steps3": 19, "steps4+": 3},
    }

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """`n` questions with different stories, none with a story of `exclude`: another question about the same story
        would give today's date away. Raises DataError."""
        if subtask not in _SUBTASKS:
            raise DataError(f"Date understanding has no subtask {subtask!r}; it has {', '.join(_SUBTASKS)}.")
        rng = random.Random(f"{self.name}/{subtask}/{split}/{seed}")
        taken = {_story_key(question) for question in exclude}
        problems: list[Problem] = []
        draws = 0
        while len(problems) < n:
            draws += 1
            if draws > _DRAWS_PER_QUESTION * (len(problems) + 1):
                raise DataError(f"Date understanding {subtask} has no {n} different stories left.")
            question = _draw(rng, subtask)
            if question is None or _subtask(question) != subtask:
                continue
            key = _story_key(question.question)
            if key not in taken:
                taken.add(key)
                problems.append(self._problem(question, split))
        return problems

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Options stand in the question, in a field `options`, or are BIG-bench's `target_scores`; the answer is a
        letter or an option's text. A question that the script does not understand is kept, with the subtask `other`.
        Raises DataError, naming the row, for a question without options or an answer that is none of them."""
        problems = []
        for example in read_examples(path):
            try:
                question = with_options(example["question"], example.get("options"))
                stem, listed = split_options(strip_question(question))
            except DataError as error:
                raise DataError(f"{example['place']}: {error}") from None
            answer = example["answer"]
            letter = option_letter(answer, listed) if isinstance(answer, str) else None
            if letter is None:
                raise DataError(f"{example['place']}: the answer is {answer!r}, which is none of the options.")
            try:
                subtask = _subtask(read_question(question))
            except DataError:
                subtask = OTHER_SUBTASK
            seen = subtask in ("steps1", "steps2")
            text = f"{stem.strip()}\nOptions:\n" + "\n".join(f"({LETTERS[i]}) {o}" for i, o in enumerate(listed))
            problems.append(Problem(self.name, text, letter, subtask, seen, split, example["rationale"]))
        return problems

    def parse_question(self, question: str) -> Problem:
        return self._problem(read_question(question))

    def rationale(self, question: str) -> str:
        return "\n".join(rationale_lines(read_question(question)))

    def extract_answer(self, attempt: str) -> str | None:
        """The letter of the `(Final response)` line, or of the last line where no line has that header."""
        final = Attempt.parse(attempt).final
        line = final.line if final else attempt.rstrip().split("\n")[-1]
        match = ANSWER.search(line) if len(line) <= MAX_LINE_CHARS else None
        return match["letter"].upper() if match else None

    def is_right(self, attempt: str, answer: str) -> bool:
        return self.extract_answer(attempt) == answer

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """The step before the final line states the date of the chosen option (paper.md B8.4); without the options of
        the question, any date."""
        steps = Attempt.parse(attempt).steps
        final = next((i for i, step in enumerate(steps) if step.header == FINAL), 0)
        before = next((step for step in reversed(steps[:final]) if step.line.strip()), None)
        letter = self.extract_answer(attempt)
        if before is None or before.header is None or letter is None or len(before.line) > MAX_LINE_CHARS:
            return False
        stated = {mention.date for mention in find_dates(before.body)} - {None}
        try:
            listed = split_options(question)[1]
        except DataError:
            listed = []
        if not listed:
            return bool(stated)
        chosen = read_date(listed[LETTERS.index(letter)]) if LETTERS.index(letter) < len(listed) else None
        return chosen in stated if chosen else False

    def _problem(self, question: DateQuestion, split: str = "") -> Problem:
        subtask = _subtask(question)
        seen = subtask in ("steps1", "steps2")
        return Problem(self.name, question.question, LETTERS[question.answer], subtask, seen, split)


def _subtask(question: DateQuestion) -> str:
    return _SUBTASKS[min(len(question.steps), len(_SUBTASKS)) - 1]


def _draw(rng: random.Random, subtask: str) -> DateQuestion | None:
    """A question that may be of the subtask; None where the draw gave none."""
    hard = subtask not in ("steps1", "steps2") or (subtask == "steps2" and rng.random() < 0.1)
    story = draw_story(rng, hard)
    asked = "today" if subtask == "steps1" else draw_asked(rng)
    if story is None:
        return None
    stem = f"{story}{_ASKED}{asked} in MM/DD/YYYY?"
    try:
        plain = read_question(f"{stem}\nOptions:\n(A) 01/01/2000")
        return read_question(with_date_options(stem, plain.wanted, plain.today, rng))
    except DataError:  # a date out of range
        return None


def _story_key(question: str) -> str:
    """What is told before the question."""
    return "".join(strip_question(question).partition(_ASKED)[0].split())


TASK = DateUnderstanding()
