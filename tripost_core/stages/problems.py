"""Stage `problems`: the questions of all splits."""

from __future__ import annotations

from collections import Counter

from tripost_core.buffers import Row
from tripost_core.config import DataConfig
from tripost_core.problems import Problem, load_task
from tripost_core.problems.splits import make_splits
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `DataConfig`; params: `task`. Raises DataError."""
    task = load_task(context.params["task"])
    splits = make_splits(task, DataConfig.model_validate(context.config), context.seed)
    # A replaced or missing rationale loses no question, so it is a figure and not a drop.
    figures = ("rationale_not_right", "no_rationale")
    dropped = {reason: n for reason, n in splits.dropped.items() if reason not in figures}
    return StageResult(
        schema="problems-1",
        rows=[problem_row(problem) for problem in splits.problems],
        num_in=len(splits.problems) + sum(dropped.values()),
        num_kept=len(splits.problems),
        dropped=dropped,
        metrics={
            "by_split": dict(Counter(problem.split for problem in splits.problems)),
            "by_subtask": {
                split: dict(Counter(p.subtask for p in splits.problems if p.split == split))
                for split in dict.fromkeys(p.split for p in splits.problems)
            },
            "rationales_replaced": splits.dropped.get("rationale_not_right", 0),
            "rationales_missing": splits.dropped.get("no_rationale", 0),
        },
    )


def problem_row(problem: Problem) -> Row:
    """A row of `problems-1`."""
    return {
        "problem_id": problem.id,
        "task": problem.task,
        "subtask": problem.subtask,
        "seen": problem.seen,
        "question": problem.question,
        "answer": problem.answer,
        "split": problem.split,
        "rationale": problem.rationale,
    }
