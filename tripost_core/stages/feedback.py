"""Stage `feedback`: FBK judges every trajectory that is not at its end; round 0 edits the student's own turns."""

from __future__ import annotations

from collections import Counter

from tripost_core.buffers import read_rows
from tripost_core.config import ExpertConfig
from tripost_core.editing import CORRECT, DISCARDED, GENERATED, OPEN, graded, num_judgements, student_agreement
from tripost_core.experts.editors import open_editor
from tripost_core.problems import load_task
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `ExpertConfig`; params: `task`, `iteration`, `round`; input: `trajectories`.

    Metrics: `num_open`, `num_correct`, `num_directly_correct` (first attempt judged correct), `judged` (attempts), and
    in round 0 `error_classes` of the student's first attempts and `agreement` of its own feedback with FBK.
    """
    config = ExpertConfig.model_validate(context.config)
    params = context.params
    seed = f"{context.seed}/{params['iteration']}/{params['round']}"
    editor = open_editor(config, params["task"], seed, context.request.means, context.secrets)
    before = read_rows(context.inputs["trajectories"])
    task = load_task(params["task"])
    after = [graded(row, task) for row in editor.judge(before, config.max_rounds, context.progress)]
    num_judged = sum(num_judgements(old, new) for old, new in zip(before, after, strict=True))
    statuses = Counter(row["status"] for row in after)
    in_progress = [new for old, new in zip(before, after, strict=True) if old["status"] in (GENERATED, OPEN)]
    dropped = Counter(row["reason"] for row in in_progress if row["status"] == DISCARDED)
    metrics = {
        "num_open": statuses[OPEN],
        "num_correct": statuses[CORRECT],
        "num_directly_correct": sum(row["status"] == CORRECT and len(row["turns"]) == 1 for row in after),
        "judged": num_judged,
    }
    if context.params["round"] == 0:
        first = [row["turns"][0] for row in after if row["turns"]]
        classes = Counter(turn["error_class"] or "unnamed" for turn in first if turn["correct"] is False)
        metrics["error_classes"] = dict(sorted(classes.items()))
        metrics["agreement"] = student_agreement(after)
    return StageResult(
        schema="trajectories-2",
        rows=after,
        num_in=len(in_progress),
        num_kept=len(in_progress) - sum(dropped.values()),
        dropped=dict(dropped),
        metrics=metrics,
        expert=editor.figures(),
    )
