"""The one loop in which a student attempts, criticises and improves: used to collect, to evaluate and to watch.

The student writes attempt, feedback and, after feedback that names an error, the updated attempt in one go. What
happens when it stops (docs/architecture.md; paper sections 2.1 and 2.4, inference):

- terminal feedback, or EOS after a first attempt without feedback: done;
- EOS after an updated attempt: it is asked for feedback, the prompt being question, answer header and that attempt;
- EOS after feedback that names an error: it is asked for the updated attempt, in the form of a training row;
- feedback that says neither, an output that was cut off, or enough improvements: done.

The history stands in the record, not in the prompt. All rows advance together, one wave of continuations after another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tripost_core.problems.base import Task, prompt
from tripost_core.trajectory import Feedback

if TYPE_CHECKING:
    from tripost_core.lm.engines import Write
    from tripost_core.lm.student import Student

FEEDBACK_HEADER = "\nFeedback:"
STOP = "final response is also correct."
"""The end of terminal feedback; nothing that the student writes after it is wanted."""

_HEADERS = re.compile(r"(?:\A|\n)(?:(?P<feedback>Feedback:)|Updated Answer:[^\n]*)")
_MASK_63_BITS = (1 << 63) - 1


class Segment(NamedTuple):
    """A stretch of what the student wrote. `role`: attempt, feedback (with its header) or header."""

    role: str
    text: str


class Turn(NamedTuple):
    """An attempt and what the student said of it; `feedback` has no `Feedback:`, and is None where there is none."""

    attempt: str
    feedback: str | None


@dataclass(frozen=True, slots=True)
class SelfImprovement:
    """One trajectory of the student alone.

    `text` is all it wrote, with the headers it was prompted with; `turns` is its reading, cut after `max_improvements`
    updated attempts. `truncated`: an output ran into the context or token limit within these turns.
    """

    text: str
    turns: tuple[Turn, ...]
    num_tokens: int
    truncated: bool


def split_segments(text: str) -> list[Segment]:
    """Cuts at the lines that begin with `Feedback:` or `Updated Answer:`; the segments' texts joined are the text.

    Begins with an attempt, however empty. A second `Feedback:` line before any updated attempt belongs to the first.
    """
    segments = [Segment("attempt", "")]
    start = 0
    for match in _HEADERS.finditer(text):
        is_feedback = match["feedback"] is not None
        if is_feedback and segments[-1].role == "feedback":
            continue
        segments[-1] = Segment(segments[-1].role, text[start : match.start()])
        start = match.start()
        if is_feedback:
            segments.append(Segment("feedback", ""))
        else:
            segments += [Segment("header", match[0]), Segment("attempt", "")]
            start = match.end()
    segments[-1] = Segment(segments[-1].role, text[start:])
    return segments


def parse_turns(text: str) -> list[Turn]:
    """The attempts in a student's text, each with its feedback; at least one, and never an exception.

    An attempt is what stands between the headers, less the newline after the header: garbage stays as text.
    """
    turns: list[Turn] = []
    for role, part in split_segments(text):
        if role == "attempt":
            turns.append(Turn(part.removeprefix("\n"), None))
        elif role == "feedback":
            sentence = part.removeprefix("\n").removeprefix("Feedback:").strip()
            turns[-1] = Turn(turns[-1].attempt, sentence)
    return turns


def wave_seed(seed: int, wave: int) -> int:
    """The seed of a row's continuation number `wave` (0 = its first): a stable hash, 63 bits."""
    if wave == 0:
        return seed
    z = (seed + wave * 0xD1342543DE82EF95) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 32)) * 0xDABA0B6EB09322E3) & 0xFFFFFFFFFFFFFFFF
    return (z ^ (z >> 32)) & _MASK_63_BITS


def continuation(task: Task, question: str, text: str, max_improvements: int) -> tuple[str, str] | None:
    """After EOS: the prompt to go on with, and the header in it that belongs to the student's text; None if done."""
    turns = parse_turns(text)
    attempt, feedback = turns[-1]
    if len(turns) > max_improvements:
        return None
    if feedback is None:
        if len(turns) == 1:
            return None
        header = FEEDBACK_HEADER
        return f"{prompt(task, question)}\n{attempt}{header}", header
    if Feedback.parse(feedback).error_step is None:
        return None
    header = f"\nUpdated {task.answer_header}"
    return f"{prompt(task, question)}\n{attempt}{FEEDBACK_HEADER} {feedback}{header}", header


@dataclass(slots=True)
class _State:
    prompt: str
    text: str = ""
    num_tokens: int = 0
    truncated: bool = False

    def record(self, max_improvements: int) -> SelfImprovement:
        turns = parse_turns(self.text)
        # What stands behind the last attempt that is looked at was written in vain, cut off or not.
        truncated = self.truncated and len(turns) <= max_improvements + 1
        return SelfImprovement(self.text, tuple(turns[: max_improvements + 1]), self.num_tokens, truncated)


def self_improve(
    student: Student | None,
    task: Task,
    questions: Sequence[str],
    seeds: Sequence[int],
    *,
    temperature: float,
    max_new_tokens: int,
    max_improvements: int,
    batch_tokens: int,
    progress: Callable[[int, int], None] | None = None,
    on_text: Callable[[int, str], None] | None = None,
    write: Write | None = None,
) -> list[SelfImprovement]:
    """One trajectory for every question, in their order; `temperature` 0 is greedy.

    `max_new_tokens` bounds one continuation, `batch_tokens` rows x length of a batch. `progress` is told (rows done,
    rows in all). `on_text` is given (index, all that this row has written so far) after every token: with one question,
    a way to watch. `write`: writes the completions instead of `student`, and then `on_text` is not called.
    """
    from tripost_core.lm.generate import sample

    if write is None:
        assert student is not None
        watch = None if on_text is None else lambda place, text: show(place, text)
        write = partial(sample, student, batch_tokens=batch_tokens, on_text=watch)
    assert len(questions) == len(seeds), f"{len(questions)} questions, {len(seeds)} seeds"
    states = [_State(prompt(task, question)) for question in questions]
    active = list(range(len(states)))
    written_before: list[str] = []
    most_reported = 0

    def report(num_done: int, _: int) -> None:
        # A row that has stopped may be asked to go on: within a wave the count is an upper bound, and never falls.
        nonlocal most_reported
        most_reported = max(most_reported, min(len(states) - len(active) + num_done, len(states) - 1))
        if progress is not None:
            progress(most_reported, len(states))

    def show(place: int, text: str) -> None:
        assert on_text is not None
        on_text(active[place], written_before[place] + text)

    wave = 0
    while active:
        written_before = [states[index].text for index in active]
        completions = write(
            [states[index].prompt for index in active],
            [wave_seed(seeds[index], wave) for index in active],
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            stop=STOP,
            progress=report,
        )
        going_on = []
        for index, completion in zip(active, completions, strict=True):
            state = states[index]
            state.text += completion.text
            state.num_tokens += completion.num_tokens
            state.truncated |= completion.truncated
            following = None
            if completion.finished_by_eos:
                following = continuation(task, questions[index], state.text, max_improvements)
            if following is not None:
                state.prompt, header = following
                state.text += header
                going_on.append(index)
        active = going_on
        wave += 1
    if progress is not None and states:
        progress(len(states), len(states))
    return [state.record(max_improvements) for state in states]
