"""The task `generate`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def generate(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """The student's own trajectories for every training prompt (section 2.2). Heavy."""
    return run_stage(request, deployment, fresh)
