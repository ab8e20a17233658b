"""The task `rationales`."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.stages import StageRequest


@StageTask
def write_rationales(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """Gold rationales that are missing, written by the expert model and kept when right (Appendix A)."""
    return run_stage(request, deployment, fresh)
