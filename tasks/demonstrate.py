"""The task `demonstrate`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def demonstrate(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """An expert's own attempts, some of them wrong: what ft SI. demo begins with."""
    return run_stage(request, deployment, fresh)
