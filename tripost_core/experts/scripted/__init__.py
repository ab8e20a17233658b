"""Scripted experts: FBK and IMP for tasks whose steps a program can check. One file per task."""

from importlib import import_module

from tripost_core.experts.base import Expert
from tripost_core.problems import TASKS, TaskReference


def load_scripted_expert(task: TaskReference) -> Expert:
    """The scripted expert of a task: perfect for those that come with TriPosT, else the hooks of the task file.

    Raises ConfigError where there is none.
    """
    if isinstance(task, str) and task in TASKS:
        return import_module(f"tripost_core.experts.scripted.{task}").EXPERT
    from tripost_core.experts.scripted.own import hooked_expert

    return hooked_expert(task)
