"""Lists of dictionaries through the replay that works on columns: tables of a few rows in, dictionaries out."""

from __future__ import annotations

import pyarrow as pa

from tripost_core.replay import balance as by_columns
from tripost_core.replay.filter import filter_trajectories
from tripost_core.replay.lengths import LengthLimit
from tripost_core.schemas import SCHEMAS

BATCH = 3


def batches(rows, schema, size=BATCH):
    """A function that gives tables of `size` rows from the first one on, of the named columns."""
    table, schema_names = pa.Table.from_pylist(list(rows), schema=SCHEMAS[schema]), SCHEMAS[schema].names

    def read(names=None):
        wanted = schema_names if names is None else dict.fromkeys(name.partition(".")[0] for name in names)
        chosen = table.select(list(wanted))
        return (chosen[start : start + size] for start in range(0, len(chosen), size))

    return read


def filtered(trajectories, task, max_length=10**6, limit=None, size=BATCH, schema="trajectories-2", workings=None):
    """The triplets of some trajectories, with `kept` and `reason`; a token is a character unless `limit` says else."""
    ordered = sorted(trajectories, key=lambda row: row["trajectory_id"])
    limit = limit or LengthLimit(task, max_length, count=lambda texts: [len(text) for text in texts])
    found = filter_trajectories(batches(ordered, schema, size), task, limit, workings=workings)
    return [row for table in found.tables() for row in table.to_pylist()]


def balanced(triplets, problems, task, config, seed, iteration, expert=None, size=BATCH, workings=None):
    """The training rows, each iteration's triplets from a source of their own."""
    drawn = by_columns.balance(
        sources_of(triplets, size),
        batches(problems, "problems-1", size),
        task,
        config,
        seed,
        iteration,
        expert,
        workings,
    )
    return [row for table in drawn.tables for row in table.to_pylist()]


def pools(triplets, config, seed, iteration):
    """The three pools as dictionaries of names."""
    sources = sources_of(triplets, BATCH)
    kept = by_columns.kept_names(sources)
    return tuple(pool.to_dicts() for pool in by_columns.pools(kept, sources, config, seed, iteration))


def sources_of(triplets, size):
    iterations = sorted({row["iteration"] for row in triplets})
    return [batches([row for row in triplets if row["iteration"] == i], "triplets-1", size) for i in iterations]
