"""A task of one's own, as plain data: where the questions are, how they read, how an answer is found and compared.

A page of YAML (`tripost init` writes one); `problems.own` makes a `Task` of it. The whole specification, hooks
included, goes into a run's configuration and into the keys of its stages, so a changed grader is a new run and a worker
on another machine needs no copy of the file.
"""

from __future__ import annotations

import os
import re
import string
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tripost_core.errors import ConfigError
from tripost_core.problems.names import TASKS
from tripost_core.yaml_file import read_yaml, validated

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _pattern(text: str | None, groups: int | None = None) -> str | None:
    if text is None:
        return None
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    if groups is not None and compiled.groups != groups:
        raise ValueError(f"{text!r} needs exactly {groups} group in round brackets")
    return text


class Fields(_Model):
    """Which fields of a line of the question files hold what."""

    question: str = "question"
    answer: str = "answer"
    rationale: str | None = Field(None, description="a worked solution; empty = there is none")
    options: str | None = Field(None, description="a list or mapping of choices, appended to the question")
    subtask: str | None = Field(None, description="a group that scores are reported by")


class Prompting(_Model):
    """How a prompt reads."""

    question: str = Field("{question}", description="any field of the line may stand in braces")
    header: str = Field("Answer: Let's think step by step.", description="the line that an attempt follows")

    @field_validator("header")
    @classmethod
    def _one_line(cls, header: str) -> str:
        if not header.startswith("Answer:") or "\n" in header:
            raise ValueError("is one line that begins with `Answer:`")
        return header


class Answering(_Model):
    """How the answer of an attempt is found, and what makes it right."""

    find: str = Field(
        r"answer is:?\s*(.+)", description="in the final line; its group is the answer, the last match counts"
    )
    where: Literal["final_line", "attempt"] = Field("final_line", description="`attempt`: in the whole attempt")
    gold: str | None = Field(
        None, description="in the answer field; its group is the gold answer; empty = the whole field"
    )
    compare: Literal["exact", "number", "choice", "set"] = Field(
        "exact", description="choice: a letter; set: parts in any order"
    )
    tolerance: float = Field(0.0, ge=0, description="number: largest difference that is still right")
    relative_tolerance: float = Field(0.0, ge=0, description="number: the same, as a share of the gold answer")
    ignore_case: bool = Field(True, description="exact and set")
    separator: str = Field(",", min_length=1, description="set: between the parts")
    final_line: str = Field("So the answer is {answer}.", description="how a gold rationale ends")
    consistency: Literal["step_before", "off"] = Field(
        "step_before", description="the step before the final line has to state the final answer"
    )

    @field_validator("find")
    @classmethod
    def _find_is_a_pattern(cls, text: str) -> str:
        return _pattern(text, 1) or text

    @field_validator("gold")
    @classmethod
    def _gold_is_a_pattern(cls, text: str | None) -> str | None:
        return _pattern(text, 1)

    @model_validator(mode="after")
    def _fits_together(self) -> Answering:
        if "{answer}" not in self.final_line or "\n" in self.final_line:
            raise ValueError("final_line is one line with {answer} in it")
        # A pattern may allow a few answers alone, so what it names is tried, too; `tripost data check` tries them all.
        probes = [*string.digits, *string.ascii_letters, "yes", "no", "true", "false", *re.findall(r"\w+", self.find)]
        for probe in probes:
            match = re.search(self.find, self.final_line.replace("{answer}", probe))
            if match is not None and probe in (match[1] or ""):
                return self
        raise ValueError("find does not find the answer in final_line")


class Rationales(_Model):
    """How a worked solution becomes numbered steps: one a line that is not empty, unless it is numbered already."""

    remove: list[str] = Field([], description="regular expressions; what they match is taken out")

    @field_validator("remove")
    @classmethod
    def _are_patterns(cls, texts: list[str]) -> list[str]:
        return [_pattern(text) or text for text in texts]


class Expertise(_Model):
    """What an expert model is told about the task; see `experts/prompts`."""

    version: int = Field(1, ge=1)
    task: str = Field(min_length=1, description="what is asked and how an attempt is written")
    checks: str = ""
    kinds: list[str] = Field(["calculation", "misread_question", "wrong_reasoning", "inconsistent_final"], min_length=1)
    examples: list[dict[str, Any]] = Field(min_length=1)


class OwnTask(_Model):
    """A task file."""

    name: str
    train_file: str | None = Field(None, description="JSONL, beside this file")
    test_file: str | None = None
    holdout: float = Field(
        0.0, ge=0, lt=1, description="share of train_file kept for the test where there is no test_file"
    )
    fields: Fields = Fields()
    prompt: Prompting = Prompting()
    answer: Answering = Answering()
    rationale: Rationales = Rationales()
    seen: list[str] | None = Field(None, description="subtasks to train on; empty = all; the others are only tested")
    expert: Expertise | None = None
    script: str | None = Field(None, description="a Python file with hooks, beside this file")
    hooks: str | None = Field(None, description="the content of `script`; filled in when the file is read")
    path: str | None = Field(None, description="of this file; filled in when it is read")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("is not of small letters, digits and _, with a letter first")
        if name in TASKS:
            raise ValueError(f"is that of a task that comes with TriPosT ({', '.join(TASKS)})")
        return name

    @property
    def content(self) -> dict[str, Any]:
        """All that can change a result: everything but where the files are."""
        return self.model_dump(mode="json", exclude={"train_file", "test_file", "script", "path"})


def is_task_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def read_task_file(path: Path) -> OwnTask:
    """A task file, with the places of its question files and the content of its script. Raises ConfigError."""
    data = read_yaml(path, "task file")
    task = parse_own_task(data, f"The task file {path}")
    beside = path.absolute().parent
    placed: dict[str, Any] = {
        key: os.path.normpath(beside / value)
        for key in ("train_file", "test_file")
        if (value := getattr(task, key)) is not None
    }
    if task.script is not None:
        placed["hooks"] = _source(beside / task.script)
    return task.model_copy(update={**placed, "path": str(path)})


def parse_own_task(data: Any, source: str) -> OwnTask:
    """Plain data to a task. Raises ConfigError that names the key."""
    return validated(OwnTask, data, source)


def _source(path: Path) -> str:
    try:
        source = path.read_text(encoding="utf-8")
        compile(source, str(path), "exec")
    except FileNotFoundError:
        raise ConfigError(f"There is no script {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The script {path} cannot be read: {error}.") from None
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"The script {path} is not Python: {error}.") from None
    return source
