"""The task `select`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def select(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """LMSI's training rows: the student's own attempts that are right, or that most of its samples agree on."""
    return run_stage(request, deployment, fresh)
