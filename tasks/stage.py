"""What all stage tasks share: cache key, retries, names, where a stage runs, and who hears of it.

A stage task takes a StageRequest and returns the Ref of its committed output. Its Prefect result is that Ref as JSON,
under the stage's own key; it counts only as long as the output itself is there and intact.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, Protocol

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from tasks.errors import is_transient
from tasks.hand_off import hand_off, stop
from tasks.progress import ProgressArtifact
from tasks.secrets import secrets_of
from tripost_core.buffers import Ref, read_manifest
from tripost_core.config import ComputeConfig
from tripost_core.progress import format_seconds
from tripost_core.stages import STAGES, Progress, StageRequest, committed, execute

RETRIES = 2
RETRY_DELAYS_SECONDS = [2.0, 15.0]
_log = logging.getLogger("tripost_core.tasks")


class Display(Protocol):
    """Told of stages as they start, advance and end (`tripost_core.progress.ProgressDisplay`)."""

    def started(self, label: str) -> None: ...
    def advanced(self, label: str, what: str, done: int, total: int) -> None: ...
    def finished(self, label: str, text: str) -> None: ...


class RunOptions(NamedTuple):
    """How the stages of the flow at hand are run; not part of what they compute."""

    compute: ComputeConfig = ComputeConfig()
    fresh: bool = False
    display: Display | None = None


options: ContextVar[RunOptions] = ContextVar("options", default=RunOptions())  # noqa: B039  it is frozen


class StageTask:
    """A Prefect task that is called with a request alone; `task` is the Prefect object."""

    def __init__(self, function: Callable[..., Ref]) -> None:
        self.__doc__ = function.__doc__
        self.task: Task[..., Ref] = Task(
            function,
            name=function.__module__.rpartition(".")[2],
            task_run_name=_task_run_name,
            cache_key_fn=cache_key,
            persist_result=True,
            result_serializer="json",
            retries=RETRIES,
            retry_delay_seconds=RETRY_DELAYS_SECONDS,
            retry_jitter_factor=0.5,
            retry_condition_fn=_is_worth_a_retry,
        )

    def each(self, requests: Sequence[StageRequest]) -> list[Ref]:
        """The outputs of several requests, in their order. On a pool they are worked on side by side, else one after
        the other. Raises the first error, after the others have ended; where this run is being ended, what is on the
        pool is cancelled and not waited for."""
        if len(requests) == 1 or options.get().compute.heavy != "pool":
            return [self(request) for request in requests]
        ended = threading.Event()
        with ThreadPoolExecutor(len(requests), "stage") as threads:
            contexts = [copy_context() for _ in requests]
            for context in contexts:
                context.run(stop.set, ended)
            try:
                running = [
                    threads.submit(context.run, self, request)
                    for context, request in zip(contexts, requests, strict=True)
                ]
                return [future.result() for future in running]
            except Exception:
                raise
            except BaseException:  # a signal, which reaches this thread alone
                ended.set()
                raise

    def __call__(self, request: StageRequest) -> Ref:
        """The committed output: found, taken over or computed, here or on the pool. Raises TripostError."""
        compute, fresh, display = options.get()
        handed_off = compute.heavy == "pool" and STAGES[request.stage].heavy
        present = None if fresh else committed(request)
        if display is not None:
            display.started(request.label)
        arguments = (request, compute.deployment if handed_off else None, fresh)
        # Prefect's cached reference is worth nothing when the files are gone, or when they were written anew by a run
        # that does not share its cache.
        ref = self.task.with_options(refresh_cache=present is None)(*arguments)
        if present is not None and ref != present:
            ref = self.task.with_options(refresh_cache=True)(*arguments)
        if display is not None:
            display.finished(request.label, _outcome(ref, was_present=present is not None))
        return ref


def run_stage(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """The body of every stage task: handed to `deployment`, or computed in this process. Raises TripostError."""
    attempt = TaskRunContext.get().task_run.run_count  # type: ignore[union-attr]
    if deployment is not None:
        return hand_off(request, deployment, fresh, key_in_run(request))
    if attempt > 1:
        _free_memory()
    # A retry goes on from what the first attempt left, even in a fresh run.
    return compute_stage(request, fresh and attempt == 1, options.get().display)


def compute_stage(request: StageRequest, fresh: bool = False, display: Display | None = None) -> Ref:
    """Runs a stage here, with its progress as an artifact. Raises TripostError."""
    logging.getLogger("tripost_core").setLevel(logging.INFO)
    # Of the stages that take long: heavy ones, and those that call an expert model.
    artifact = ProgressArtifact(request.label) if STAGES[request.stage].heavy or request.means else None

    def progress(what: str, done: int, total: int) -> None:
        if artifact is not None:
            artifact.update(what, done, total)
        if display is not None:
            display.advanced(request.label, what, done, total)

    reported: Progress = progress
    ref = execute(request, reported, fresh, secrets_of(request))
    if artifact is not None:
        artifact.close()
    _log.info("%s: %s", request.label, _outcome(ref, was_present=False))
    return ref


def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Of a stage task's result."""
    return key_in_run(parameters["request"])


def key_in_run(request: StageRequest) -> str:
    """`train-v1-0123456789abcdef-89abcdef`: the stage's key, and its store, so that two runs never share a result."""
    place = hashlib.sha256(f"{request.store} {request.label}".encode()).hexdigest()[:8]
    return f"{request.key}-{place}"


def _task_run_name(parameters: dict[str, Any]) -> str:
    """`tripost-2/feedback-1` -> `feedback-1 tripost-2`."""
    return " ".join(reversed(parameters["request"].label.split("/")))


def _is_worth_a_retry(task: Task[..., Ref], run: TaskRun, state: State[Ref]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


def _free_memory() -> None:
    """What the failed attempt held, on a GPU above all."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _outcome(ref: Ref, was_present: bool) -> str:
    if was_present:
        return "done before"
    manifest = read_manifest(ref.uri) or {}
    dropped = sum((manifest.get("dropped") or {}).values())
    parts = [f"{manifest.get('kept', ref.num_rows)} of {manifest['in']} kept"] if manifest.get("in") else []
    parts += [f"{dropped} dropped"] if dropped else []
    return ", ".join([*parts, format_seconds(manifest.get("seconds", 0.0))])
