"""From edited trajectories to training rows (paper section 2.3): split, filter, balance.

A triplet that is dropped stays in the buffer with `kept` false and the reason, so that the report can count it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from math import floor
from typing import Any

import polars as pl
import pyarrow as pa

from tripost_core.buffers import Row, canonical_json
from tripost_core.config import BalanceConfig
from tripost_core.editing import CORRECT, problem_of
from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems.base import Task, prompt
from tripost_core.schemas import SCHEMAS
from tripost_core.trajectory import Attempt, Feedback, terminal_feedback

X_IMP, X_T = "x_imp", "x_T"
DIRECT, REPAIRED = "direct", "repaired"

FILTER_REASONS = (
    "final_answer_wrong",  # (a) the last attempt does not reach the right answer
    "unparsable_feedback",  # the feedback names no step
    "no_difference",  # (b) the update is the attempt again
    "prefix_changed",  # a line before the first error was touched
    "inconsistent_final",  # (c) the final answer is not that of the step before it
    "too_long",  # more tokens than filter.max_length_tokens, BOS and EOS included
    "duplicate",  # another triplet of the iteration says the same
)
"""Why a triplet is dropped, in the order of the checks; before them `discarded_...`, the trajectory's own reason."""

Segments = list[dict[str, str]]
"""What a row is made of: `{"role", "text"}` in order."""

_CONTENT = ("kind", "problem_id", "attempt", "feedback", "updated")


# -- split and filter --------------------------------------------------------------------------------------------------


def split(trajectories: Iterable[Row], task: Task) -> list[Row]:
    """Rows of `triplets-1`: x_imp = (att_i, fb_i, att_i+1) of every turn with a successor, x_T = the last turn.

    Those of a discarded trajectory, and those of one that does not end in the right answer (filter a), are dropped.
    """
    triplets = []
    for trajectory in trajectories:
        turns = trajectory["turns"]
        if trajectory["status"] != CORRECT:
            reason = f"discarded_{trajectory['reason'] or trajectory['status']}"
        elif not task.is_right(turns[-1]["attempt"], trajectory["answer"]):
            reason = "final_answer_wrong"
        else:
            reason = None
        num_pairs = len(turns) - 1
        for turn in range(num_pairs):
            triplets.append(_triplet(trajectory, X_IMP, turn, reason))
        if trajectory["status"] == CORRECT:
            triplets.append(_triplet(trajectory, X_T, num_pairs, reason))
        elif num_pairs < 1:  # nothing came of it, but it is counted
            triplets.append(_triplet(trajectory, X_IMP, 0, reason))
    return triplets


def filter_triplets(
    triplets: Iterable[Row],
    task: Task,
    lengths_tokens: Callable[[list[Segments]], list[int]],
    max_length_tokens: int,
) -> list[Row]:
    """The triplets with `kept` and `reason` decided (FILTER_REASONS).

    `lengths_tokens` gives the lengths of training rows, BOS and EOS included (`lm.encode.row_lengths_tokens`).
    """
    judged = [{**triplet, "reason": triplet["reason"] or _content_reason(triplet, task)} for triplet in triplets]
    passed = [triplet for triplet in judged if triplet["reason"] is None]
    lengths = lengths_tokens([triplet_segments(task, triplet) for triplet in passed])
    for triplet, length in zip(passed, lengths, strict=True):
        if length > max_length_tokens:
            triplet["reason"] = "too_long"
    first: dict[tuple[Any, ...], Row] = {}
    for triplet in sorted(passed, key=_preference):
        if triplet["reason"] is None and first.setdefault(_content(triplet), triplet) is not triplet:
            triplet["reason"] = "duplicate"
    for triplet in judged:
        triplet["kept"] = triplet["reason"] is None
    return judged


def _triplet(trajectory: Row, kind: str, turn: int, reason: str | None) -> Row:
    turns = trajectory["turns"]
    at = turns[turn] if turn < len(turns) else {}
    origin = (DIRECT if turn == 0 else REPAIRED) if kind == X_T else None
    return {
        "triplet_id": stable_id(trajectory["iteration"], trajectory["trajectory_id"], kind, turn),
        "kind": kind,
        "origin": origin,
        "kept": reason is None,
        "reason": reason,
        **{key: trajectory[key] for key in ("trajectory_id", "problem_id", "task", "subtask", "seen")},
        **{key: trajectory[key] for key in ("question", "answer", "iteration")},
        "turn": turn,
        "attempt": at.get("attempt"),
        "feedback": at.get("feedback"),
        "updated": turns[turn + 1]["attempt"] if kind == X_IMP and turn + 1 < len(turns) else None,
        "error_class": at.get("error_class"),
    }


def _content_reason(triplet: Row, task: Task) -> str | None:
    feedback = Feedback.parse(triplet["feedback"])
    if triplet["kind"] == X_T:
        assert feedback.terminal, triplet["triplet_id"]
        return None if task.is_consistent(triplet["attempt"], triplet["question"]) else "inconsistent_final"
    attempt, updated = Attempt.parse(triplet["attempt"]), Attempt.parse(triplet["updated"])
    if feedback.error_step is None:
        return "unparsable_feedback"
    if attempt.text.split() == updated.text.split():
        return "no_difference"
    untouched = attempt.untouched(feedback.error_step)
    if updated.steps[: len(untouched)] != untouched:
        return "prefix_changed"
    return None if task.is_consistent(updated.text, triplet["question"]) else "inconsistent_final"


def _preference(triplet: Row) -> tuple[Any, ...]:
    """Of equal triplets the oldest stays, and the student's own answer before the same one by an expert."""
    return triplet["iteration"], triplet["origin"] == REPAIRED, triplet["triplet_id"]


def _content(triplet: Row) -> tuple[Any, ...]:
    return tuple(triplet[key] for key in _CONTENT)


# -- rows --------------------------------------------------------------------------------------------------------------


def segments(
    task: Task, question: str, attempt: str, feedback: str | None = None, updated: str | None = None
) -> Segments:
    """What the student is trained on, as (role, text); the row's text is the concatenation, BOS and EOS aside."""
    kept = f"\n{attempt}" if feedback is None or updated is None else _kept(attempt, feedback)
    parts = [("prompt", prompt(task, question)), ("attempt", kept), ("mistake", f"\n{attempt}"[len(kept) :])]
    if feedback is not None:
        parts.append(("feedback", f"\nFeedback: {feedback}"))
    if updated is not None:
        parts.append(("improvement", f"\nUpdated {task.answer_header}\n{updated}"))
    return [{"role": role, "text": text} for role, text in parts if text]


def _kept(attempt: str, feedback: str) -> str:
    """The lines that a repair leaves as they are, each with the newline before it."""
    step = Feedback.parse(feedback).error_step
    return "" if step is None else "".join(f"\n{kept.line}" for kept in Attempt.parse(attempt).untouched(step))


def triplet_segments(task: Task, triplet: Row) -> Segments:
    return segments(task, triplet["question"], triplet["attempt"], triplet["feedback"], triplet["updated"])


def gold_rows(
    problems: Iterable[Row], task: Task, iteration: int, with_feedback: bool, expert: Expert | None = None
) -> list[Row]:
    """The gold rationales of rows of `problems-1`: as x_T with terminal feedback, or (ft rationale) without.

    `expert`: whose feedback it is; None: the plain sentence.
    """
    rows = []
    for problem in problems:
        rationale = problem["rationale"]
        feedback = _on_gold(problem, expert) if with_feedback else None
        parts = segments(task, problem["question"], rationale, feedback)
        rows.append(training_row("gold", X_T, problem["problem_id"], None, iteration, parts))
    return rows


def _on_gold(problem: Row, expert: Expert | None) -> str:
    rationale = problem["rationale"]
    verdict = Verdict(True) if expert is None else expert.feedback(problem_of(problem), rationale)
    # A rationale of a file that a script finds fault with is gold all the same.
    return verdict.sentence(rationale) if verdict.correct else terminal_feedback(Attempt.parse(rationale))


def stable_id(*parts: Any) -> str:
    """16 hex digits that depend on nothing but the parts."""
    return hashlib.sha256(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def training_row(
    bucket: str, kind: str, problem_id: str, triplet_id: str | None, iteration: int, parts: Segments
) -> Row:
    """A row of `rows-1`."""
    return {
        "row_id": stable_id(bucket, triplet_id or problem_id, _text(parts)),
        "bucket": bucket,
        "kind": kind,
        "problem_id": problem_id,
        "triplet_id": triplet_id,
        "iteration": iteration,
        "segments": parts,
    }


def _text(parts: Iterable[dict[str, str]]) -> str:
    return "".join(part["text"] for part in parts)


# -- balance -----------------------------------------------------------------------------------------------------------


def balance(
    triplets: Sequence[Row],
    problems: Sequence[Row],
    task: Task,
    config: BalanceConfig,
    seed: int,
    iteration: int,
    expert: Expert | None = None,
) -> list[Row]:
    """The training rows of an iteration, from the kept triplets and the gold rationales of `problems`.

    improvement : correct : gold = r : 1 : g to the nearest row; where a bucket runs short the others are sampled
    down. The correct bucket is drawn evenly from direct and repaired answers as far as both last. Gold that says what
    a drawn answer says already comes last. `auto`: every triplet, and gold as many as x_T. `replay` decides whether
    triplets of earlier iterations count; equal ones count once. The result does not depend on the order of the inputs.
    `expert`: whose terminal feedback gold gets; None: the plain sentence.
    """
    improvements, direct, repaired = pools(triplets, config, seed, iteration)
    gold = _ranked_rows(gold_rows(problems, task, iteration, with_feedback=True, expert=expert), seed, iteration)
    num_correct = len(direct) + len(repaired)
    if config.auto:
        drawn = improvements + direct + repaired
        num_gold = round_half_up(config.gold_ratio * num_correct)
    else:
        limits = [(len(improvements), config.improvement_ratio), (num_correct, 1.0), (len(gold), config.gold_ratio)]
        num = _bucket_size(limits)
        num_improvements, _, num_gold = (round_half_up(ratio * num) for _, ratio in limits)
        num_repaired = min(len(repaired), max(num // 2, num - len(direct)))
        drawn = improvements[:num_improvements] + direct[: num - num_repaired] + repaired[:num_repaired]
    chosen = [_triplet_row(triplet, task) for triplet in drawn]
    said = {_text(row["segments"]) for row in chosen}
    gold.sort(key=lambda row: _text(row["segments"]) in said)  # stable: the drawn order within either part
    return sorted(chosen + gold[:num_gold], key=lambda row: row["row_id"])


def pools(
    triplets: Sequence[Row], config: BalanceConfig, seed: int, iteration: int
) -> tuple[list[Row], list[Row], list[Row]]:
    """Kept triplets without repetitions, each pool in the order of drawing: x_imp, direct x_T, repaired x_T."""
    table = pa.Table.from_pylist(list(triplets), schema=SCHEMAS["triplets-1"])
    frame = pl.DataFrame(pl.from_arrow(table)).filter("kept")
    if config.replay == "latest":
        frame = frame.filter(pl.col("iteration") == iteration)
    ranks = [_rank(seed, iteration, triplet_id) for triplet_id in frame["triplet_id"]]
    frame = (
        frame.with_columns(pl.Series("rank", ranks, dtype=pl.String))
        .sort("iteration", pl.col("origin") == REPAIRED, "triplet_id", nulls_last=True)
        .unique(_CONTENT, keep="first", maintain_order=True)
        .sort("rank")
        .drop("rank")
    )
    return (
        frame.filter(kind=X_IMP).to_dicts(),
        frame.filter(kind=X_T, origin=DIRECT).to_dicts(),
        frame.filter(kind=X_T, origin=REPAIRED).to_dicts() if config.repaired else [],
    )


def round_half_up(value: float) -> int:
    """To the nearest integer, for values of at least 0."""
    return floor(value + 0.5)


def _bucket_size(limits: Sequence[tuple[int, float]]) -> int:
    """The largest n with round(ratio * n) <= number for every (number, ratio)."""
    n = min(floor((number + 0.5) / ratio) + 1 for number, ratio in limits if ratio > 0)
    while n > 0 and any(round_half_up(ratio * n) > number for number, ratio in limits):
        n -= 1
    return n


def _triplet_row(triplet: Row, task: Task) -> Row:
    bucket = "improvement" if triplet["kind"] == X_IMP else "correct"
    parts = triplet_segments(task, triplet)
    return training_row(
        bucket, triplet["kind"], triplet["problem_id"], triplet["triplet_id"], triplet["iteration"], parts
    )


def _ranked_rows(rows: list[Row], seed: int, iteration: int) -> list[Row]:
    return sorted(rows, key=lambda row: _rank(seed, iteration, row["row_id"]))


def _rank(seed: int, iteration: int, row_id: str) -> str:
    """A place in the drawing order that depends on seed, iteration and the row alone."""
    return hashlib.sha256(f"{seed}/{iteration}/{row_id}".encode()).hexdigest()
