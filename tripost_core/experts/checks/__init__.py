"""An expert that shows its workings (`expert.checks`): one file per task that has them.

    Feedback: ... (4) Then, the final equation is (A * B) = (-6 * 34) = -240 [3 4 * 6: 4 * 6 = 24, 3 * 6 = 18,
    18 + 2 = 20: 2 0 4: -204] No. Step (1) to step (3) are correct. In step (4) the part "(-6 * 34) = -240" is
    incorrect. ...
    Updated Answer: ...
    (4) Then, the final equation is (A * B) = (-6 * 34) [3 4 * 6: 4 * 6 = 24, ...: 2 0 4: -204] = -204.

A verdict in one word can know no more than the attempt did: a small model that judges `(-6 * 34) = -240` has only the
computation that made it. The checks do the steps again in smaller ones, and leave the verdict a comparison. An update
has the same need: what feedback says far above a small model does not copy where it can calculate, and what it
calculates is its mistake again (docs/log.md). So the lines that are written anew have their workings, too; they are no
part of what is judged.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import ModuleType

from tripost_core.errors import ConfigError
from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems import TaskReference
from tripost_core.problems.base import Problem
from tripost_core.problems.names import TASKS_WITH_CHECKS
from tripost_core.trajectory import Attempt, Feedback


def of_task(task: TaskReference) -> ModuleType:
    """The module of a task: `checks`, `with_workings`, `without_workings`, the pattern `WORKING`, and of
    arithmetic what pretraining draws: `drill` and `operations`. Raises ConfigError for a task that has none."""
    if not isinstance(task, str) or task not in TASKS_WITH_CHECKS:
        raise ConfigError(f"expert.checks is for scripts of {', '.join(TASKS_WITH_CHECKS)}.")
    return import_module(f"tripost_core.experts.checks.{task}")


class CheckingExpert:
    """`expert`, with the checks of the steps up to the first wrong one in its verdicts."""

    def __init__(self, expert: Expert, task: TaskReference) -> None:
        self._of_task = of_task(task)
        self.expert = expert
        self.name = f"{expert.name}-workings"

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        plain = self._of_task.without_workings(attempt)
        verdict = self.expert.feedback(problem, plain)
        return replace(verdict, checks=self._of_task.checks(problem, plain, verdict))

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        """As the expert does it, with workings in the lines that are written anew."""
        plain = self._of_task.without_workings(attempt)
        improved = self.expert.improve(problem, plain, feedback)
        if improved == plain:
            return attempt
        told = Feedback.parse(feedback).error_step
        before = Attempt.parse(plain).steps
        kept = 0
        lines = Attempt.parse(improved).steps
        while kept < min(len(before), len(lines)) and before[kept] == lines[kept] and before[kept].header != told:
            kept += 1
        own = Attempt.parse(attempt).steps[:kept]
        return "\n".join(self._of_task.with_workings([step.line for step in (*own, *lines[kept:])], kept))
