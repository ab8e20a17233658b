"""Scripted experts: FBK and IMP for tasks whose steps a program can check. One file per task."""

from importlib import import_module

from tripost_core.errors import ConfigError
from tripost_core.experts.base import Expert
from tripost_core.problems import TASKS


def load_scripted_expert(task: str) -> Expert:
    """The perfect scripted expert of a task. Raises ConfigError where there is none."""
    if task not in TASKS:
        raise ConfigError(f"There is no scripted expert for {task!r}; there is one for {', '.join(TASKS)}.")
    return import_module(f"tripost_core.experts.scripted.{task}").EXPERT
