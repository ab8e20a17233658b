"""Planted mistakes: a gold rationale with exactly one error of a chosen class, at a random place.

Used to teach a student the *form* of criticism (pretraining), to make experts err (`mistake_rate`) and to test that
FBK finds what was planted where it was planted.
"""

from __future__ import annotations

import random
from importlib import import_module

from tripost_core.errors import ConfigError
from tripost_core.experts.base import Planted
from tripost_core.problems import TASKS
from tripost_core.problems.base import Problem


def error_classes(task: str) -> tuple[str, ...]:
    """The classes that `plant` knows for a task."""
    return _module(task).ERROR_CLASSES


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` in the problem's rationale, or None where the problem has no place for it."""
    return _module(problem.task).plant(problem, error_class, rng)


def _module(task: str):  # type: ignore[no-untyped-def]
    if task not in TASKS:
        raise ConfigError(f"No mistakes are known for task {task!r}.")
    return import_module(f"tripost_core.experts.mistakes.{task}")
