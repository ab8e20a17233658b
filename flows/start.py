"""What happens around the body of the flow `tripost`: seed, directory, lock, logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from flows.output_lock import output_lock
from tasks.secrets import secrets_for
from tasks.stage import options
from tripost_core.buffers import Ref
from tripost_core.config import RunConfig
from tripost_core.plan import RunPlan
from tripost_core.record import fingerprint


class Start(NamedTuple):
    """Where every method begins."""

    problems: Ref
    gold: Ref
    """Training rows of the gold rationales."""
    student: Ref
    """ft rationale."""


@contextmanager
def started(config: RunConfig, output: str, fresh: bool, seed_from_date: bool) -> Iterator[RunPlan]:
    """The plan of a run whose directory is ours for the block. Raises ConfigError where another process has it, and
    as `check` does."""
    config = seeded(config) if seed_from_date else config
    directory = Path(output or default_output(config)).absolute()
    in_force = options.get()._replace(compute=config.compute, fresh=fresh)
    token = options.set(in_force)
    try:
        with output_lock(directory), logs_connected():
            check(config)
            yield RunPlan(config, directory)
    finally:
        options.reset(token)


def check(config: RunConfig) -> None:
    """What would fail after hours fails now: the student, and the address, key and price of an expert model.

    Raises ConfigError, ModelError.
    """
    from tripost_core.experts.asking import check_calls
    from tripost_core.lm.student import resolve_student

    if config.expert.kind == "llm":
        check_calls(config.expert, config.calls, secrets_for(config.calls))
    resolve_student(config.student.model)


def seeded(config: RunConfig) -> RunConfig:
    """The seed YYYYMMDD of the scheduled date (UTC): every night another run, while a retry of a run stays itself."""
    date = flow_run.scheduled_start_time
    return config.model_copy(update={"seed": int(date.strftime("%Y%m%d"))})


def default_output(config: RunConfig) -> str:
    """`runs/word_sorting-seed-0-0123abcd`: one directory per configuration, so that a rerun finds what is done."""
    return f"runs/{config.task_name}-seed-{config.seed}-{fingerprint(config)[:8]}"


def run_name() -> str:
    """Of the flow run: the task, and the directory where one was given."""
    parameters = flow_run.parameters
    config, output = parameters["config"], parameters.get("output")
    task = config.task_name if isinstance(config, RunConfig) else _task_name(config.get("task", "multistep_arithmetic"))
    return f"{task} {Path(output).name}" if output else task


def _task_name(task: str | dict[str, Any]) -> str:
    return str(task["name"]) if isinstance(task, dict) else Path(task).stem


@contextmanager
def logs_connected() -> Iterator[None]:
    """Sends what `tripost_core` logs, from INFO on, to the flow run's page for the block."""
    logger = logging.getLogger("tripost_core")
    logger.setLevel(logging.INFO)
    # PREFECT_LOGGING_EXTRA_LOGGERS does the same, where it was set before Prefect was imported.
    if any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        yield
        return
    handler = APILogHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)  # the server may be gone after the block
