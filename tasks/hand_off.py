"""A heavy stage, handed to the GPU work pool: a flow run of its deployment, waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import TaskRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from tasks.errors import from_state
from tripost_core.buffers import Ref
from tripost_core.errors import ConfigError
from tripost_core.stages import StageRequest

PATIENCE_SECONDS = 300.0
"""How long the API may be away before we stop waiting for an answer."""


def hand_off(request: StageRequest, deployment: str, fresh: bool) -> Ref:
    """Runs a stage on the pool of `deployment` and returns its Ref.

    The idempotency key names this attempt of this task run: asked twice within it, there is one flow run, while a
    retry, or a later run of the whole, gets a new one and never the answer of one that failed.
    Raises what the flow run raised, RunLost where it was lost, ConfigError without such a deployment.
    """
    task_run = TaskRunContext.get().task_run  # type: ignore[union-attr]
    try:
        child = run_deployment(
            deployment,
            parameters={"request": request.model_dump(mode="json"), "fresh": fresh and task_run.run_count == 1},
            flow_run_name=request.label,
            idempotency_key=f"{request.key}-{task_run.id}-{task_run.run_count}",
            timeout=0,
        )
    except ObjectNotFound:
        raise ConfigError(f"There is no deployment {deployment}; `tripost up` makes it.") from None
    with get_client(sync_client=True) as client:
        try:
            state = _wait(client, child.id).state
        except BaseException:
            _cancel(client, child.id)
            raise
    assert state is not None
    if not state.is_completed():
        raise from_state(state.name or "", state.message or f"{request.label} was lost.", state.is_crashed())
    return Ref.model_validate(state.result())


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
