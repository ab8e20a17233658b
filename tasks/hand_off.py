"""A heavy stage, handed to the GPU work pool: a flow run of its deployment, waited for.

The flow run's idempotency key is that of the stage and the number of an attempt. A run that is started again while the
pool still works for the one before takes up the flow run that is under way; one that failed, or was lost, or is being
cancelled is never taken up: the next attempt is a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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


def hand_off(request: StageRequest, deployment: str, fresh: bool, key: str) -> Ref:
    """Runs a stage on the pool of `deployment` and returns its Ref. `key`: of the stage in its run; see the module.

    Raises what the flow run raised, RunLost where it was lost, ConfigError without such a deployment.
    """
    task_run = TaskRunContext.get().task_run  # type: ignore[union-attr]
    fresh = fresh and task_run.run_count == 1
    if fresh:
        key = f"{key}-{task_run.id}"  # what is under way computes what is wanted no more
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
        state = child.state
        assert state is not None
        if state.is_completed() and committed(request) is not None:
            return child
        if state.is_final() or state.is_cancelling():
            continue
        if _is_lost(client, child):
            lost = Crashed(message=f"No heartbeat for {SILENCE_SECONDS:.0f} seconds; another attempt takes its place.")
            client.set_flow_run_state(child.id, lost, force=True)
            continue
        return child
    raise AssertionError("attempts never end")


def _is_lost(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether it says that it runs and has been silent for too long."""
    assert run.state is not None
    now = datetime.now(UTC)
    since = now - timedelta(seconds=SILENCE_SECONDS)
    if not run.state.is_running() or run.state.timestamp > since:
        return False
    wanted = {
        "occurred": {"since": since.isoformat(), "until": now.isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    return not client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()["events"]


def _wait(client: SyncPrefectClient, flow_run_id: UUID) -> FlowRun:
    last_answer = time.monotonic()
    for pause_seconds in _pauses():
        time.sleep(pause_seconds)
        try:
            flow_run = client.read_flow_run(flow_run_id)
        except httpx.TransportError:
            if time.monotonic() - last_answer > PATIENCE_SECONDS:
                raise
            continue  # a server that restarts does not end a training that goes on
        last_answer = time.monotonic()
        if flow_run.state is not None and flow_run.state.is_final():
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
