"""Logical deduction: objects in an unknown order, statements about it, one question with options (BIG-bench).

`logical_statements` reads and solves a question, `logical_rationale` writes its rationale, `logical_stories` makes new
ones. Subtasks go by the number of objects: 3 and 5 are seen, 7 is unseen (paper section 3.1). The canonical answer is
the bare capital letter.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from pathlib import Path

from tripost_core.errors import DataError
from tripost_core.problems.base import Problem, Subtask, strip_question
from tripost_core.problems.files import read_examples
from tripost_core.problems.logical_rationale import rationale
from tripost_core.problems.logical_statements import Story, read_story
from tripost_core.problems.logical_stories import draw_story
from tripost_core.problems.options import LETTERS, option_letter, split_options, with_options
from tripost_core.trajectory import FINAL, Attempt

OTHER_SUBTASK = "other"
"""The subtask of a loaded question with another number of objects; counted as unseen."""
ANSWER = re.compile(r"\banswer is:?\s*\(?(?P<letter>[A-Za-z])\)?(?![\w'])", re.IGNORECASE)
"""What a final line says; the group is the letter."""
MAX_LINE_CHARS = 20_000
"""Longer lines are never read: no attempt at a question within bounds needs them."""

_SIZES = {"objects3": 3, "objects5": 5, "objects7": 7}
_SO = re.compile(r"\b(?:so|therefore|thus|hence)?,?\s*the (?:correct )?answer is\b.*", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")
_EMPTY_WORDS = frozenset({"the", "a", "an", "is", "are", "was", "were", "one"})
_DRAWS_PER_QUESTION = 200
"""Draws without a new story after which a subtask counts as used up."""


class LogicalDeduction:
    """The task (`problems.base.Task`)."""

    name = "logical_deduction"
    subtasks = tuple(Subtask(name, seen=n <= 5) for name, n in _SIZES.items())
    answer_header = (
        'Answer: Let\'s think step by step. Let "??" represents 0 or more objects, and "?" represents exactly 1 object.'
    )
    holdout = 0.0
    paper_sizes: dict[str, dict[str, int]] = {  # noqa: RUF012 - the contract's plain dict
        "train": {"objects3": 183, "objects5": 177},
        "validation": {"objects3": 20, "objects5": 20},
        # The paper's test file is lost; these sizes are ours.
        "test": {"objects3": 60, "objects5": 100, "objects7": 140},
    }

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """`n` questions with different stories, none with a story of `exclude`: another question about the same
        statements would give the order away. Raises DataError."""
        if subtask not in _SIZES:
            raise DataError(f"Logical deduction has no subtask {subtask!r}; it has {', '.join(_SIZES)}.")
        rng = random.Random(f"{self.name}/{subtask}/{split}/{seed}")
        taken = {_story_key(question) for question in exclude}
        problems: list[Problem] = []
        draws = 0
        while len(problems) < n:
            drawn = draw_story(rng, _SIZES[subtask])
            key = _story_key(drawn.story)
            draws += 1
            if key in taken:
                if draws > _DRAWS_PER_QUESTION * (len(problems) + 1):
                    raise DataError(f"Logical deduction {subtask} has no {n} different stories left.")
                continue
            taken.add(key)
            problems.append(self._problem(read_story(drawn.question), split))
        return problems

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Options stand in the question, in a field `options`, or are BIG-bench's `target_scores`; the answer is a
        letter or an option's text. Raises DataError, naming the row, also where the answer is not the one that the
        statements leave."""
        problems = []
        for example in read_examples(path):
            try:
                story = read_story(with_options(example["question"], example.get("options")))
            except DataError as error:
                raise DataError(f"{example['place']}: {error}") from None
            answer = example["answer"]
            letter = option_letter(answer, [o.text for o in story.options]) if isinstance(answer, str) else None
            if letter != LETTERS[story.answer]:
                raise DataError(
                    f"{example['place']}: the answer is {answer!r}, but the statements leave {LETTERS[story.answer]}."
                )
            problems.append(self._problem(story, split, example["rationale"]))
        return problems

    def parse_question(self, question: str) -> Problem:
        return self._problem(read_story(question))

    def rationale(self, question: str) -> str:
        return rationale(read_story(question))

    def extract_answer(self, attempt: str) -> str | None:
        """The letter of the `(Final response)` line, or of the last line where no line has that header."""
        line = _answer_line(attempt)
        match = ANSWER.search(line) if len(line) <= MAX_LINE_CHARS else None
        return match["letter"].upper() if match else None

    def is_right(self, attempt: str, answer: str) -> bool:
        return self.extract_answer(attempt) == answer

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """The final line states what the step before it has found: all its words stand there (paper.md B8.5). A final
        line with a letter alone cannot be compared and passes, where there is a step before it."""
        steps = Attempt.parse(attempt).steps
        final = next((i for i, step in enumerate(steps) if step.header == FINAL), 0)
        before = next((step for step in reversed(steps[:final]) if step.line.strip()), None)
        if before is None or before.header is None or self.extract_answer(attempt) is None:
            return False
        if len(steps[final].line) > MAX_LINE_CHARS or len(before.line) > MAX_LINE_CHARS:
            return False
        return set(_telling_words(_SO.sub("", steps[final].body))) <= set(_telling_words(before.body))

    def _problem(self, story: Story, split: str = "", rationale: str | None = None) -> Problem:
        name = next((name for name, n in _SIZES.items() if n == story.n), OTHER_SUBTASK)
        seen = any(subtask.seen for subtask in self.subtasks if subtask.name == name)
        return Problem(self.name, story.question, LETTERS[story.answer], name, seen, split, rationale)


def _answer_line(attempt: str) -> str:
    final = Attempt.parse(attempt).final
    return final.line if final else attempt.rstrip().split("\n")[-1]


def _telling_words(text: str) -> list[str]:
    """Words in lower case, without articles and forms of `to be`, plurals as singulars."""
    words = (word for word in _WORD.findall(text.lower()) if word not in _EMPTY_WORDS)
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]


def _story_key(question: str) -> str:
    """A question's story: with or without preamble, whatever is asked."""
    stem = split_options(strip_question(question))[0]
    marker = "consistent within each paragraph."
    return "".join(stem[stem.find(marker) + len(marker) if marker in stem else 0 :].split())


TASK = LogicalDeduction()
