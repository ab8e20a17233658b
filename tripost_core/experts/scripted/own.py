"""FBK and IMP for a task of one's own, by the hooks of its task file.

    feedback(question, attempt, answer)
        None where the attempt is right, else a mapping with `step`, `segment`, `reason` and, for the report, `kind`
    improve(question, attempt, answer, feedback)
        the attempt with the lines before the error kept and the rest rewritten

For a row where a hook raises, or answers in another shape, there is no answer; the run goes on and counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tripost_core.errors import ConfigError, DataError
from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems import Problem, TaskReference, load_task
from tripost_core.trajectory import Attempt, Feedback


class HookedExpert:
    """See `experts.base.Expert`; raises DataError for a row that a hook cannot handle."""

    def __init__(self, name: str, feedback: Callable[..., Any], improve: Callable[..., Any]) -> None:
        self.name = f"{name}-script"
        self._feedback = feedback
        self._improve = improve

    def feedback(self, problem: Problem, attempt: str) -> Verdict:
        told = self._call(self._feedback, problem.question, attempt, problem.answer)
        if told is None:
            return Verdict(True)
        if not isinstance(told, Mapping) or not told.get("step") or not told.get("reason"):
            raise DataError("The hook `feedback` returns neither None nor a mapping with `step` and `reason`.")
        step, segment = str(told["step"]), told.get("segment")
        lines = [s.line for s in Attempt.parse(attempt).steps if s.header == step]
        if segment is not None and lines and str(segment) not in lines[0]:
            raise DataError(
                f"The hook `feedback` names a segment that step {step} does not have: {str(segment)[:60]!r}."
            )
        segment = str(segment) if segment else (lines[0] if lines else None)
        return Verdict(False, step, segment, str(told.get("kind") or "other"), str(told["reason"]))

    def improve(self, problem: Problem, attempt: str, feedback: str) -> str:
        if Feedback.parse(feedback).terminal:
            return attempt
        improved = self._call(self._improve, problem.question, attempt, problem.answer, feedback)
        if not isinstance(improved, str) or not improved.strip():
            raise DataError("The hook `improve` returns no text.")
        return improved

    def _call(self, hook: Callable[..., Any], *arguments: str) -> Any:
        try:
            return hook(*arguments)
        except Exception as error:
            raise DataError(f"The hook `{hook.__name__}` ends with {type(error).__name__}: {error}.") from error


def hooked_expert(task: TaskReference) -> Expert:
    """Raises ConfigError where the task has no hooks for an expert."""
    loaded = load_task(task)
    hooks = getattr(loaded, "hooks", {})
    if "feedback" not in hooks or "improve" not in hooks:
        raise ConfigError(
            f"The task {loaded.name} has no script with `feedback` and `improve`, so its expert has to be a model: "
            "expert.kind: llm."
        )
    return HookedExpert(loaded.name, hooks["feedback"], hooks["improve"])
