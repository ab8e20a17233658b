"""The task `generate`, and `gather`, which joins what several of it wrote."""

from __future__ import annotations

from tasks.stage import StageTask, run_stage
from tripost_core.buffers import Ref
from tripost_core.plan import RunPlan
from tripost_core.stages import StageRequest


@StageTask
def generate(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """The student's own trajectories for every training prompt, or a shard of them (section 2.2). Heavy."""
    return run_stage(request, deployment, fresh)


@StageTask
def gather(request: StageRequest, deployment: str | None, fresh: bool) -> Ref:
    """The trajectories of all shards as one buffer."""
    return run_stage(request, deployment, fresh)


def generate_all(plan: RunPlan, name: str, student: Ref, problems: Ref, iteration: int) -> Ref:
    """As many `generate` as the configuration has shards, side by side on a pool, and their rows as one buffer."""
    shards = generate.each(plan.generate(name, student, problems, iteration))
    return shards[0] if len(shards) == 1 else gather(plan.gather(name, shards, iteration))
