"""The task `filter`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def filter_triplets(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """Splits trajectories into x_imp and x_T and keeps those worth training on (section 2.3)."""
    return run_stage(request, deployment, fresh)
