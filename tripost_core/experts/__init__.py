"""FBK and IMP, the expert modules that criticise and repair the student's attempts (paper section 2.2).

This file imports nothing heavy: the scripted experts below it serve `tripost oracle`, which has to start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tripost_core.config import ExpertConfig
    from tripost_core.experts.base import Expert
    from tripost_core.problems import TaskReference


def load_expert(config: ExpertConfig | Mapping[str, Any], task: TaskReference, seed: int | str) -> Expert:
    """The expert that a configuration names, erring at its `mistake_rate`.

    `seed` decides which judgements and repairs are wrong; with the round in it, an expert that erred once about an
    attempt does not err for ever. Raises ConfigError where the task has no such expert.
    """
    from tripost_core.config import ExpertConfig
    from tripost_core.experts.fallible import FallibleExpert
    from tripost_core.experts.scripted import load_scripted_expert

    checked = config if isinstance(config, ExpertConfig) else ExpertConfig.model_validate(dict(config))
    expert = load_scripted_expert(task)
    if checked.checks:
        from tripost_core.experts.checks import CheckingExpert

        expert = CheckingExpert(expert, task)
    return FallibleExpert(expert, checked.mistake_rate, seed) if checked.mistake_rate > 0 else expert
