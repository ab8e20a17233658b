"""What every scripted expert that walks an attempt line by line has to keep to, whatever the task."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tripost_core.experts.base import Expert, Planted, Verdict
from tripost_core.problems.base import Problem, Task
from tripost_core.trajectory import FINAL, Attempt, Feedback


@dataclass(frozen=True)
class Contract:
    """`junk`: pieces that may stand in an attempt; `characters`: those that one of it may be changed to."""

    task: Task
    expert: Expert
    plant: Callable[[Problem, str, random.Random], Planted | None]
    error_classes: Sequence[str]
    questions: Callable[[], Sequence[Problem]]
    junk: Sequence[str]
    characters: str

    def judge(self, problem: Problem, attempt: str) -> Verdict:
        """The verdict, after everything that the contract says about any verdict has been checked."""
        verdict = self.expert.feedback(problem, attempt)
        parsed, told = Attempt.parse(attempt), Feedback.parse(verdict.sentence(attempt))
        if verdict.correct:
            assert told.terminal
            assert self.task.is_right(attempt, problem.answer)
            assert (verdict.error_step, verdict.error_segment, verdict.error_class) == (None, None, None)
            return verdict
        assert (verdict.error_class == "lucky") == self.task.is_right(attempt, problem.answer)
        assert verdict.error_class in {*self.error_classes, "lucky"}
        said = (told.error_step, told.error_segment or None, told.reason)
        assert said == (verdict.error_step, verdict.error_segment, verdict.reason)
        if verdict.error_segment is None:
            assert verdict.error_step == "1"
            return verdict
        assert verdict.error_segment
        lines = [step.line for step in parsed.steps if step.header == verdict.error_step]
        assert any(verdict.error_segment in line for line in lines or attempt.split("\n"))
        return verdict

    def repaired(self, problem: Problem, attempt: str) -> str:
        """The repair, after it has been checked to be right."""
        told = self.expert.feedback(problem, attempt).sentence(attempt)
        improved = self.expert.improve(problem, attempt, told)
        assert self.judge(problem, improved).correct, improved
        return improved

    def corrupted(self, text: str, rng: random.Random) -> str:
        """Lines deleted, repeated, swapped or cut, or a few characters changed."""
        lines = text.split("\n")
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        at = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                del lines[i]
            case 1:
                lines.insert(j, lines[i])
            case 2:
                lines[i], lines[j] = lines[j], lines[i]
            case 3:
                return text[:at]
            case 4:
                return text[:at] + rng.choice(self.junk) + text[at:]
            case 5:
                return text[:at] + rng.choice(self.characters) + text[at + 1 :]
            case _:
                return text[:at] + text[at + rng.randint(1, 9) :]
        return "\n".join(lines)

    # -- checks, each of one random case -------------------------------------------------------------------------------

    def check_corrupted(self, seed: int) -> None:
        """A corrupted attempt gets a repair that is right and keeps every byte before the line that the verdict names
        (whose number may also stand further above)."""
        rng = random.Random(seed)
        problem = rng.choice(self.questions())
        attempt = self.task.rationale(problem.question)
        for _ in range(rng.randint(1, 3)):
            attempt = self.corrupted(attempt, rng)
        verdict = self.judge(problem, attempt)
        improved = self.repaired(problem, attempt)
        if verdict.correct:
            assert improved == attempt
            return
        assert verdict.error_step is not None
        headers = [step.header for step in Attempt.parse(attempt).steps]
        if None not in headers and headers.count(verdict.error_step) == 1:
            assert improved.startswith(lines_before(attempt, verdict.error_step))

    def check_any_text(self, attempt: str, feedback: str, seed: int) -> None:
        problem = random.Random(seed).choice(self.questions())
        self.judge(problem, attempt)
        self.repaired(problem, attempt)
        self.expert.improve(problem, attempt, feedback)

    def check_named_step(self, seed: int) -> None:
        """The step that the feedback names decides what is kept, whoever wrote the feedback."""
        rng = random.Random(seed)
        problem = rng.choice(self.questions())
        planted = self.plant(problem, rng.choice(self.error_classes), rng)
        attempt = planted.attempt if planted else self.task.rationale(problem.question)
        steps = [step for step in Attempt.parse(attempt).steps if step.header]
        if not steps:
            return
        named = rng.choice(steps)
        assert named.header is not None
        label = "Final response" if named.header == FINAL else named.header
        feedback = f'In step ({label}) the part "{named.body[:9]}" is incorrect. This is because it looks wrong.'
        improved = self.expert.improve(problem, attempt, feedback)
        if named.header != self.expert.feedback(problem, attempt).error_step:
            assert improved.startswith(lines_before(attempt, named.header))
        assert self.task.is_right(improved, problem.answer)

    def check_hostile(self, problem: Problem, attempt: str) -> None:
        """Judged and repaired in two seconds of processor time."""
        start = time.process_time()
        self.judge(problem, attempt)
        self.repaired(problem, attempt)
        assert time.process_time() - start < 2

    def seconds_to_judge(self, problems: Sequence[Problem]) -> float:
        """Of a thousand corrupted attempts; the best of three: the machine may be busy with other work."""
        rng = random.Random(0)
        each = -(-1000 // len(problems))
        golds = [(p, self.task.rationale(p.question)) for p in problems for _ in range(each)][:1000]
        attempts = [(p, self.corrupted(gold, rng)) for p, gold in golds]
        seconds = []
        for _ in range(3):
            start = time.process_time()
            for problem, attempt in attempts:
                self.expert.feedback(problem, attempt)
            seconds.append(time.process_time() - start)
        return min(seconds)


def lines_before(attempt: str, step: str) -> str:
    return "".join(line.line + "\n" for line in Attempt.parse(attempt).before(step))
