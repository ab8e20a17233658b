"""The flow `heavy-stage`, deployment `a100`: one stage, on the machine of the GPU work pool."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.start import logs_connected
from tasks.errors import state_name
from tasks.stage import compute_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


def _run_name() -> str:
    request = flow_run.parameters["request"]
    return request.label if isinstance(request, StageRequest) else request["label"]


@flow(name="heavy-stage", flow_run_name=_run_name, persist_result=True, result_serializer="json")
def heavy_stage(request: StageRequest, fresh: bool = False) -> Ref:
    """Computes one stage and returns its Ref. A stage that is committed already is not computed again, unless `fresh`.

    What failed is told in the name of the state, for the run that waits (`tasks.hand_off`) and for whoever looks.

    Args:
        request: the stage, its configuration and its inputs
        fresh: compute it again, even if it is committed
    """
    try:
        with logs_connected():
            return compute_stage(request, fresh)
    except Exception as error:
        name = state_name(error)
        if name is None:
            raise
        return Failed(name=name, message=str(error) or type(error).__name__)  # type: ignore[return-value]
