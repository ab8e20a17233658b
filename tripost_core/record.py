"""`run.json`: what a run consists of, by reference. The report, `tripost show` and a later start of the run read it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tripost_core.buffers import Ref, canonical_json, is_intact, read_manifest
from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError, ModelError, StorageError
from tripost_core.problems.splits import file_digests

METHOD_NAMES = {
    "tripost": "TriPosT",
    "rationale": "ft rationale",
    "workings": "ft rationale with workings",
    "lmsi": "LMSI",
    "si-demo": "ft SI. demo",
}
_TRAINING = re.compile(r"train(?:-(\d+))?")
"""Stages that train: one of an iteration, several of a baseline that goes on (`train-1`, `train-2`, ...)."""


class Entry(BaseModel):
    """One row of the report: a trained student, its evaluation and the stages that led to it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    iteration: int | None
    stages: dict[str, Ref] = {}
    """By stage within the entry: `train`, `evaluate`, `generate`, `feedback-0`, `improve-1`, `filter`, `balance`."""

    @property
    def student(self) -> Ref | None:
        """The checkpoint of its last training."""
        trained = {int(part[1] or 0): ref for name, ref in self.stages.items() if (part := _TRAINING.fullmatch(name))}
        return trained[max(trained)] if trained else None


class RunRecord(BaseModel):
    """`run.json`: what a run consists of, by reference."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    run_id: str
    config: dict[str, Any]
    config_fingerprint: str
    prompts: str | None = None
    """Name, version and hash of the prompts of an expert model; None of a script."""
    base_digest: str | None = None
    """Of the student that the run started from, once it has been read."""
    problems: Ref | None = None
    entries: list[Entry] = []
    message: str = ""
    """Why the run ended before its t iterations; empty if it did not."""
    finished: bool = False

    @property
    def method(self) -> str:
        return str(self.config.get("method", "tripost"))

    @property
    def method_name(self) -> str:
        """As the paper writes it."""
        return METHOD_NAMES[self.method]

    @property
    def task_name(self) -> str:
        task = self.config["task"]
        return str(task["name"] if isinstance(task, dict) else task)

    @property
    def run_config(self) -> RunConfig:
        return RunConfig.model_validate(self.config)

    def student_entry(self, name: str | None = None) -> Entry:
        """The entry of this name, else the last that the method trained. Raises ConfigError if it has no student."""
        trained = [entry for entry in self.entries if entry.student is not None]
        if name is not None:
            for entry in trained:
                if entry.name == name:
                    return entry
            names = ", ".join(entry.name for entry in trained) or "none yet"
            raise ConfigError(f"The run has no trained student {name!r}; it has {names}.")
        if not self.own_students:
            raise ConfigError("The run has not trained a student yet.")
        return self.own_students[-1]

    @property
    def own_students(self) -> list[Entry]:
        """The entries with a student of the method, the start before it too, in order: without continued gold where
        that is what another method is compared with."""
        goes_on = self.method == "rationale"
        return [e for e in self.entries if e.student is not None and (goes_on or e.iteration is not None)]

    def references(self) -> list[Ref]:
        found = [] if self.problems is None else [self.problems]
        return found + [ref for entry in self.entries for ref in entry.stages.values()]


def fingerprint(config: RunConfig) -> str:
    """16 hex digits over everything in the configuration that can change a number."""
    return hashlib.sha256(canonical_json(config.results_part()).encode()).hexdigest()[:16]


def read_record(output: Path) -> RunRecord | None:
    """The record in a run's directory, or None. Raises StorageError where it is not one."""
    path = output / "run.json"
    if not path.exists():
        return None
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except ValueError:
        raise StorageError(f"{path} is not the record of a run.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None


def is_finished(record: RunRecord | None, config: RunConfig) -> bool:
    """Whether this run of exactly this configuration, these question files, prompts and starting student is done and
    every file of it intact. Prompts or a student that are gone or cannot be had leave it finished."""
    return (
        record is not None
        and record.finished
        and record.config_fingerprint == fingerprint(config)
        and _has_read(record, file_digests(config.data))
        and _had(record.prompts, lambda: prompts_identity(config))
        and _had(record.base_digest, lambda: base_student(config).digest)
        and all(is_intact(ref) for ref in record.references())
    )


def prompts_identity(config: RunConfig) -> str | None:
    """Of what an expert model is told; None of a script. Raises ConfigError."""
    if config.expert.kind == "script":
        return None
    from tripost_core.experts.messages import MESSAGES_VERSION
    from tripost_core.experts.prompts import load_prompts

    return f"{load_prompts(config.expert.prompts or config.task_reference).identity}.{MESSAGES_VERSION}"


def base_student(config: RunConfig) -> Ref:
    """The student that the configuration names, by the digest of its files. Raises ModelError, ConfigError."""
    from tripost_core.lm.student import checkpoint_digest, resolve_student

    directory = resolve_student(config.student.model)
    return Ref(uri=str(directory), digest=checkpoint_digest(directory), kind="checkpoint")


def _had(noted: str | None, now: Callable[[], str | None]) -> bool:
    """Whether what a run has noted of something is what is there now, or nothing can be said about it."""
    if noted is None:
        return True
    try:
        return now() == noted
    except (ConfigError, ModelError):
        return True


def _has_read(record: RunRecord, files: dict[str, str]) -> bool:
    """Whether the run's questions come from question files of this content."""
    if not files:
        return True
    manifest = read_manifest(record.problems.uri) if record.problems is not None else None
    return manifest is not None and manifest["request"]["params"].get("files") == files
