"""Filter (paper section 2.3): which triplets are trained on, and why the others are not.

Two passes over the trajectories, a batch of them at a time. The first decides: every condition on a triplet alone, then
the duplicates among those that pass, for which 128 bits of every content are enough. The second writes the triplets
with what was decided. The texts of one batch are in memory, never those of the buffer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from tripost_core.problems.base import Task
from tripost_core.replay.content import CONTENT, all_terminal, content_reasons, hashes
from tripost_core.replay.lengths import TooLong
from tripost_core.replay.split import DIRECT, Split, split
from tripost_core.schemas import SCHEMAS

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

Batches = Callable[[], Iterable[pa.Table]]
"""Begins at the first row every time it is called."""


@dataclass(frozen=True)
class Filtered:
    """The triplets of `batches` and what was decided of each."""

    batches: Batches
    decisions: pl.DataFrame
    """A row a triplet, in order: `triplet_id`, `kept`, `reason`, `is_last` (x_T), `direct`, `error_class` of a kept
    x_imp."""
    rounds: Counter[int]
    """Trajectories by improvements needed."""

    def tables(self) -> Iterator[pa.Table]:
        """`triplets-1` in canonical order."""
        if self.decisions["triplet_id"].is_sorted():
            yield from self._tables()
        else:  # ids of which one begins with another; the ids of a run all have the same length
            yield pa.concat_tables(self._tables()).sort_by("triplet_id")

    def _tables(self) -> Iterator[pa.Table]:
        start = 0
        for batch in self.batches():
            triplets = split(batch)
            yield triplets.table(self.decisions["reason"][start : start + len(triplets)])
            start += len(triplets)


def filter_trajectories(batches: Batches, task: Task, too_long: TooLong) -> Filtered:
    """Splits all trajectories and decides which triplets are kept (FILTER_REASONS).

    `batches`: tables with the columns of `split.COLUMNS`, in the order of `trajectory_id`. The result does not depend
    on where a batch ends, nor, but for the order of its rows, on their order.
    """
    rounds: Counter[int] = Counter()
    decided: list[pl.DataFrame] = []

    def decide(part: pa.Table) -> pl.DataFrame:
        return _decide(split(part), task, too_long)

    with ThreadPoolExecutor(2) as threads:
        for batch in batches():
            rounds.update(batch["round"].to_pylist())
            middle = len(batch) // 2
            decided += threads.map(decide, [batch[:middle], batch[middle:]])
    decisions = pl.concat(decided) if decided else decide(SCHEMAS["trajectories-2"].empty_table())
    decisions = decisions.with_columns(reason=_with_duplicates(decisions))
    kept = pl.col("reason").is_null()
    return Filtered(
        batches,
        decisions.select(
            "triplet_id", "reason", "is_last", "direct", error_class=pl.when(kept).then("error_class"), kept=kept
        ),
        rounds,
    )


def _decide(triplets: Split, task: Task, too_long: TooLong) -> pl.DataFrame:
    """Every condition but that on duplicates; content hashes where all are met."""
    reason_X = triplets.discard_reasons()
    candidates_X = reason_X.is_null().to_numpy() & (triplets.num_turns_X > 0)
    wrong_X = candidates_X.copy()
    wrong_X[candidates_X] = ~_right(triplets, np.flatnonzero(candidates_X), task)
    reason_X = reason_X.scatter(np.flatnonzero(wrong_X), "final_answer_wrong") if wrong_X.any() else reason_X
    iteration = pl.Series("iteration", pl.from_arrow(triplets.trajectories["iteration"]))
    turns = triplets.turns_T
    has_turn_R = triplets.turn_R < triplets.num_turns_X[triplets.trajectory_R]
    row_R = np.where(has_turn_R, triplets.row_of_turn_R, 0)
    decisions = pl.DataFrame(
        {
            "triplet_id": triplets.ids,
            "is_last": triplets.is_last_R,
            "direct": triplets.is_last_R & (triplets.turn_R == 0),
            "iteration": iteration.gather(triplets.trajectory_R),
            "reason": reason_X.gather(triplets.trajectory_R),
            "error_class": turns["error_class"].gather(row_R)
            if len(turns)
            else pl.Series([None] * len(triplets), dtype=pl.String),
        }
    )
    passed_R = decisions["reason"].is_null().arg_true().to_numpy()
    content = _contents(triplets, passed_R, task)
    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(content))
    improvements = (~content["is_last"]).arg_true()
    if len(improvements):
        reasons = reasons.scatter(improvements, content_reasons(content[improvements]))
    assert all_terminal(content.filter("is_last")["feedback"]), (
        "a correct trajectory does not end with the terminal one"
    )
    reasons = content.select(
        pl.when(reasons.is_null() & ~pl.col("consistent")).then(pl.lit("inconsistent_final")).otherwise(reasons)
    ).to_series()
    content = content.with_columns(**hashes(pl.struct(CONTENT)))
    fitting = reasons.is_null().arg_true()
    over = too_long(content[fitting])
    if over.any():
        reasons = reasons.scatter(fitting.filter(over), "too_long")
    null = pl.Series([None], dtype=pl.UInt64).new_from_index(0, len(decisions))
    return decisions.with_columns(
        reason=decisions["reason"].scatter(passed_R, reasons) if len(passed_R) else decisions["reason"],
        **{name: null.scatter(passed_R, content[name]) if len(passed_R) else null for name in ("hash_0", "hash_1")},
    )


def _contents(triplets: Split, rows_R: np.ndarray, task: Task) -> pl.DataFrame:
    """What the conditions read, for some triplets of correct trajectories: CONTENT, `question`, `is_last`, and
    `consistent` of the attempt that the triplet ends with."""
    trajectory, is_last = triplets.trajectory_R[rows_R], triplets.is_last_R[rows_R]
    row = triplets.row_of_turn_R[rows_R]
    ends = np.where(is_last, row, row + 1)
    text = {name: pl.Series(name, pl.from_arrow(triplets.trajectories[name])) for name in ("problem_id", "question")}
    turns = triplets.turns_T
    frame = pl.DataFrame(
        {
            "kind": is_last,
            "is_last": is_last,
            "problem_id": text["problem_id"].gather(trajectory),
            "question": text["question"].gather(trajectory),
            "attempt": turns["attempt"].gather(row),
            "feedback": turns["feedback"].gather(row),
            "ends_with": turns["attempt"].gather(ends),
            "consistent": turns["consistent"].gather(ends),
        }
    ).with_columns(updated=pl.when(~pl.col("is_last")).then("ends_with"))
    unknown = frame["consistent"].is_null().arg_true()
    if len(unknown):
        asked = frame[unknown].select("ends_with", "question").iter_rows()
        told = pl.Series([task.is_consistent(*row) for row in asked], dtype=pl.Boolean)
        frame = frame.with_columns(consistent=frame["consistent"].scatter(unknown, told))
    return frame


def _right(triplets: Split, rows_X: np.ndarray, task: Task) -> np.ndarray:
    """Whether the last attempt of each of these trajectories is right: as its turn says, or the task is asked."""
    last = triplets.start_X[rows_X] + triplets.num_turns_X[rows_X] - 1
    right = triplets.turns_T["right"].gather(last)
    unknown = right.is_null().arg_true()
    if len(unknown):
        attempts = triplets.turns_T["attempt"].gather(last[unknown.to_numpy()])
        answers = triplets.trajectories["answer"].take(pa.array(rows_X[unknown.to_numpy()])).to_pylist()
        told = [task.is_right(attempt, answer) for attempt, answer in zip(attempts, answers, strict=True)]
        right = right.scatter(unknown, pl.Series(told, dtype=pl.Boolean))
    return right.to_numpy().astype(bool)


def _with_duplicates(decisions: pl.DataFrame) -> pl.Series:
    """The reasons, `duplicate` for all but one of equal triplets: of these the oldest stays, and the student's own
    answer before the same one by an expert."""
    same = (
        decisions.with_row_index("row")
        .filter(pl.col("reason").is_null())
        .filter(pl.struct("hash_0", "hash_1").is_duplicated())
        .with_columns(repaired=pl.col("is_last") & ~pl.col("direct"))
        .sort("iteration", "repaired", "triplet_id")
    )
    spare = same.filter(~pl.struct("hash_0", "hash_1").is_first_distinct())["row"]
    return decisions["reason"].scatter(spare, "duplicate") if len(spare) else decisions["reason"]


def counts(filtered: Filtered) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """(dropped by reason, kept by `x_imp`, `direct`, `repaired`, kept x_imp by class of error)."""
    decisions = filtered.decisions
    dropped = Counter(dict(decisions.filter(~pl.col("kept"))["reason"].value_counts().iter_rows()))
    kept = decisions.filter("kept")
    improvements = kept.filter(~pl.col("is_last"))
    num_direct = int(kept["direct"].sum())
    num = Counter(x_imp=len(improvements), repaired=len(kept) - len(improvements) - num_direct)
    num[DIRECT] = num_direct
    classes = Counter(dict(improvements["error_class"].fill_null("unnamed").value_counts().iter_rows()))
    return dropped, num, classes
