"""Prompts of an expert model: one YAML file per task, with its examples (form-type few-shot prompting, section 2.2).

A file says what the task is and shows a few wrong attempts with their first error and their repair; FBK's, IMP's and
the rationale prompt are all made of these (`experts/messages.py`). Its version is part of every cache key and every
row, and so is a hash of its content: an edited file never meets the answers of the old one.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tripost_core.errors import ConfigError
from tripost_core.problems import TaskReference
from tripost_core.trajectory import FINAL, Attempt, error_feedback
from tripost_core.yaml_file import parse_yaml, validated

SHIPPED = Path(__file__).parent


class Example(BaseModel):
    """A wrong attempt, where and why it is wrong, and its repair."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    answer: str
    attempt: str
    error_step: str = Field(description='"3", "3.2.1" or "final"')
    error_segment: str = Field(description="a verbatim part of that step's line")
    error_kind: str | None = None
    reason: str
    improved: str = Field(description="the attempt with every line before the error kept")
    rationale: str | None = Field(None, description="a right answer from scratch; empty = `improved`")

    @model_validator(mode="after")
    def _is_consistent(self) -> Example:
        for field in ("question", "answer", "attempt", "improved", "reason"):
            if not getattr(self, field).strip():
                raise ValueError(f"{field} is empty")
        attempt, improved = Attempt.parse(self.attempt), Attempt.parse(self.improved)
        index = attempt.index_of(self.error_step)
        if index is None:
            raise ValueError(f"the attempt has no step {self.error_step}")
        if self.error_segment not in attempt.steps[index].line:
            raise ValueError(f"step {self.error_step} of the attempt does not have {self.error_segment!r} in it")
        if improved.steps[:index] != attempt.steps[:index]:
            raise ValueError(f"the improved attempt changes a step before step {self.error_step}")
        if improved.steps[-1].header != FINAL:
            raise ValueError("the improved attempt does not end with its (Final response) line")
        return self

    @property
    def feedback(self) -> str:
        """The sentence, as the rows have it."""
        return error_feedback(Attempt.parse(self.attempt), self.error_step, self.error_segment, self.reason)


class PromptFile(BaseModel):
    """What an expert model is told about one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    task: str = Field(min_length=1, description="what is asked and how an attempt is written")
    checks: str = Field("", description="what to look at when judging a step")
    kinds: list[str] = Field(min_length=1, description="names for errors, counted in the report")
    examples: list[Example] = Field(min_length=1)

    @cached_property
    def identity(self) -> str:
        """`word_sorting-1-0123abcd`: name, version, hash of the content."""
        content = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]
        return f"{self.name}-{self.version}-{content}"


def load_prompts(path_or_task: TaskReference) -> PromptFile:
    """The prompts of a shipped task, of a task of one's own, or of a YAML file. Raises ConfigError."""
    if not isinstance(path_or_task, str):
        from tripost_core.problems import own_specification

        spec = own_specification(path_or_task)
        if spec.expert is None:
            raise ConfigError(f"The task {spec.name} has no section `expert`, which tells an expert model about it.")
        return parse_prompts({"name": spec.name, **spec.expert.model_dump()}, f"The task {spec.name}: expert")
    path = SHIPPED / f"{path_or_task}.yaml"
    if not path.is_file():
        path = Path(path_or_task)
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"There are no prompts for {path_or_task!r}: no such file, and no task of that name."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The prompt file {path} is not YAML: {' '.join(str(error).split())}.") from None
    return parse_prompts(data, str(path))


def parse_prompts(data: Any, source: str) -> PromptFile:
    """Plain data to prompts. Raises ConfigError that names the field."""
    return validated(PromptFile, data, source)
