"""A heavy stage, handed to the GPU work pool: a flow run of its deployment, waited for.

The flow run's idempotency key is that of the stage and the number of an attempt. A run that is started again while the
pool still works for the one before takes up the flow run that is under way; one that failed, or was lost, or is being
cancelled is never taken up: the next attempt is a new one, and begins when the one before has ended.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import TaskRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from tasks.errors import from_state
from tripost_core.buffers import Ref
from tripost_core.errors import ConfigError
from tripost_core.stages import StageRequest, committed

PATIENCE_SECONDS = 300.0
"""How long the API may be away before we stop waiting for an answer."""
SILENCE_SECONDS = 150.0
"""A flow run that says it runs, without a heartbeat for so long, is lost; heartbeats come every 30 s (prefect.toml)."""
PENDING_SECONDS = 2100.0
"""A worker took it, and it does not run after so long: it is lost. A GPU node may have to be started first, and the
image to be pulled. One that waits for a worker or for a slot is Scheduled, and never lost."""
GIVEN_UP_MESSAGES = (
    "No heartbeat for 150 seconds; the process of this run is gone.",
    "It has been pending for 35 minutes; what should have started it is gone.",
)
"""Of deployments/automations: they see silence, as we do, and know no more than we whether something still trains."""
END_SECONDS = 60.0
"""How long a flow run that was cancelled may take to end; a worker kills a process after 30 s."""

stop: ContextVar[threading.Event] = ContextVar("stop", default=threading.Event())  # noqa: B039  never set
"""Once it is set, the threads that wait with it in their context cancel their flow runs and raise Stopped."""


class Stopped(BaseException):
    """The run that waited is being ended. No Exception: nothing catches it, and no task is tried again for it."""


def hand_off(request: StageRequest, deployment: str, fresh: bool, key: str) -> Ref:
    """Runs a stage on the pool of `deployment` and returns its Ref. `key`: of the stage in its run; see the module.

    Raises what the flow run raised, RunLost where it was lost, ConfigError without such a deployment.
    """
    task_run = TaskRunContext.get().task_run  # type: ignore[union-attr]
    fresh = fresh and task_run.run_count == 1
    if fresh:
        key = f"{key}-{task_run.id}"  # what is under way computes what is wanted no more
    if stop.get().is_set():
        raise Stopped
    with get_client(sync_client=True) as client:
        child = _under_way(client, request, deployment, fresh, key)
        try:
            state = _wait(client, child.id).state
        except BaseException:
            _cancel(client, child.id)
            raise
    assert state is not None
    if not state.is_completed():
        raise from_state(state.name or "", state.message or f"{request.label} was lost.", state.is_crashed())
    return Ref.model_validate(state.result())


def _under_way(client: SyncPrefectClient, request: StageRequest, deployment: str, fresh: bool, key: str) -> FlowRun:
    """The flow run of the first attempt that is neither over nor lost; a new one where there is none."""
    for attempt in count(1):
        try:
            child = run_deployment(
                deployment,
                parameters={"request": request.model_dump(mode="json"), "fresh": fresh},
                flow_run_name=request.label,
                idempotency_key=f"{key}-{attempt}",
                timeout=0,
            )
        except ObjectNotFound:
            raise ConfigError(f"There is no deployment {deployment}; `tripost up` makes it.") from None
        assert child.state is not None
        if child.state.is_cancelling() or _is_lost(client, child):
            child = _ended(client, child)
        state = child.state
        assert state is not None
        if not state.is_final() or (state.is_completed() and committed(request) is not None):
            return child
    raise AssertionError("attempts never end")


def _is_lost(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether it says that it runs, or is about to, and has been silent for too long; or was given up for that."""
    assert run.state is not None
    if run.state.is_crashed():
        return run.state.message in GIVEN_UP_MESSAGES
    now = datetime.now(UTC)
    if run.state.is_pending():
        return run.state.timestamp < now - timedelta(seconds=PENDING_SECONDS)
    since = now - timedelta(seconds=SILENCE_SECONDS)
    if not run.state.is_running() or run.state.timestamp > since:
        return False
    wanted = {
        "occurred": {"since": since.isoformat(), "until": now.isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    return not client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()["events"]


def _ended(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """The flow run, cancelled by its worker, or set to Crashed where no worker does so in time.

    What is only silent may still train, and two trainings must not share a work directory: a worker that lives ends it.
    """
    assert run.state is not None
    silent = Cancelling(message="It is silent; another attempt takes its place.")
    client.set_flow_run_state(run.id, silent, force=run.state.is_crashed())
    run = _wait(client, run.id, END_SECONDS)
    if run.state is None or not run.state.is_final():
        lost = Crashed(message="It is silent, and no worker has cancelled it; another attempt takes its place.")
        client.set_flow_run_state(run.id, lost, force=True)
        run = client.read_flow_run(run.id)
    return run


def _wait(client: SyncPrefectClient, flow_run_id: UUID, seconds: float = math.inf) -> FlowRun:
    """The flow run as soon as it is over, or as it is after `seconds`. Raises Stopped."""
    started = last_answer = time.monotonic()
    for pause_seconds in _pauses():
        if stop.get().wait(pause_seconds):
            raise Stopped
        try:
            flow_run = client.read_flow_run(flow_run_id)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            at_fault = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
            if at_fault or time.monotonic() - last_answer > PATIENCE_SECONDS:
                raise
            continue  # a server, or its database, that restarts does not end a training that goes on
        last_answer = time.monotonic()
        if last_answer - started > seconds or (flow_run.state is not None and flow_run.state.is_final()):
            return flow_run
    raise AssertionError("the pauses never end")


def _pauses() -> Iterator[float]:
    for _ in range(60):
        yield 0.5
    while True:
        yield 5.0


def _cancel(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    """Nobody waits for it any more. A run that cannot be told so ends on its own."""
    try:
        client.set_flow_run_state(flow_run_id, Cancelling(message="The run that waited for it has ended."))
    except httpx.HTTPError:
        pass
