"""The student's own trajectories for the training questions (paper section 2.2)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tripost_core.buffers import Ref, Row, canonical_json, read_rows
from tripost_core.config import EngineConfig, StudentConfig
from tripost_core.editing import GENERATED, new_turn
from tripost_core.errors import DataError
from tripost_core.stages import StageContext, StageResult, local_checkpoint

if TYPE_CHECKING:
    from tripost_core.lm.self_improve import SelfImprovement, Turn

PROBLEM_COLUMNS = ("problem_id", "task", "subtask", "seen", "question", "answer")


def run(context: StageContext) -> StageResult:
    """`num_samples` trajectories a prompt, sampled; the same trajectory of the same problem is kept once, or with the
    param `keep_duplicates` as often as it was drawn. Param
    `part`: (number, of how many): the prompts of an iteration that has its own; `shard`: of those, one worker's.

    Raises DataError where the buffer holds no training question, ModelError where the student cannot be used.
    """
    config, iteration = context.config, int(context.params["iteration"])
    shard, num_shards = context.params.get("shard", (0, 1))
    part, num_parts = context.params.get("part", (0, 1))
    own = problems_of_split(context.inputs["problems"], "train")[part::num_parts]
    if not own:
        raise DataError(f"Iteration {iteration} has no training question of its own: there are fewer than iterations.")
    problems = own[shard::num_shards]
    reference = context.inputs["student"]
    plan = [(problem, number) for problem in problems for number in range(config["num_samples"])]
    seeds = [sample_seed(context.seed, iteration, problem["problem_id"], number) for problem, number in plan]
    started = time.perf_counter()
    questions = [problem["question"] for problem, _ in plan]
    written = students_texts(context, questions, seeds, "trajectories", temperature=config["temperature"])
    seconds = time.perf_counter() - started
    rows: list[Row] = []
    known: set[tuple[str, tuple[Turn, ...]]] = set()
    for (problem, number), seed, trajectory in zip(plan, seeds, written, strict=True):
        if (problem["problem_id"], trajectory.turns) in known and not context.params.get("keep_duplicates"):
            continue
        known.add((problem["problem_id"], trajectory.turns))
        rows.append(
            {
                "trajectory_id": trajectory_id(problem["problem_id"], iteration, number),
                **{name: problem[name] for name in PROBLEM_COLUMNS},
                "iteration": iteration,
                "sample": number,
                "seed": seed,
                "num_tokens": trajectory.num_tokens,
                "truncated": trajectory.truncated,
                "status": GENERATED,
                "reason": None,
                "round": 0,
                "edited": False,
                "turns": [
                    new_turn(turn.attempt, "student", reference.digest, turn.feedback) for turn in trajectory.turns
                ],
            }
        )
    num_duplicates = len(plan) - len(rows)
    return StageResult(
        schema="trajectories-2",
        rows=rows,
        num_in=len(plan),
        num_kept=len(rows),
        dropped={"duplicate": num_duplicates} if num_duplicates else {},
        metrics={
            **speed(sum(trajectory.num_tokens for trajectory in written), seconds),
            "num_truncated": sum(trajectory.truncated for trajectory in written),
        },
    )


def trajectory_id(problem_id: str, iteration: int, number: int) -> str:
    """The question first, so that its samples lie side by side in the buffer: what they have in common is written,
    read and looked at in one place."""
    return f"{problem_id}.{iteration:03}.{number:04}"


def sample_seed(run_seed: int, iteration: int, problem_id: str, number: int) -> int:
    """63 bits, the same wherever and whenever this sample is drawn."""
    return int(_hash(run_seed, iteration, problem_id, number)[:16], 16) >> 1


def problems_of_split(problems: Ref, split: str) -> list[Row]:
    """The rows of one split, in canonical order. Raises DataError where there is none, StorageError."""
    rows = [row for row in read_rows(problems) if row["split"] == split]
    if not rows:
        raise DataError(f"There is no question in the {split} split.")
    return rows


def students_texts(
    context: StageContext, questions: Sequence[str], seeds: Sequence[int], what: str, *, temperature: float
) -> list[SelfImprovement]:
    """What the stage's student writes, with the engine and the limits of its configuration. Raises ModelError."""
    from tripost_core.lm.engines import self_improve_with

    config, reference = context.config, context.inputs["student"]
    engine = EngineConfig.model_validate(context.request.means.get("engine", {}))
    return self_improve_with(
        engine,
        local_checkpoint(reference),
        StudentConfig.model_validate(config["student"]),
        reference.digest,
        context.params["task"],
        questions,
        seeds,
        temperature=temperature,
        max_new_tokens=config["max_new_tokens"],
        max_improvements=config["max_improvements"],
        batch_tokens=config["batch_tokens"],
        progress=lambda done, total: context.progress(what, done, total),
        api_key=os.environ.get(engine.api_key_env) if engine.api_key_env else None,
    )


def speed(num_tokens: int, seconds: float) -> dict[str, float]:
    return {"tokens": num_tokens, "seconds": seconds, "tokens_per_second": num_tokens / max(seconds, 1e-9)}


def _hash(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()
