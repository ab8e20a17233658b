"""The task `train`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def train(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """Weighted supervised learning from the previous student (section 2.4). Heavy."""
    return run_stage(request, deployment, fresh)
