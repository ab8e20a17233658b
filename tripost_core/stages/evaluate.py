"""Greedy answers to the test questions, with the student's own improvements."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tripost_core.buffers import Row
from tripost_core.editing import problem_of
from tripost_core.experts.base import judgement
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.lm.self_improve import SelfImprovement
from tripost_core.metrics import evaluate_rows, own_feedback
from tripost_core.problems import TASKS, Problem, Task, TaskReference, load_task
from tripost_core.stages import StageContext, StageResult
from tripost_core.stages.generate import problems_of_split, speed, students_texts


def run(context: StageContext) -> StageResult:
    """One greedy trajectory a question; `metrics["eval"]` is the `eval` object of report.json, `own_feedback` how the
    student judges its first attempts (`metrics.own_feedback`; tasks with a script of ours).

    Raises DataError where the buffer holds no test question, ModelError where the student cannot be used.
    """
    problems = [problem_of(row) for row in problems_of_split(context.inputs["problems"], "test")]
    started = time.perf_counter()
    written = students_texts(
        context,
        [problem.question for problem in problems],
        [0] * len(problems),  # greedy decoding reads no seed
        "answers",
        temperature=0.0,
    )
    rows = answer_rows(context.params["task"], problems, written, context.inputs["student"].digest)
    seconds = time.perf_counter() - started
    judged: dict[str, Any] = {}
    if context.params["task"] in TASKS:
        expert = load_scripted_expert(context.params["task"])
        verdicts = [judgement(expert, p, row["turns"][0]["attempt"]) for p, row in zip(problems, rows, strict=True)]
        pairs = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if verdict is not None]
        judged = {"own_feedback": own_feedback(pairs)}
    return StageResult(
        schema="answers-2",
        rows=rows,
        num_in=len(problems),
        num_kept=len(rows),
        metrics={
            "eval": evaluate_rows(rows),
            **judged,
            **speed(sum(row["num_tokens"] for row in rows), seconds),
            "num_truncated": sum(row["truncated"] for row in rows),
        },
    )


def answer_rows(
    task: TaskReference, problems: Sequence[Problem], written: Sequence[SelfImprovement], digest: str
) -> list[Row]:
    """Rows of `answers-2`, one a problem and in their order; `digest`: of the checkpoint that wrote them."""
    loaded = load_task(task)
    return [
        answer_row(loaded, problem, trajectory, digest) for problem, trajectory in zip(problems, written, strict=True)
    ]


def answer_row(task: Task, problem: Problem, trajectory: SelfImprovement, digest: str) -> Row:
    """An output that ran into the context or token limit is wrong, whatever its last attempt says; a first attempt
    counts for itself where the student came to its end."""
    first, last = trajectory.turns[0], trajectory.turns[-1]
    num_attempts = len(trajectory.turns)
    first_is_whole = not trajectory.truncated or first.feedback is not None or num_attempts > 1
    return {
        "problem_id": problem.id,
        "task": problem.task,
        "subtask": problem.subtask,
        "seen": problem.seen,
        "question": problem.question,
        "answer": problem.answer,
        "attempt_by": digest,
        "turns": [turn._asdict() for turn in trajectory.turns],
        "final_answer": task.extract_answer(last.attempt),
        "right": not trajectory.truncated and task.is_right(last.attempt, problem.answer),
        "first_right": first_is_whole and task.is_right(first.attempt, problem.answer),
        "attempted": num_attempts > 1,
        "truncated": trajectory.truncated,
        "num_tokens": trajectory.num_tokens,
    }
