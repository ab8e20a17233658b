"""Balance (paper section 2.3): the mix of improvements, correct answers and gold rationales that is trained on.

What is drawn follows from the names of the triplets alone, a few dozen bytes each; the texts are read for the rows
that were drawn, a batch at a time. Triplets of several iterations are compared by 128 bits of their contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import floor

import numpy as np
import polars as pl
import pyarrow as pa

from tripost_core.config import BalanceConfig
from tripost_core.experts.base import Expert
from tripost_core.problems.base import Task
from tripost_core.replay.ahead import ahead
from tripost_core.replay.content import CONTENT, X_IMP, X_T, hashes
from tripost_core.replay.rows import GOLD, gold_feedback, row_table, row_texts, terminal_feedbacks
from tripost_core.replay.split import DIRECT, REPAIRED

IMPROVEMENT, CORRECT_ANSWER = "improvement", "correct"
"""Buckets, beside GOLD."""

Columns = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Reads these columns from the first row on, a batch at a time."""

_NAMES = ("triplet_id", "kind", "origin", "kept", "iteration")
_TEXTS = ("kind", "problem_id", "question", "attempt", "feedback", "updated")
_PROBLEM = ("problem_id", "task", "subtask", "seen", "question", "answer", "split", "rationale")

_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


@dataclass(frozen=True)
class Balanced:
    """What was drawn, and the rows to train on."""

    drawn: pl.DataFrame
    """A triplet a row: `source`, `row`, `triplet_id`, `iteration`, `kind`, `origin`, `bucket`."""
    num_kept: int
    """Kept triplets among the inputs."""
    num_gold_in: int
    num_gold: int
    tables: Iterator[pa.Table]
    """`rows-1` in canonical order, to be read once."""


def balance(
    sources: Sequence[Columns],
    problems: Columns,
    task: Task,
    config: BalanceConfig,
    seed: int,
    iteration: int,
    expert: Expert | None = None,
    workings: str | None = None,
) -> Balanced:
    """The training rows of an iteration, from triplets (a source an iteration) and gold rationales.

    improvement : correct : gold = r : 1 : g to the nearest row; where a bucket runs short the others are sampled
    down. The correct bucket is drawn evenly from direct and repaired answers as far as both last. Gold that says what
    a drawn answer says already comes last. `auto`: every triplet, and gold as many as x_T. `replay` decides whether
    triplets of earlier iterations count; equal ones count once. The result does not depend on the order of the inputs.
    Without `terminal` no answer has its feedback.
    `expert`: whose terminal feedback gold gets; None: the plain sentence. `workings`: what matches it is no part of a
    plain answer, as which a repaired attempt is trained.
    """
    kept = kept_names(sources)
    improvements, direct, repaired = pools(kept, sources, config, seed, iteration)
    gold = _gold_names(problems, seed, iteration)
    num_correct = len(direct) + len(repaired)
    if config.auto:
        drawn, num_gold = [improvements, direct, repaired], round_half_up(config.gold_ratio * num_correct)
    else:
        limits = [(len(improvements), config.improvement_ratio), (num_correct, 1.0), (len(gold), config.gold_ratio)]
        num = _bucket_size(limits)
        num_improvements, _, num_gold = (round_half_up(ratio * num) for _, ratio in limits)
        num_repaired = min(len(repaired), max(num // 2, num - len(direct)))
        drawn = [improvements[:num_improvements], direct[: num - num_repaired], repaired[:num_repaired]]
    bucket = pl.when(pl.col("kind") == X_IMP).then(pl.lit(IMPROVEMENT)).otherwise(pl.lit(CORRECT_ANSWER))
    chosen = pl.concat(drawn).with_columns(bucket=bucket)
    num_gold = min(num_gold, len(gold))
    tables = _tables(chosen, sources, gold, num_gold, problems, task, iteration, expert, workings, config.terminal)
    return Balanced(chosen, len(kept), len(gold), num_gold, tables)


def pools(
    kept: pl.DataFrame, sources: Sequence[Columns], config: BalanceConfig, seed: int, iteration: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Kept triplets without repetitions, each pool in the order of drawing: x_imp, direct x_T, repaired x_T.

    `kept`: the columns `source`, `row`, `triplet_id`, `iteration`, `kind`, `origin`.
    """
    frame = kept.filter(pl.col("iteration") == iteration) if config.replay == "latest" else kept
    if frame["source"].n_unique() > 1 or not frame["triplet_id"].is_unique().all():
        frame = _without_repetitions(frame, sources)  # one iteration's filter has seen to it
    frame = _ranked(frame, draw_ranks(frame["triplet_id"], seed, iteration), "triplet_id")
    return (
        frame.filter(kind=X_IMP),
        frame.filter(kind=X_T, origin=DIRECT),
        frame.filter(kind=X_T, origin=REPAIRED) if config.repaired else frame.clear(),
    )


def draw_ranks(ids: pl.Series, seed: int, iteration: int) -> pl.Series:
    """64 bits for each id: its place in the drawing order, which depends on seed, iteration and the id alone.

    FNV-1a over the UTF-8 bytes of `{seed}/{iteration}/{id}`, then the mixing of splitmix64, because the last letters
    of FNV hardly reach the upper bits.
    """
    start = _FNV_OFFSET
    for byte in f"{seed}/{iteration}/".encode():
        start = (start ^ byte) * _FNV_PRIME % 2**64
    array = ids.to_arrow().cast(pa.large_string())
    _, offset_buffer, data_buffer = array.buffers()
    if not len(ids):
        return pl.Series("rank", [], dtype=pl.UInt64)
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    first, length = offsets[:-1], np.diff(offsets)
    ranks = np.full(len(ids), start, dtype=np.uint64)
    for position in range(int(length.max())):
        within = length > position
        if within.all():
            ranks = (ranks ^ data[first + position]) * np.uint64(_FNV_PRIME)
        else:
            ranks[within] = (ranks[within] ^ data[first[within] + position]) * np.uint64(_FNV_PRIME)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        ranks = (ranks ^ (ranks >> np.uint64(shift))) * np.uint64(factor)
    return pl.Series("rank", ranks ^ (ranks >> np.uint64(31)), dtype=pl.UInt64)


def _ranked(frame: pl.DataFrame, ranks: pl.Series, id_column: str) -> pl.DataFrame:
    """In the order of the ranks, and of the ids where these are equal."""
    if ranks.is_unique().all():  # one key of numbers is sorted many times faster than two, one of them text
        return frame[ranks.arg_sort()]
    return frame.with_columns(rank=ranks).sort("rank", id_column).drop("rank")


def round_half_up(value: float) -> int:
    """To the nearest integer, for values of at least 0."""
    return floor(value + 0.5)


def _bucket_size(limits: Sequence[tuple[int, float]]) -> int:
    """The largest n with round(ratio * n) <= number for every (number, ratio)."""
    n = min(floor((number + 0.5) / ratio) + 1 for number, ratio in limits if ratio > 0)
    while n > 0 and any(round_half_up(ratio * n) > number for number, ratio in limits):
        n -= 1
    return n


def kept_names(sources: Sequence[Columns]) -> pl.DataFrame:
    """The kept triplets of all sources: _NAMES without `kept`, and `source` and `row`, where they are found."""
    found = [
        pl.DataFrame(
            schema={
                "triplet_id": pl.String,
                "kind": pl.String,
                "origin": pl.String,
                "iteration": pl.Int32,
                "source": pl.UInt32,
                "row": pl.UInt32,
            }
        )
    ]
    for source, columns in enumerate(sources):
        start = 0
        for batch in columns(_NAMES):
            frame = pl.DataFrame(pl.from_arrow(batch)).with_row_index("row", offset=start).filter("kept").drop("kept")
            found.append(frame.with_columns(source=pl.lit(source, pl.UInt32)).select(found[0].columns))
            start += len(batch)
    return pl.concat(found)


def _without_repetitions(frame: pl.DataFrame, sources: Sequence[Columns]) -> pl.DataFrame:
    """Of equal triplets the oldest, and the student's own answer before the same one by an expert."""
    hashed = []
    for (source, start), batch in _batches(sources, CONTENT):
        rows = _rows_in(frame, source, start, len(batch))
        content = pl.DataFrame(pl.from_arrow(batch))[rows["row"] - start]
        hashed.append(pl.concat([rows, content.select(**hashes(pl.struct(CONTENT)))], how="horizontal"))
    if not hashed:
        return frame
    return (
        pl.concat(hashed)
        .sort("iteration", pl.col("origin") == REPAIRED, "triplet_id", "source", "row", nulls_last=True)
        .unique(["hash_0", "hash_1"], keep="first", maintain_order=True)
        .drop("hash_0", "hash_1")
    )


def _gold_names(problems: Columns, seed: int, iteration: int) -> pl.DataFrame:
    """Training questions with a rationale in the order of drawing: `row` and `row_id`."""
    found = [pl.DataFrame(schema={"row": pl.UInt32, "row_id": pl.String})]
    start = 0
    for batch in problems(("problem_id", "split", "rationale")):
        frame = pl.DataFrame(pl.from_arrow(batch)).with_row_index("row", offset=start)
        has_rationale = (pl.col("split") == "train") & (pl.col("rationale").fill_null("") != "")
        found.append(frame.filter(has_rationale).select("row", row_id=pl.lit(f"{GOLD}.") + pl.col("problem_id")))
        start += len(batch)
    gold = pl.concat(found)
    return _ranked(gold, draw_ranks(gold["row_id"], seed, iteration), "row_id")


def _tables(
    chosen: pl.DataFrame,
    sources: Sequence[Columns],
    gold: pl.DataFrame,
    num_gold: int,
    problems: Columns,
    task: Task,
    iteration: int,
    expert: Expert | None,
    workings: str | None,
    terminal: bool,
) -> Iterator[pa.Table]:
    """`rows-1` in canonical order: triplets by iteration and id, then gold."""
    chosen = chosen.with_columns(
        row_id=pl.concat_str(pl.col("iteration").cast(pl.String).str.zfill(3), pl.lit("."), "triplet_id")
    ).sort("source", "row")
    said: list[pl.DataFrame] = []
    tables = _triplet_tables(chosen, sources, task, workings, terminal, said)
    if chosen["row_id"].is_sorted():
        yield from tables
    else:  # two sources of one iteration
        yield pa.concat_tables(tables).sort_by("row_id")
    gold_frames = partial(_gold_frames, problems=problems, iteration=iteration, expert=expert, terminal=terminal)
    yield from _gold_tables(gold, num_gold, pl.concat(said) if said else None, task, gold_frames)


def _triplet_tables(
    chosen: pl.DataFrame,
    sources: Sequence[Columns],
    task: Task,
    workings: str | None,
    terminal: bool,
    said: list[pl.DataFrame],
) -> Iterator[pa.Table]:
    """The rows of drawn triplets; the hashes of their texts go to `said`."""

    def made(part: tuple[tuple[int, int], pa.Table]) -> tuple[pa.Table, pl.DataFrame] | None:
        (source, start), batch = part
        rows = _rows_in(chosen, source, start, len(batch))
        if not len(rows):
            return None
        texts = pl.DataFrame(pl.from_arrow(batch)).drop("kind")[rows["row"] - start]
        frame = pl.concat([rows, texts], how="horizontal")
        if workings is not None:
            plain = pl.col("attempt").str.replace_all(workings, "")
            frame = frame.with_columns(attempt=pl.when(kind=X_T).then(plain).otherwise("attempt"))
        if not terminal:
            frame = frame.with_columns(feedback=pl.when(pl.col("kind") != X_T).then("feedback"))
        return row_table(frame, task), _hashes(row_texts(frame, task))

    for of_batch in ahead(made, _batches(sources, _TEXTS)):
        if of_batch is not None:
            said.append(of_batch[1])
            yield of_batch[0]


def _gold_tables(
    gold: pl.DataFrame,
    num_gold: int,
    said: pl.DataFrame | None,
    task: Task,
    frames: Callable[[pl.DataFrame], Iterator[pl.DataFrame]],
) -> Iterator[pa.Table]:
    """The first `num_gold` rows of `gold`, those that `said` holds behind all others. `frames`: `_gold_frames`."""
    if not num_gold:
        return
    if said is not None and num_gold < len(gold):
        known = [rows.select("row").with_columns(_hashes(row_texts(rows, task))) for rows in frames(gold)]
        repeated = pl.concat(known).join(said, on=["hash_0", "hash_1"], how="semi")["row"]
        late = gold["row"].is_in(repeated.implode())
        gold = pl.concat([gold.filter(~late), gold.filter(late)])
    for rows in frames(gold[:num_gold]):
        yield row_table(rows, task)


def _gold_frames(
    gold: pl.DataFrame, problems: Columns, iteration: int, expert: Expert | None, terminal: bool
) -> Iterator[pl.DataFrame]:
    """What `row_table` needs of these gold rows, in the order of the problems."""
    start = 0
    for batch in problems(_PROBLEM):
        rows = gold.filter(pl.col("row").is_between(start, start + len(batch) - 1)).sort("row")
        frame = pl.DataFrame(pl.from_arrow(batch))[rows["row"] - start]
        start += len(batch)
        if not len(rows):
            continue
        if not terminal:
            feedback = pl.Series([None], dtype=pl.String).new_from_index(0, len(frame))
        elif expert is None:
            feedback = terminal_feedbacks(frame["rationale"])
        else:
            feedback = pl.Series([gold_feedback(problem, expert) for problem in frame.iter_rows(named=True)])
        yield rows.select(
            "row",
            "row_id",
            bucket=pl.lit(GOLD),
            kind=pl.lit(X_T),
            problem_id=frame["problem_id"],
            triplet_id=pl.lit(None, pl.String),
            iteration=pl.lit(iteration, pl.Int32),
            question=frame["question"],
            attempt=frame["rationale"],
            feedback=feedback,
            updated=pl.lit(None, pl.String),
        )


def _batches(sources: Sequence[Columns], names: Sequence[str]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
    """((number of the source, first row), rows) of every batch."""
    for source, columns in enumerate(sources):
        start = 0
        for batch in columns(names):
            yield (source, start), batch
            start += len(batch)


def _rows_in(frame: pl.DataFrame, source: int, start: int, num_rows: int) -> pl.DataFrame:
    """The rows of `frame` that lie in this batch, in its order."""
    within = (pl.col("source") == source) & pl.col("row").is_between(start, start + num_rows - 1)
    return frame.filter(within).sort("row")


def _hashes(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"text": texts}).select(**hashes(pl.col("text")))
