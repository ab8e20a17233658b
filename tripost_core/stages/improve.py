"""Stage `improve`: IMP repairs the last attempt of every open trajectory."""

from __future__ import annotations

from collections import Counter

from tripost_core.buffers import read_rows
from tripost_core.config import ExpertConfig
from tripost_core.editing import OPEN
from tripost_core.experts.editors import open_editor
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `ExpertConfig`; params: `task`, `iteration`, `round` (from 1); input: `trajectories`.

    Metrics: `num_improved`, and how many of these repairs are the attempt again (`num_unchanged`).
    """
    config = ExpertConfig.model_validate(context.config)
    params = context.params
    seed = f"{context.seed}/{params['iteration']}/{params['round']}"
    editor = open_editor(config, params["task"], seed, context.request.means, context.secrets)
    before = read_rows(context.inputs["trajectories"])
    after = editor.improve(before, context.progress)
    improved = [row["turns"] for row in after if row["status"] == OPEN]
    dropped = Counter(
        new["reason"] for old, new in zip(before, after, strict=True) if old["status"] == OPEN != new["status"]
    )
    return StageResult(
        schema="trajectories-2",
        rows=after,
        num_in=len(improved) + dropped.total(),
        num_kept=len(improved),
        dropped=dict(dropped),
        metrics={
            "num_improved": len(improved),
            "num_unchanged": sum(turns[-1]["attempt"] == turns[-2]["attempt"] for turns in improved),
        },
        expert=editor.figures(),
    )
