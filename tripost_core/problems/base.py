"""What a task is: questions with checkable answers, how they are asked and how an answer is read.

One file per task beside this one; `problems.load_task(name)` returns its `Task`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `question` has no `Q: `; `answer` is the task's canonical string (`tripost_core/problems`)."""

    task: str
    question: str
    answer: str
    subtask: str
    seen: bool
    split: str = ""
    rationale: str | None = None

    @property
    def id(self) -> str:
        """Content identity: 16 hex digits of the SHA-256 of task and question."""
        return hashlib.sha256(f"{self.task}\n{self.question}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Subtask:
    """A reported group of questions, e.g. `l3-4d2`; `seen` groups are the ones trained on (paper section 3.1)."""

    name: str
    seen: bool


class Task(Protocol):
    """A task file's contract. All methods are pure and deterministic."""

    name: str
    subtasks: tuple[Subtask, ...]
    answer_header: str
    """`Answer: Let's think step by step. ...`; the updated attempt's header is `Updated ` + this."""
    holdout: float
    """Share of the questions of a training file that is kept for the test where no test file is given."""
    paper_sizes: dict[str, dict[str, int]]
    """The paper's number of questions, {split: {subtask: n}}, splits `train`, `validation`, `test`."""

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """`n` different questions of `subtask`, none whose `question` is in `exclude`.

        Raises DataError when the subtask is unknown or cannot yield that many different questions.
        """
        ...

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Questions of a BIG-bench JSON, BIG-Bench Hard JSON or JSONL (`question`, `answer`, `rationale`?) file."""
        ...

    def parse_question(self, question: str) -> Problem:
        """The problem of one question text, with or without `Q: `; its answer and subtask computed.

        Raises DataError when the text is not a question of this task.
        """
        ...

    def rationale(self, question: str) -> str:
        """The scripted gold rationale: lines `(1) ...` to `(Final response) ...`. Raises DataError."""
        ...

    def extract_answer(self, attempt: str) -> str | None:
        """The canonical answer that the attempt's final line gives, or None."""
        ...

    def is_right(self, attempt: str, answer: str) -> bool:
        """Accuracy: the final answer alone."""
        ...

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """Filter (c) of paper section 2.3: the final answer is that of the second last step. `question`: for tasks
        whose answer is a letter, to know what it stands for."""
        ...


def prompt(task: Task, question: str) -> str:
    """What the student continues: question block and answer header, without a trailing newline."""
    return f"Q: {question}\n{task.answer_header}"


def strip_question(text: str) -> str:
    """The question without `Q: ` and without trailing spaces."""
    text = text.strip()
    return text[2:].strip() if text.startswith("Q:") else text


def subtask_names(task: Task, seen: bool | None = None) -> Sequence[str]:
    return [s.name for s in task.subtasks if seen is None or s.seen == seen]
