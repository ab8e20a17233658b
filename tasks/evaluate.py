"""The task `evaluate`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def evaluate(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """Greedy answers to the test questions, and what they are worth. Heavy."""
    return run_stage(request, deployment, fresh)
