"""An expert that errs on purpose, so that rounds, discards and filters have something to do (docs/architecture.md).

Every mistake is a function of (seed, problem, what is judged or repaired): the same run makes the same mistakes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems.base import Problem
from tripost_core.trajectory import Attempt, Feedback, Step

MISTAKEN = "mistaken"
"""`error_class` where a right attempt is called wrong."""
UNNAMED_STEP = "?"
"""A header that no feedback parser accepts."""

_NUMBER = re.compile(r"-?\d+")
_WORD = re.compile(r"\S+")
_NAME = re.compile(r"[^\W\d_]{2,}")


class FallibleExpert:
    """`expert`, with the share `mistake_rate` of its judgements and of its repairs made wrong."""

    def __init__(self, expert: Expert, mistake_rate: float, seed: int | str) -> None:
        assert 0 <= mistake_rate <= 1, mistake_rate
        self.expert = expert
        self.mistake_rate = mistake_rate
        self.seed = seed
        self.name = f"{expert.name}-mistakes-{mistake_rate:g}"

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        """The expert's verdict, or a wrong one: another step, another segment of the line, wrong called correct,
        correct called wrong, or a sentence that cannot be parsed."""
        verdict = self.expert.feedback(problem, attempt)
        rng = self._rng("feedback", problem, attempt)
        if rng.random() >= self.mistake_rate:
            return verdict
        if verdict.correct:
            return _blame(Attempt.parse(attempt), rng) or _unparsable()
        kinds = [_other_step, _other_segment, _call_correct, _garble]
        rng.shuffle(kinds)
        made = (kind(Attempt.parse(attempt), verdict, rng) for kind in kinds)
        return next(mistake for mistake in made if mistake is not None)

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """The expert's repair, or a wrong one: nothing changed, the error left in, a new error, a line before the
        error touched, or a final answer that is not that of the step before it."""
        improved = self.expert.improve(problem, attempt, feedback)
        rng = self._rng("improve", problem, attempt, feedback)
        if rng.random() >= self.mistake_rate:
            return improved
        kinds: list[_Spoil] = [_leave_all, _leave_error, _plant_error, _touch_prefix, _alter_answer]
        rng.shuffle(kinds)
        made = (kind(attempt, Feedback.parse(feedback), improved, rng) for kind in kinds)
        return next(mistake for mistake in made if mistake is not None)

    def _rng(self, act: str, problem: Problem, *texts: str) -> random.Random:
        return random.Random("\x1f".join([act, str(self.seed), problem.id, *texts]))


# -- mistakes of FBK: None where the attempt gives no occasion ---------------------------------------------------------


def _blame(attempt: Attempt, rng: random.Random) -> Verdict | None:
    """Names some step of a correct attempt."""
    steps = [step for step in attempt.steps if step.header is not None and step.body.strip()]
    if not steps:
        return None
    step = rng.choice(steps)
    return Verdict(False, step.header, _some_part(step, rng), MISTAKEN, "it does not follow from the question")


def _other_step(attempt: Attempt, verdict: Verdict, rng: random.Random) -> Verdict | None:
    others = [s for s in attempt.steps if s.header not in (None, verdict.error_step) and s.body.strip()]
    if not others:
        return None
    step = rng.choice(others)
    return replace(verdict, error_step=step.header, error_segment=_some_part(step, rng), checks="")


def _other_segment(attempt: Attempt, verdict: Verdict, rng: random.Random) -> Verdict | None:
    """Another part of the blamed line, one that neither holds the right segment nor lies in it."""
    index = attempt.index_of(verdict.error_step or "")
    if index is None:
        return None
    right = verdict.error_segment or ""
    parts = [part for part in _WORD.findall(attempt.steps[index].body) if part not in right and right not in part]
    return replace(verdict, error_segment=rng.choice(parts)) if parts else None


def _call_correct(attempt: Attempt, verdict: Verdict, rng: random.Random) -> Verdict:
    return Verdict(True)


def _garble(attempt: Attempt, verdict: Verdict, rng: random.Random) -> Verdict:
    return _unparsable()


def _unparsable() -> Verdict:
    return Verdict(False, UNNAMED_STEP, "something", MISTAKEN, "something went wrong")


def _some_part(step: Step, rng: random.Random) -> str:
    """One to three neighbouring words of the step."""
    words = list(_WORD.finditer(step.body))
    first = rng.randrange(len(words))
    last = min(first + rng.randrange(3), len(words) - 1)
    return step.body[words[first].start() : words[last].end()]


# -- mistakes of IMP: (attempt, feedback, the right repair, rng) to a wrong repair, or None ----------------------------

_Spoil = Callable[[str, Feedback, str, random.Random], str | None]


def _leave_all(attempt: str, feedback: Feedback, improved: str, rng: random.Random) -> str:
    return attempt


def _leave_error(attempt: str, feedback: Feedback, improved: str, rng: random.Random) -> str | None:
    """The wrong line stays, everything after it is rewritten."""
    old, new = Attempt.parse(attempt), Attempt.parse(improved)
    wrong, right = (a.index_of(feedback.error_step or "") for a in (old, new))
    if wrong is None or right is None or old.steps[wrong] == new.steps[right]:
        return None
    return _with_line(improved, right, old.steps[wrong].line)


def _plant_error(attempt: str, feedback: Feedback, improved: str, rng: random.Random) -> str | None:
    """A new error from the repaired step on, the final line aside."""
    lines = improved.split("\n")
    start = _first_rewritten(feedback, improved)
    return _corrupt_one(improved, range(start, max(len(lines) - 1, start)), rng)


def _touch_prefix(attempt: str, feedback: Feedback, improved: str, rng: random.Random) -> str | None:
    return _corrupt_one(improved, range(_first_rewritten(feedback, improved)), rng)


def _alter_answer(attempt: str, feedback: Feedback, improved: str, rng: random.Random) -> str | None:
    last = len(improved.split("\n")) - 1
    return _corrupt_one(improved, range(last, last + 1), rng)


def _first_rewritten(feedback: Feedback, improved: str) -> int:
    index = Attempt.parse(improved).index_of(feedback.error_step or "")
    return 0 if index is None else index


def _corrupt_one(text: str, candidates: range, rng: random.Random) -> str | None:
    """One of the candidate lines with one number or one word altered."""
    lines = text.split("\n")
    for index in rng.sample(candidates, len(candidates)):
        if (line := _corrupted(lines[index], rng)) is not None:
            return _with_line(text, index, line)
    return None


def _corrupted(line: str, rng: random.Random) -> str | None:
    """The line with a number moved by 1 to 9, or with two words exchanged, or with a word shortened."""
    body = Attempt.parse(line).steps[0].body if line else ""
    offset = len(line) - len(body)
    numbers, words = list(_NUMBER.finditer(body)), list(_NAME.finditer(body))
    if numbers and (not words or rng.random() < 0.7):
        number = rng.choice(numbers)
        moved = int(number[0][:9]) + rng.choice((-1, 1)) * rng.randint(1, 9)
        return line[:offset] + body[: number.start()] + str(moved) + body[number.end() :]
    if len(words) > 2:
        first, second = words[-2], words[-1]
        if first[0] != second[0]:
            between = body[first.end() : second.start()]
            return line[:offset] + body[: first.start()] + second[0] + between + first[0] + body[second.end() :]
    if words:
        return line[:offset] + body[: words[-1].end() - 1] + body[words[-1].end() :]
    return None


def _with_line(text: str, index: int, line: str) -> str:
    lines = text.split("\n")
    lines[index] = line
    return "\n".join(lines)
