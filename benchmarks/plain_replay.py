"""Split, filter, balance on plain Python lists: every row a dictionary, one after the other.

This is how the stages worked before they worked on columns, kept for two purposes: `benchmarks/replay.py` measures
against it, and `tests/test_replay_columns.py` holds the columns to it, row for row. Only the names of triplets and rows
and the order of drawing are those of today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tripost_core.buffers import ROWS_PER_SHARD, Row, canonical_json
from tripost_core.config import BalanceConfig
from tripost_core.editing import CORRECT
from tripost_core.experts.base import Expert
from tripost_core.problems.base import Task
from tripost_core.replay.balance import _bucket_size, round_half_up
from tripost_core.replay.content import X_IMP, X_T
from tripost_core.replay.rows import Segments, gold_rows, segments, text_of, training_row
from tripost_core.replay.split import DIRECT, REPAIRED
from tripost_core.schemas import SCHEMAS, id_column
from tripost_core.trajectory import Attempt, Feedback

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
        "triplet_id": f"{trajectory['trajectory_id']}.{turn:03}",
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


def triplet_segments(task: Task, triplet: Row) -> Segments:
    return segments(task, triplet["question"], triplet["attempt"], triplet["feedback"], triplet["updated"])


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
    said = {text_of(row["segments"]) for row in chosen}
    gold.sort(key=lambda row: text_of(row["segments"]) in said)  # stable: the drawn order within either part
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
        frame.with_columns(pl.Series("rank", ranks, dtype=pl.UInt64))
        .sort("iteration", pl.col("origin") == REPAIRED, "triplet_id", nulls_last=True)
        .unique(_CONTENT, keep="first", maintain_order=True)
        .sort("rank", "triplet_id")
        .drop("rank")
    )
    return (
        frame.filter(kind=X_IMP).to_dicts(),
        frame.filter(kind=X_T, origin=DIRECT).to_dicts(),
        frame.filter(kind=X_T, origin=REPAIRED).to_dicts() if config.repaired else [],
    )


def _triplet_row(triplet: Row, task: Task) -> Row:
    bucket = "improvement" if triplet["kind"] == X_IMP else "correct"
    row_id = f"{triplet['iteration']:03}.{triplet['triplet_id']}"
    of = triplet["kind"], triplet["problem_id"], triplet["iteration"]
    return training_row(row_id, bucket, *of, triplet_segments(task, triplet), triplet["triplet_id"])


def _ranked_rows(rows: list[Row], seed: int, iteration: int) -> list[Row]:
    return sorted(rows, key=lambda row: (_rank(seed, iteration, row["row_id"]), row["row_id"]))


def _rank(seed: int, iteration: int, row_id: str) -> int:
    """A place in the drawing order that depends on seed, iteration and the row alone: FNV-1a, then splitmix64."""
    rank = 0xCBF29CE484222325
    for byte in f"{seed}/{iteration}/{row_id}".encode():
        rank = (rank ^ byte) * 0x100000001B3 % 2**64
    rank = (rank ^ rank >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    rank = (rank ^ rank >> 27) * 0x94D049BB133111EB % 2**64
    return rank ^ rank >> 31


# -- writing -----------------------------------------------------------------------------------------------------------


def write_rows(directory: Path, schema: str, rows: list[Row]) -> None:
    """Rows in canonical order with the digest of their canonical JSON, in shards."""
    key = id_column(schema)
    table = pa.Table.from_pylist(rows, schema=SCHEMAS[schema])
    ordered = sorted(table.to_pylist(), key=lambda row: row[key])
    total = hashlib.sha256(schema.encode())
    for row in ordered:
        total.update(canonical_json(row).encode())
    directory.mkdir(parents=True)
    for number, start in enumerate(range(0, max(len(ordered), 1), ROWS_PER_SHARD)):
        part = pa.Table.from_pylist(ordered[start : start + ROWS_PER_SHARD], schema=SCHEMAS[schema])
        pq.write_table(part, directory / f"part-{number:05d}.parquet", compression="zstd")
    (directory / "digest").write_text(total.hexdigest())


def read_table(directory: Path) -> pa.Table:
    """What `write_rows` wrote."""
    return pa.concat_tables(pq.read_table(file) for file in sorted(directory.glob("part-*")))
