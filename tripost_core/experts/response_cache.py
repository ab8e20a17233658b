"""Every answer that was ever paid for, on disk, shared by runs: SQLite in WAL mode, safe for several processes at once.

An answer is durable (committed and synced) before anyone is given it, and what it cost the run is written in the same
transaction, so that neither a kill nor a full disk can part the two. Keys of endpoints are not in it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tripost_core.errors import StorageError
from tripost_core.experts.answers import Answer

NAME = "answers-1.sqlite"
_BUSY_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, endpoint TEXT, model TEXT, tag TEXT, outcome TEXT, text TEXT, detail TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, cost_usd REAL, created REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spend (run TEXT, key TEXT, cost_usd REAL, created REAL);
CREATE INDEX IF NOT EXISTS spend_by_run ON spend (run);
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, endpoint TEXT, remote TEXT, keys TEXT, created REAL);
"""
_COLUMNS = "outcome, text, detail, prompt_tokens, completion_tokens"


class Paid(NamedTuple):
    """An answer to be kept, with whose it is."""

    key: str
    endpoint: str
    model: str
    tag: str
    run: str
    answer: Answer


class BatchNote(NamedTuple):
    """A batch of calls that was or is about to be submitted. `remote`: the provider's id, once it is known."""

    name: str
    endpoint: str
    remote: str | None
    keys: tuple[str, ...]


class ResponseCache:
    """`directory` is made where it is missing. Raises StorageError."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._write_lock = threading.Lock()
        with self._explained():
            directory.mkdir(parents=True, exist_ok=True)
            self._read = self._connect()
            self._write = self._connect()
            self._write.executescript(_SCHEMA)

    def get(self, key: str) -> Answer | None:
        """The answer, as one from the cache, or None."""
        with self._explained():
            row = self._read.execute(f"SELECT {_COLUMNS} FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else _answer(row)

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Those that are there, by key; a few hundred thousand a second."""
        found: dict[str, Answer] = {}
        with self._explained():
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = self._read.execute(f"SELECT key, {_COLUMNS} FROM answers WHERE key IN ({marks})", some)
                found.update((row[0], _answer(row[1:])) for row in rows)
        return found

    def put_many(self, batch: Sequence[Paid]) -> None:
        """Durable when it returns. May be called from any thread."""
        now = time.time()
        answers = [
            (*paid[:4], a.outcome, a.text, a.detail, a.prompt_tokens, a.completion_tokens, a.cost_usd, now)
            for paid in batch
            for a in (paid.answer,)
        ]
        with self._write_lock, self._explained(), self._write:
            self._write.execute("BEGIN IMMEDIATE")
            self._write.executemany("INSERT OR IGNORE INTO answers VALUES (?,?,?,?,?,?,?,?,?,?,?)", answers)
            self._write.executemany(
                "INSERT INTO spend VALUES (?,?,?,?)", [(p.run, p.key, p.answer.cost_usd, now) for p in batch]
            )

    def spent_usd(self, run: str) -> float:
        """What a run has paid so far, over all its starts."""
        with self._explained():
            row = self._read.execute("SELECT COALESCE(SUM(cost_usd), 0) FROM spend WHERE run = ?", (run,)).fetchone()
        return float(row[0])

    def note_batch(self, note: BatchNote) -> None:
        """Durable when it returns; written again, it takes the place of the note of that name."""
        values = (note.name, note.endpoint, note.remote, " ".join(note.keys), time.time())
        with self._write_lock, self._explained():
            self._write.execute("INSERT OR REPLACE INTO batches VALUES (?,?,?,?,?)", values)

    def open_batches(self, endpoint: str) -> list[BatchNote]:
        """Those whose answers have not been fetched, oldest first."""
        with self._explained():
            rows = self._read.execute(
                "SELECT name, endpoint, remote, keys FROM batches WHERE endpoint = ? ORDER BY created", (endpoint,)
            ).fetchall()
        return [BatchNote(name, at, remote, tuple(keys.split())) for name, at, remote, keys in rows]

    def close_batch(self, name: str) -> None:
        with self._write_lock, self._explained():
            self._write.execute("DELETE FROM batches WHERE name = ?", (name,))

    def summary(self) -> list[dict[str, Any]]:
        """One row per endpoint, model and tag: answers, tokens, cost, first and last (seconds since the epoch)."""
        names = ["endpoint", "model", "tag", "answers", "prompt_tokens", "completion_tokens", "cost_usd"]
        names += ["first", "last"]
        with self._explained():
            rows = self._read.execute(
                "SELECT endpoint, model, tag, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(cost_usd), "
                "MIN(created), MAX(created) FROM answers GROUP BY 1, 2, 3 ORDER BY MAX(created) DESC"
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def prune(self, older_than: float | None = None, model: str | None = None, tag: str | None = None) -> int:
        """Removes answers by age (created before this time), model, or beginning of the tag; how many went."""
        conditions, values = ["1"], []
        for condition, value in (("created < ?", older_than), ("model = ?", model)):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if tag is not None:
            conditions.append("substr(tag, 1, length(?)) = ?")
            values += [tag, tag]
        with self._write_lock, self._explained():
            count = self._write.execute(f"DELETE FROM answers WHERE {' AND '.join(conditions)}", values).rowcount
            self._write.execute("VACUUM")
        return count

    def close(self) -> None:
        self._read.close()
        self._write.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, _BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a commit is on the disk when it returns
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"The response cache {self.path} cannot be used: {error}.") from error


def _answer(row: Sequence[Any]) -> Answer:
    return Answer(row[0], row[1], row[2], row[3], row[4], 0.0, True)
