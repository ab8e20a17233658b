"""Filter (paper section 2.3): which triplets are trained on, and why the others are not.

The trajectories of a question lie side by side, so all that the filter compares is in one batch: every batch is split,
decided and written, and nothing of it is kept but the counts. Of equal triplets only one is looked at; 128 bits of
every content are enough to find them. In buffers of another order (runs that began when trajectories had other names)
all rows are one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from tripost_core.problems.base import Task
from tripost_core.replay.ahead import ahead
from tripost_core.replay.content import X_IMP, all_terminal, content_reasons, hashes
from tripost_core.replay.lengths import TooLong
from tripost_core.replay.split import COLUMNS, DIRECT, REPAIRED, Split, split

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

Batches = Callable[[Sequence[str]], Iterable[pa.Table]]
"""These columns (as Parquet spells them) from the first row on, every time it is called."""

ROWS_AT_ONCE = 12_500
_HASHES = ["hash_0", "hash_1"]


@dataclass
class Filtered:
    """The triplets of some trajectories; the counts are complete when `tables` has come to its end."""

    batches: Batches
    task: Task
    too_long: TooLong
    rows_at_once: int
    workings: str | None = None
    num_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""
    kept: Counter[str] = field(default_factory=Counter)
    """`x_imp`, `direct`, `repaired`."""
    error_classes: Counter[str] = field(default_factory=Counter)
    """Of kept x_imp."""
    rounds: Counter[int] = field(default_factory=Counter)
    """Trajectories by improvements needed."""

    def tables(self) -> Iterator[pa.Table]:
        """`triplets-1` in canonical order, made by two threads while the caller uses the ones before."""
        parts: Iterable[pa.Table] = _whole_questions(self.batches(COLUMNS), self.rows_at_once)
        if not _in_order(self.batches(("trajectory_id", "problem_id"))):
            parts = [pa.concat_tables(parts)]
        for table, decisions, rounds in ahead(self._part, parts):
            self._count(decisions, rounds)
            yield table

    def _part(self, trajectories: pa.Table) -> tuple[pa.Table, pl.DataFrame, pl.Series]:
        triplets = split(trajectories)
        decisions = _decide(triplets, self.task, self.too_long, self.workings)
        table = triplets.table(decisions["reason"])
        if not decisions["triplet_id"].is_sorted():  # ids of which one begins with another
            table = table.sort_by("triplet_id")
        return table, decisions, pl.Series(pl.from_arrow(trajectories["round"]))

    def _count(self, decisions: pl.DataFrame, rounds: pl.Series) -> None:
        dropped, kept = decisions.filter(pl.col("reason").is_not_null()), decisions.filter(pl.col("reason").is_null())
        improvements, num_direct = kept.filter(~pl.col("is_last")), int(kept["direct"].sum())
        self.num_in += len(decisions)
        self.dropped.update(dict(dropped["reason"].value_counts().iter_rows()))
        self.kept.update({X_IMP: len(improvements), DIRECT: num_direct})
        self.kept[REPAIRED] += len(kept) - len(improvements) - num_direct
        self.error_classes.update(dict(improvements["error_class"].fill_null("unnamed").value_counts().iter_rows()))
        self.rounds.update(dict(rounds.value_counts().iter_rows()))


def filter_trajectories(
    batches: Batches, task: Task, too_long: TooLong, rows_at_once: int = ROWS_AT_ONCE, workings: str | None = None
) -> Filtered:
    """Splits all trajectories and decides which triplets are kept (FILTER_REASONS).

    `batches`: tables in the order of `trajectory_id`. The result does not depend on where a batch ends, nor, but for
    the order of its rows, on their order. `rows_at_once`: trajectories, and those of the last one's question.
    `workings`: what matches it is no part of an attempt when an update is compared with it.
    """
    return Filtered(batches, task, too_long, rows_at_once, workings)


def _in_order(names: Iterable[pa.Table]) -> bool:
    """Whether every question's trajectories lie side by side, and names in order give triplets in order."""
    rows = [pl.DataFrame(pl.from_arrow(batch)) for batch in names]
    questions = pl.concat([batch["problem_id"] for batch in rows]) if rows else pl.Series([], dtype=pl.String)
    num_runs = int((questions != questions.shift()).fill_null(value=True).sum())
    lengths = {length for batch in rows for length in batch["trajectory_id"].str.len_bytes().unique()}
    return num_runs == questions.n_unique() and len(lengths) <= 1


def _whole_questions(batches: Iterable[pa.Table], rows_at_once: int) -> Iterator[pa.Table]:
    """The same rows in parts of at least `rows_at_once` (the last one may be shorter), each of which ends with a
    question."""
    waiting: pa.Table | None = None
    for batch in batches:
        waiting = batch if waiting is None else pa.concat_tables([waiting, batch])
        questions = pl.Series(pl.from_arrow(waiting["problem_id"]))
        starts = (questions != questions.shift()).fill_null(value=True).arg_true().to_numpy()
        done = 0
        while len(later := starts[starts >= done + rows_at_once]):
            yield waiting[done : later[0]]
            done = int(later[0])
        waiting = waiting[done:]
    if waiting is not None:
        yield waiting


def _decide(triplets: Split, task: Task, too_long: TooLong, workings: str | None) -> pl.DataFrame:
    """A row a triplet: `triplet_id`, `reason` (null: kept), `is_last` (x_T), `direct`, `iteration`, `error_class`."""
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
    passed_R = decisions["reason"].is_null().arg_true()
    if not len(passed_R):
        return decisions
    passed = pl.concat([decisions[passed_R], _content_hashes(triplets, passed_R.to_numpy())], how="horizontal")
    one_of_each = passed.select(pl.struct(_HASHES).is_first_distinct()).to_series().arg_true()
    different = _contents(triplets, passed_R.gather(one_of_each).to_numpy(), task)
    told = passed[one_of_each].select(_HASHES).with_columns(reason=_reasons(different, too_long, workings))
    passed = passed.drop("reason").join(told, on=_HASHES, how="left", maintain_order="left")
    return decisions.with_columns(reason=decisions["reason"].scatter(passed_R, _with_duplicates(passed)))


def _reasons(content: pl.DataFrame, too_long: TooLong, workings: str | None) -> pl.Series:
    """Every condition on a triplet alone, for rows of `_contents`."""
    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(content))
    improvements = (~content["is_last"]).arg_true()
    if len(improvements):
        compared = content[improvements]
        if workings is not None:
            compared = compared.with_columns(pl.col("attempt", "updated").str.replace_all(workings, ""))
        reasons = reasons.scatter(improvements, content_reasons(compared))
    assert all_terminal(content.filter("is_last")["feedback"]), (
        "a correct trajectory does not end with the terminal one"
    )
    reasons = content.select(
        pl.when(reasons.is_null() & ~pl.col("consistent")).then(pl.lit("inconsistent_final")).otherwise(reasons)
    ).to_series()
    fitting = reasons.is_null().arg_true()
    over = too_long(content[fitting])
    return reasons.scatter(fitting.filter(over), "too_long") if over.any() else reasons


def _content_hashes(triplets: Split, rows_R: np.ndarray) -> pl.DataFrame:
    """128 bits of CONTENT of some triplets of correct trajectories; every text is read once, whatever it is part of."""
    row, is_last = triplets.row_of_turn_R[rows_R], triplets.is_last_R[rows_R]
    problems = pl.DataFrame({"problem_id": pl.Series(pl.from_arrow(triplets.trajectories["problem_id"]))})
    found = []
    of_problem = problems.select(**hashes(pl.col("problem_id")))
    of_attempt = triplets.turns_T.select(**hashes(pl.col("attempt")))
    of_feedback = triplets.turns_T.select(**hashes(pl.col("feedback")))
    for name in _HASHES:
        parts = pl.DataFrame(
            {
                "problem": of_problem[name].gather(triplets.trajectory_R[rows_R]),
                "attempt": of_attempt[name].gather(row),
                "feedback": of_feedback[name].gather(row),
                "ends_with": of_attempt[name].gather(np.where(is_last, row, row + 1)),
                "is_last": is_last,
            }
        )
        found.append(parts.select(hashes(pl.struct(pl.all()))[name].alias(name)))
    return pl.concat(found, how="horizontal")


def _contents(triplets: Split, rows_R: np.ndarray, task: Task) -> pl.DataFrame:
    """What the conditions read, for some triplets of correct trajectories: `question`, `attempt`, `feedback`,
    `updated`, `is_last`, and `consistent` of the attempt that the triplet ends with."""
    trajectory, is_last = triplets.trajectory_R[rows_R], triplets.is_last_R[rows_R]
    row = triplets.row_of_turn_R[rows_R]
    ends = np.where(is_last, row, row + 1)
    turns = triplets.turns_T
    frame = pl.DataFrame(
        {
            "is_last": is_last,
            "question": pl.Series(pl.from_arrow(triplets.trajectories["question"])).gather(trajectory),
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


def _with_duplicates(passed: pl.DataFrame) -> pl.Series:
    """The reasons, `duplicate` for all but one of equal triplets: of these the oldest stays, and the student's own
    answer before the same one by an expert."""
    same = (
        passed.with_row_index("row")
        .filter(pl.col("reason").is_null())
        .filter(pl.struct(_HASHES).is_duplicated())
        .with_columns(repaired=pl.col("is_last") & ~pl.col("direct"))
        .sort("iteration", "repaired", "triplet_id")
    )
    spare = same.filter(~pl.struct(_HASHES).is_first_distinct())["row"]
    return passed["reason"].scatter(spare, "duplicate") if len(spare) else passed["reason"]
