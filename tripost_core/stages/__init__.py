"""Stages: one file each, a function of (config, inputs by reference, seed) to one buffer or checkpoint.

`execute(request)` runs one in this process: a committed stage is returned as it is, anything else is computed and
committed with its manifest last. The Prefect tasks call nothing else, and neither does a GPU worker.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tripost_core.buffers import (
    Ref,
    Row,
    canonical_json,
    copy_file,
    fetch_directory,
    find,
    is_intact,
    is_local,
    join,
    write_buffer,
    write_manifest,
)
from tripost_core.errors import StorageError

_CACHE = Path.home() / ".cache" / "tripost"
"""On a machine that does not share the run's directory: checkpoints that were fetched, work that is under way."""
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, units done, units in all)."""


class Stage(NamedTuple):
    """`version` is raised when the code changes what a stage computes; it is part of the cache key."""

    version: int
    heavy: bool


STAGES: dict[str, Stage] = {
    "problems": Stage(1, heavy=False),
    "rationales": Stage(1, heavy=False),
    "generate": Stage(2, heavy=True),
    "gather": Stage(1, heavy=False),
    "select": Stage(1, heavy=False),
    "demonstrate": Stage(1, heavy=False),
    "feedback": Stage(2, heavy=False),
    "improve": Stage(1, heavy=False),
    "filter": Stage(2, heavy=False),
    "balance": Stage(3, heavy=False),
    "train": Stage(1, heavy=True),
    "evaluate": Stage(1, heavy=True),
}


class StageRequest(BaseModel):
    """All that determines a stage's result, and where to put it. JSON, so it can cross to another machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    label: str
    """Where in the run it stands, e.g. `iteration-1/feedback-0`; names the directory, not part of the key."""
    store: str
    """URI of the directory that holds the run's stages."""
    config: dict[str, Any] = {}
    """The part of the configuration that the stage reads."""
    params: dict[str, Any] = {}
    """Iteration, round, number of steps, ...: part of the key."""
    inputs: dict[str, Ref] = {}
    seed: int = 0
    means: dict[str, Any] = {}
    """How it is computed and not what (limits, budget): not part of the key. Never a secret."""

    @property
    def key(self) -> str:
        """`train-v1-0123456789abcdef`: stage, its version, and a hash of config, params, input digests and seed."""
        content = canonical_json(
            {
                "config": self.config,
                "params": self.params,
                "inputs": {name: ref.digest for name, ref in self.inputs.items()},
                "seed": self.seed,
            }
        )
        return f"{self.stage}-v{STAGES[self.stage].version}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def uri(self) -> str:
        """The directory of the stage's output."""
        return join(self.store, self.label, self.key)


@dataclass(frozen=True)
class StageContext:
    """What a stage function gets."""

    request: StageRequest
    work_dir: Path
    """Local, kept when the process is killed and removed when the stage is committed: for resuming."""
    progress: Progress
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Keys of endpoints by name, handed over in memory alone."""

    @property
    def config(self) -> dict[str, Any]:
        return self.request.config

    @property
    def params(self) -> dict[str, Any]:
        return self.request.params

    @property
    def inputs(self) -> dict[str, Ref]:
        return self.request.inputs

    @property
    def seed(self) -> int:
        return self.request.seed


@dataclass
class StageResult:
    """What a stage function returns: rows of a schema, or a local checkpoint directory."""

    schema: str = ""
    rows: list[Row] | Iterator[pa.Table] = field(default_factory=list)
    """Dictionaries in any order, or tables in canonical order, which are made while they are written; what follows is
    read when they are."""
    side_rows: list[Row] = field(default_factory=list)
    checkpoint: Path | None = None
    num_in: int = 0
    num_kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    """Further figures for the report; not part of any digest."""
    expert: dict[str, float] = field(default_factory=dict)
    """`calls`, `cache_hits`, `cost_usd` where an expert was asked."""


def committed(request: StageRequest) -> Ref | None:
    """The stage's output if it is there and intact, else None."""
    ref = find(request.uri) if _exists(request.uri) else None
    return ref if ref is not None and is_intact(ref) else None


def _exists(uri: str) -> bool:
    try:
        return find(uri) is not None
    except (StorageError, KeyError):
        return False  # an unreadable manifest is no manifest: the stage is done again


def execute(
    request: StageRequest,
    progress: Progress | None = None,
    fresh: bool = False,
    secrets: Mapping[str, str] | None = None,
) -> Ref:
    """The committed output of a stage, computed now unless it is there (`fresh`: even then).

    Raises TripostError where the configuration, storage or model is at fault.
    """
    if not fresh and (ref := committed(request)) is not None:
        return ref
    started = time.time()
    work_dir = _work_dir(request)
    if fresh:
        shutil.rmtree(work_dir, ignore_errors=True)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{work_dir} cannot be created: {error.strerror}.") from None
    function = import_module(f"tripost_core.stages.{request.stage}").run
    result: StageResult = function(StageContext(request, work_dir, progress or (lambda *_: None), secrets or {}))

    def about() -> dict[str, Any]:
        return {
            "stage": request.stage,
            "label": request.label,
            "key": request.key,
            "request": request.model_dump(mode="json"),
            "in": result.num_in,
            "kept": result.num_kept,
            "dropped": dict(sorted(result.dropped.items())),
            "metrics": result.metrics,
            "expert": result.expert,
            "started": started,
            "seconds": time.time() - started,
        }

    if result.checkpoint is not None:
        ref = _commit_checkpoint(request.uri, result.checkpoint, about())
    else:
        ref = write_buffer(request.uri, result.schema, result.rows, result.side_rows, about)
    shutil.rmtree(work_dir, ignore_errors=True)
    return ref


def _work_dir(request: StageRequest) -> Path:
    root = Path(request.store.removeprefix("file://")) if is_local(request.store) else _CACHE
    return root / ".work" / request.key


def _commit_checkpoint(uri: str, source: Path, about: dict[str, Any]) -> Ref:
    """Copies the files of a finished checkpoint and writes the manifest last."""
    from tripost_core.lm.student import checkpoint_digest

    files = sorted(path for path in source.iterdir() if path.is_file())
    shards = [{"file": path.name, "sha256": copy_file(path, join(uri, path.name))} for path in files]
    ref = Ref(uri=uri, digest=checkpoint_digest(source), kind="checkpoint", num_rows=0)
    write_manifest(uri, {**about, **ref.model_dump(exclude={"uri"}), "shards": shards, "side": []})
    return ref


def local_checkpoint(ref: Ref) -> Path:
    """A local directory with the checkpoint's files; fetched to a cache where the store is remote. Raises
    StorageError."""
    if is_local(ref.uri):
        return Path(ref.uri.removeprefix("file://"))
    target = _CACHE / "checkpoints" / ref.digest[:32]
    if not target.is_dir():
        fetch_directory(ref.uri, target)
    return target
