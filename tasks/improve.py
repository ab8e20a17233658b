"""The task `improve`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def improve(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """IMP: rewrites each open attempt from its first wrong step on (section 2.2)."""
    return run_stage(request, deployment, fresh)
