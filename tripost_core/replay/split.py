"""Split (paper section 2.3): x_imp = (att_i, fb_i, att_i+1) of every turn with a successor, x_T = the last turn.

A table of trajectories is split by arithmetic on the offsets of its lists: which triplets there are follows from the
number of turns and the status alone, and their texts are gathered when they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa

from tripost_core.editing import CORRECT
from tripost_core.replay.content import X_IMP, X_T
from tripost_core.schemas import SCHEMAS

DIRECT, REPAIRED = "direct", "repaired"

_TURN_COLUMNS = {
    "attempt": pl.String,
    "feedback": pl.String,
    "error_class": pl.String,
    "right": pl.Boolean,
    "consistent": pl.Boolean,
}
_OF_TRAJECTORY = ("trajectory_id", "problem_id", "task", "subtask", "seen", "question", "answer", "iteration")
COLUMNS = [*_OF_TRAJECTORY, "status", "reason", "round", *(f"turns.list.element.{name}" for name in _TURN_COLUMNS)]
"""Of a Parquet file of trajectories: what split and filter read."""


@dataclass(frozen=True)
class Split:
    """The triplets of some trajectories, in the order of trajectory and turn; letters: R triplets, T turns, X
    trajectories."""

    trajectories: pa.Table
    turns_T: pl.DataFrame
    """`attempt`, `feedback`, `error_class`, `right`, `consistent` of all turns, one trajectory after the other."""
    num_turns_X: np.ndarray
    start_X: np.ndarray
    """Row of the first turn in `turns_T`."""
    trajectory_R: np.ndarray
    """Row in `trajectories`."""
    turn_R: np.ndarray
    is_last_R: np.ndarray
    """x_T; the others are x_imp."""

    def __len__(self) -> int:
        return len(self.trajectory_R)

    @property
    def row_of_turn_R(self) -> np.ndarray:
        """Row in `turns_T`; where the trajectory has no turn at all, that of nobody's."""
        return self.start_X[self.trajectory_R] + self.turn_R

    @cached_property
    def ids(self) -> pl.Series:
        """`triplet_id`: trajectory and turn, since no turn gives two triplets."""
        frame = pl.DataFrame({"trajectory": self._column("trajectory_id"), "turn": self.turn_R})
        return frame.select(
            triplet_id=pl.concat_str("trajectory", pl.lit("."), pl.col("turn").cast(pl.String).str.zfill(3))
        )["triplet_id"]

    def discard_reasons(self) -> pl.Series:
        """Of every trajectory, `discarded_...`; null for a correct one."""
        frame = pl.DataFrame(pl.from_arrow(self.trajectories.select(["status", "reason"])))
        why = pl.when(pl.col("reason").fill_null("") == "").then("status").otherwise("reason")
        reason = pl.when(pl.col("status") != CORRECT).then(pl.lit("discarded_") + why)
        return frame.select(reason=reason)["reason"]

    def table(self, reasons_R: pl.Series) -> pa.Table:
        """Rows of `triplets-1`, kept where `reasons_R` is null."""
        has_turn = self.turn_R < self.num_turns_X[self.trajectory_R]
        has_next = ~self.is_last_R & (self.turn_R + 1 < self.num_turns_X[self.trajectory_R])
        row = self.row_of_turn_R
        at = pa.array(row, mask=~has_turn)
        following = pa.array(row + 1, mask=~has_next)
        of_turn = {name: self.turns_T[name].to_arrow() for name in ("attempt", "feedback", "error_class")}
        kind_R = np.where(self.is_last_R, 1, 0)
        origin_R = pa.array(np.where(self.turn_R == 0, 0, 1), mask=~self.is_last_R)
        columns = {
            "triplet_id": self.ids.to_arrow(),
            "kind": pa.array([X_IMP, X_T]).take(pa.array(kind_R)),
            "origin": pa.array([DIRECT, REPAIRED]).take(origin_R),
            "kept": reasons_R.is_null().to_arrow(),
            "reason": reasons_R.to_arrow(),
            **{name: self._column(name).to_arrow() for name in _OF_TRAJECTORY},
            "turn": pa.array(self.turn_R, type=pa.int32()),
            "attempt": of_turn["attempt"].take(at),
            "feedback": of_turn["feedback"].take(at),
            "updated": of_turn["attempt"].take(following),
            "error_class": of_turn["error_class"].take(at),
        }
        schema = SCHEMAS["triplets-1"]
        return pa.table({name: columns[name] for name in schema.names}).cast(schema)

    def _column(self, name: str) -> pl.Series:
        return pl.Series(name, pl.from_arrow(self.trajectories[name])).gather(self.trajectory_R)


def split(trajectories: pa.Table) -> Split:
    """A table with the columns COLUMNS; `right` and `consistent` may be missing (`trajectories-1`)."""
    lists = trajectories["turns"].combine_chunks()
    turns = pl.DataFrame(pl.from_arrow(pa.Table.from_struct_array(lists.flatten())))
    absent = {name: pl.lit(None, kind) for name, kind in _TURN_COLUMNS.items() if name not in turns.columns}
    turns = turns.with_columns(**absent).select(*_TURN_COLUMNS)
    num_X = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    correct_X = (pl.Series(pl.from_arrow(trajectories["status"])) == CORRECT).fill_null(value=False).to_numpy()
    assert not (correct_X & (num_X == 0)).any(), "a correct trajectory without a turn"
    num_pairs_X = np.maximum(num_X - 1, 0)
    # A discarded trajectory of which nothing came is counted all the same.
    num_triplets_X = num_pairs_X + np.where(correct_X, 1, num_pairs_X == 0)
    trajectory_R = np.repeat(np.arange(len(num_X)), num_triplets_X)
    turn_R = np.arange(len(trajectory_R)) - np.repeat(np.cumsum(num_triplets_X) - num_triplets_X, num_triplets_X)
    return Split(
        trajectories=trajectories,
        turns_T=turns,
        num_turns_X=num_X,
        start_X=np.cumsum(num_X) - num_X,
        trajectory_R=trajectory_R,
        turn_R=turn_R,
        is_last_R=correct_X[trajectory_R] & (turn_R == num_X[trajectory_R] - 1),
    )
