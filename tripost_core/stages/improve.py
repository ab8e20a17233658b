"""Stage `improve`: IMP repairs the last attempt of every open trajectory."""

from __future__ import annotations

from tripost_core.buffers import read_rows
from tripost_core.config import ExpertConfig
from tripost_core.editing import OPEN, improve
from tripost_core.experts import load_expert
from tripost_core.stages import StageContext, StageResult

_REPORT_EVERY = 50


def run(context: StageContext) -> StageResult:
    """Config: `ExpertConfig`; params: `task`, `iteration`, `round` (from 1); input: `trajectories`.

    Metrics: `num_improved`, and how many of these repairs are the attempt again (`num_unchanged`).
    """
    config = ExpertConfig.model_validate(context.config)
    params = context.params
    expert = load_expert(config, params["task"], f"{context.seed}/{params['iteration']}/{params['round']}")
    before = read_rows(context.inputs["trajectories"])
    after = []
    for done, trajectory in enumerate(before, 1):
        after.append(improve(trajectory, expert))
        if done % _REPORT_EVERY == 0 or done == len(before):
            context.progress("improve", done, len(before))
    improved = [row["turns"] for row in after if row["status"] == OPEN]
    return StageResult(
        schema="trajectories-1",
        rows=after,
        num_in=len(improved),
        num_kept=len(improved),
        metrics={
            "num_improved": len(improved),
            "num_unchanged": sum(turns[-1]["attempt"] == turns[-2]["attempt"] for turns in improved),
        },
        expert={"calls": len(improved), "cache_hits": 0, "cost_usd": 0.0},
    )
