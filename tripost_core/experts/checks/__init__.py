"""Feedback that works its checks out before its verdict (`expert.checks`): one file per task that has them.

    Feedback: ... (4) Then, the final equation is (A * B) = (-6 * 34) = -240 [4 * 6 = 24, 3 * 6 = 18, 18 + 2 = 20: -204]
    No: (4) Then, the final equation is (A * B) = (-6 * 34) = -204. Step (1) to step (3) are correct. In step
    (4) the part "(-6 * 34) = -240" is incorrect. ...

A verdict in one word can know no more than the attempt did: a small model that judges `(-6 * 34) = -240` has only the
computation that made it. The checks do the steps again in smaller ones, and leave the verdict a comparison.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from tripost_core.errors import ConfigError
from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems import TaskReference
from tripost_core.problems.base import Problem

TASKS_WITH_CHECKS = ("multistep_arithmetic", "word_sorting")


class CheckingExpert:
    """`expert`, with the checks of the steps up to the first wrong one in its verdicts."""

    def __init__(self, expert: Expert, task: TaskReference) -> None:
        if not isinstance(task, str) or task not in TASKS_WITH_CHECKS:
            raise ConfigError(f"expert.checks is for scripts of {', '.join(TASKS_WITH_CHECKS)}.")
        self.expert = expert
        self.name = f"{expert.name}-checks"
        self._checks = import_module(f"tripost_core.experts.checks.{task}").checks

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        verdict = self.expert.feedback(problem, attempt)
        return replace(verdict, checks=self._checks(problem, attempt, verdict))

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        return self.expert.improve(problem, attempt, feedback)
