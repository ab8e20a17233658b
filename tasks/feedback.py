"""The task `feedback`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def feedback(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """FBK: judges the open attempts; in round 0 it edits the student's own feedback (section 2.2)."""
    return run_stage(request, deployment, fresh)
