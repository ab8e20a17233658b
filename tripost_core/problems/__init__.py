"""The tasks. `load_task("word_sorting")` imports only that task's file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tripost_core.errors import ConfigError
from tripost_core.problems.base import Problem, Subtask, Task, prompt
from tripost_core.problems.names import TASKS

__all__ = ["TASKS", "Problem", "Subtask", "Task", "TaskReference", "load_task", "prompt"]

TaskReference = str | Mapping[str, Any]
"""The name of a task, the path of a task file, or the content of one."""


def load_task(task: TaskReference) -> Task:
    """The task's object. Raises ConfigError for an unknown name or a task file at fault."""
    if isinstance(task, str) and task in TASKS:
        return import_module(f"tripost_core.problems.{task}").TASK
    from tripost_core.problems.own import own_task

    return own_task(own_specification(task))


def own_specification(task: TaskReference) -> Any:
    """The `OwnTask` that a path or a mapping stands for. Raises ConfigError."""
    from tripost_core.problems.own_spec import is_task_file, parse_own_task, read_task_file

    if not isinstance(task, str):
        return parse_own_task(dict(task), f"The task {task.get('name', '')}".rstrip())
    if not is_task_file(task):
        raise ConfigError(f"There is no task {task!r}; the tasks are {', '.join(TASKS)}, or a task file (.yaml).")
    return read_task_file(Path(task))
