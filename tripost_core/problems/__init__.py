"""The tasks. `load_task("word_sorting")` imports only that task's file."""

from importlib import import_module

from tripost_core.errors import ConfigError
from tripost_core.problems.base import Problem, Subtask, Task, prompt

TASKS = ("multistep_arithmetic", "word_sorting", "date_understanding", "logical_deduction")

__all__ = ["TASKS", "Problem", "Subtask", "Task", "load_task", "prompt"]


def load_task(name: str) -> Task:
    """The task's object. Raises ConfigError for an unknown name."""
    if name not in TASKS:
        raise ConfigError(f"There is no task {name!r}; the tasks are {', '.join(TASKS)}.")
    return import_module(f"tripost_core.problems.{name}").TASK
