"""Stage `select`: LMSI's training rows, the student's own attempts as they are (Huang et al. 2022; section 3.2)."""

from __future__ import annotations

from collections import Counter, defaultdict

from tripost_core.buffers import Row, read_rows
from tripost_core.config import LmsiConfig
from tripost_core.problems import Task, load_task
from tripost_core.problems.base import prompt
from tripost_core.replay.content import X_T
from tripost_core.replay.rows import Segments, segments, stable_id, text_of, training_row
from tripost_core.stages import StageContext, StageResult
from tripost_core.trajectory import Attempt

OWN = "own"
"""The bucket of these rows."""


def run(context: StageContext) -> StageResult:
    """Config: `keep` and `formats` of `LmsiConfig`; params: `task`, `iteration`; input: `trajectories`, of which the
    first attempts count.

    An attempt that is kept gives its whole text as a row, without feedback, and where `formats` says so its answer
    alone. Equal rows count once. Metrics: `num_prompts` (with a kept attempt), `by_bucket`.
    """
    task, config = load_task(context.params["task"]), LmsiConfig.model_validate(context.config)
    trajectories = [row for row in read_rows(context.inputs["trajectories"]) if row["turns"]]
    voted = majorities(trajectories, task) if config.keep == "majority" else {}
    dropped: Counter[str] = Counter()
    rows: dict[str, Row] = {}
    prompts = set()
    for trajectory in trajectories:
        attempt = trajectory["turns"][0]["attempt"]
        if reason := _reason(trajectory, attempt, task, config, voted):
            dropped[reason] += 1
            continue
        prompts.add(trajectory["problem_id"])
        written = [segments(task, trajectory["question"], attempt)]
        if config.formats == "rationale_and_answer":
            written.append(answer_only(task, trajectory["question"], attempt))
        for parts in written:
            row_id = stable_id(OWN, trajectory["problem_id"], text_of(parts))
            row = training_row(row_id, OWN, X_T, trajectory["problem_id"], context.params["iteration"], parts)
            rows.setdefault(row["row_id"], row)
    num_kept = len(trajectories) - dropped.total()
    return StageResult(
        schema="rows-1",
        rows=list(rows.values()),
        num_in=len(trajectories),
        num_kept=num_kept,
        dropped=dict(dropped),
        metrics={"num_prompts": len(prompts), "by_bucket": {OWN: len(rows)} if rows else {}},
    )


def majorities(trajectories: list[Row], task: Task) -> dict[str, str]:
    """{problem id: the answer that most of its attempts have}; of equally frequent ones that of the first sample."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for trajectory in sorted(trajectories, key=lambda row: row["sample"]):
        answer = task.extract_answer(trajectory["turns"][0]["attempt"])
        if answer is not None:
            votes[trajectory["problem_id"]][answer] += 1
    return {problem: counts.most_common(1)[0][0] for problem, counts in votes.items()}


def answer_only(task: Task, question: str, attempt: str) -> Segments:
    """The question, and the final line without its header in the place of a rationale."""
    final = Attempt.parse(attempt).final
    assert final is not None, "an attempt with an answer has a final line"
    start, label, _ = prompt(task, question).rpartition("\nAnswer:")
    return [{"role": "prompt", "text": f"{start}{label}"}, {"role": "attempt", "text": f" {final.body}"}]


def _reason(trajectory: Row, attempt: str, task: Task, config: LmsiConfig, voted: dict[str, str]) -> str | None:
    answer = task.extract_answer(attempt)
    if answer is None or Attempt.parse(attempt).final is None:
        return "no_answer"
    if trajectory["truncated"]:
        return "truncated"
    if config.keep == "majority":
        return None if answer == voted[trajectory["problem_id"]] else "not_the_majority"
    return None if task.is_right(attempt, trajectory["answer"]) else "wrong_answer"
