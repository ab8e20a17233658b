"""The task `balance`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def balance(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """The training rows: improvement, directly correct and gold in the configured mix (section 2.3)."""
    return run_stage(request, deployment, fresh)
