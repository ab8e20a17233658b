"""Parquet buffers: what passes between stages, by reference.

A buffer is a directory (any fsspec URI) of Parquet shards and a `manifest.json` that is written last: without its
manifest a buffer does not exist. The digest covers the logical rows in canonical order, and nothing that differs
between two runs of the same work (no run id, time, cost or URI); those stand in the manifest and in the side table.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tripost_core.digest import RowDigest
from tripost_core.errors import StorageError, TripostError
from tripost_core.schemas import SCHEMAS, id_column

MANIFEST = "manifest.json"
ROWS_PER_SHARD = 50_000
_REPEATING = ("kind", "origin", "reason", "task", "subtask", "error_class", "bucket", "split", "status")
Row = dict[str, Any]


class Ref(BaseModel):
    """What passes between tasks: where a buffer or checkpoint is and what it holds, never the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    digest: str
    kind: str
    """A schema name of `schemas.py`, `checkpoint` or `report`."""
    num_rows: int = 0


def canonical_json(value: Any) -> str:
    """One spelling for equal values; the text that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_rows(rows: Iterable[Row], schema: str) -> str:
    """`RowDigest` of rows as dictionaries, in any order."""
    digest = RowDigest(schema)
    digest.update(_canonical_table(rows, schema))
    return digest.hexdigest()


def _canonical_table(rows: Iterable[Row], schema: str) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[schema]).sort_by(id_column(schema))


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def is_local(uri: str) -> bool:
    """Whether `uri` is a path of this machine."""
    scheme, separator, _ = uri.rpartition("://")
    return not separator or scheme == "file"


def _filesystem(uri: str) -> tuple[Any, str]:
    if is_local(uri):
        return fsspec.core.url_to_fs(uri)
    try:
        # What another machine has just written is not in a listing that this one remembers.
        return fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri} cannot be used: {' '.join(str(error).split())}") from None


@contextmanager
def _told(path: str, what: str) -> Iterator[None]:
    """An error of the file system as a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be {what}: {_cause(error)}.") from error
    except TripostError:
        raise
    except Exception as error:
        # The libraries of object stores have errors of their own: no credentials, no such bucket, nobody there.
        raise StorageError(f"{path} cannot be {what}: {_cause(error)}.") from ConnectionError(str(error))


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".") or type(error).__name__


def write_file(uri: str, data: bytes) -> None:
    """Whole or not at all. Raises StorageError."""
    filesystem, path = _filesystem(uri)
    if not is_local(uri):
        with _told(uri, "written"):
            filesystem.pipe_file(path, data)  # an object appears when it is complete
        return

    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    _replace(path, write)


def copy_file(source: Path, uri: str) -> str:
    """A local file to `uri`, whole or not at all; SHA-256 of its content. Raises StorageError."""
    filesystem, path = _filesystem(uri)
    with _told(str(source), "read"):
        digest = sha256_of_file(source)
    if not is_local(uri):
        with _told(uri, "written"):
            filesystem.put_file(str(source), path)
        return digest

    def write(temporary: str) -> None:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())

    _replace(path, write)
    return digest


def _replace(path: str, write: Callable[[str], None]) -> None:
    """A temporary name, fsync by `write`, rename."""
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
        _sync_directory(os.path.dirname(path))
    except OSError as error:
        try:
            os.remove(temporary)
        except OSError:
            pass  # it was never created, or the disk refuses this too
        raise StorageError(f"{path} cannot be written: {_cause(error)}.") from error


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(uri: str) -> bytes:
    """Raises StorageError."""
    filesystem, path = _filesystem(uri)
    with _told(uri if not is_local(uri) else path, "read"), filesystem.open(path, "rb") as file:
        return file.read()


def fetch_directory(uri: str, target: Path) -> None:
    """Every file of a remote directory to a local one, which is there when it is complete. Raises StorageError."""
    filesystem, path = _filesystem(uri)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        with _told(uri, "fetched"):
            temporary.mkdir(parents=True)
            for name in filesystem.ls(path, detail=False):
                filesystem.get_file(name, str(temporary / name.rpartition("/")[2]))
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():
                    raise  # else another process was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_of_file(path: str | Path, filesystem: Any = None) -> str:
    """In hex, read piece by piece; `filesystem`: of fsspec, None for a path of this machine. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") if filesystem is None else filesystem.open(path, "rb") as file:
        while chunk := file.read(2**24):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(uri: str) -> dict[str, Any] | None:
    """The manifest in this directory, or None where there is none. Raises StorageError if it is not JSON."""
    filesystem, path = _filesystem(join(uri, MANIFEST))
    with _told(path, "read"):
        if not filesystem.exists(path):
            return None
    try:
        return json.loads(read_file(join(uri, MANIFEST)))
    except ValueError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} is not a manifest: it holds no JSON.") from None


def write_manifest(uri: str, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_file(join(uri, MANIFEST), text.encode())


def write_buffer(
    uri: str,
    schema: str,
    rows: Sequence[Row] | Iterator[pa.Table],
    side_rows: Sequence[Row] = (),
    about: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
) -> Ref:
    """Writes rows (canonical order), the side table and, last, the manifest with `about` in it.

    `rows`: dictionaries in any order, or an iterator of tables whose rows come in canonical order, of which a few
    shards are in memory at a time. `side_rows` (cost, times, whatever differs between two runs of the same work) are
    outside the digest. `about` is called when the rows are written.
    Raises StorageError; two writers of the same rows do not disturb each other.
    """
    tables = iter([_canonical_table(rows, schema)]) if isinstance(rows, Sequence) else rows
    digest, num_rows, shards = _write_shards(uri, schema, tables)
    side = []
    if side_rows:
        side.append(_write_shard(uri, "side", _parquet_bytes(pa.Table.from_pylist(list(side_rows)))))
    ref = Ref(uri=uri, digest=digest, kind=schema, num_rows=num_rows)
    told = about() if callable(about) else about or {}
    write_manifest(uri, {**told, **ref.model_dump(exclude={"uri"}), "shards": shards, "side": side})
    return ref


def _write_shards(uri: str, schema: str, tables: Iterable[pa.Table]) -> tuple[str, int, list[dict[str, Any]]]:
    """(digest, number of rows, shards). One thread hashes and one compresses while the next rows are made."""
    digest = RowDigest(schema)
    last: str | None = None
    shards: list[Future[dict[str, Any]]] = []
    num_rows = 0
    with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(1) as writing:
        hashed: Future[None] | None = None
        for number, table in enumerate(_in_shards(tables, SCHEMAS[schema])):
            last = _checked_order(table[id_column(schema)], schema, last)
            num_rows += len(table)
            for work in (hashed, shards[-1] if shards else None):
                if work is not None:
                    work.result()  # not more than two shards in memory
            hashed = hashing.submit(digest.update, table)
            shards.append(writing.submit(_write_table, uri, number, table))
        if hashed is not None:
            hashed.result()
        return digest.hexdigest(), num_rows, [shard.result() for shard in shards]


def _write_table(uri: str, number: int, table: pa.Table) -> dict[str, Any]:
    return {**_write_shard(uri, f"part-{number:05d}", _parquet_bytes(table)), "num_rows": len(table)}


def _in_shards(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_SHARD, the last one shorter; a single empty one where there are none."""
    waiting: list[pa.Table] = []
    num_waiting = num_shards = 0
    for table in tables:
        assert table.schema.equals(schema), table.schema
        waiting.append(table)
        num_waiting += len(table)
        while num_waiting >= ROWS_PER_SHARD:
            rows = pa.concat_tables(waiting)
            yield rows[:ROWS_PER_SHARD].combine_chunks()
            num_shards += 1
            waiting, num_waiting = [rows[ROWS_PER_SHARD:]], num_waiting - ROWS_PER_SHARD
    if num_waiting or not num_shards:
        yield pa.concat_tables([*waiting, schema.empty_table()]).combine_chunks()


def _checked_order(ids: pa.ChunkedArray, schema: str, last: str | None) -> str | None:
    """The last id. In canonical order ids ascend, so equal ones would stand side by side."""
    values = pa.concat_arrays([pa.array([last] if last is not None else [], pa.string()), *ids.chunks])
    ascending = pc.all(pc.less(values[:-1], values[1:]), min_count=0).as_py()
    assert ascending, f"{schema}: {id_column(schema)} is not unique, or the rows are not in its order"
    return values[-1].as_py() if len(values) else None


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    # A dictionary pays where few values repeat; of texts it would be built, found too large and thrown away. The least
    # and the greatest text of a column are of no use to anybody.
    names = [field.name for field in table.schema if field.name in _REPEATING] or False
    pq.write_table(table, sink, compression="zstd", use_dictionary=names, write_statistics=False)
    return sink.getvalue()


def _write_shard(uri: str, stem: str, data: bytes) -> dict[str, Any]:
    sha = hashlib.sha256(data).hexdigest()
    # The content is in the name, so a second writer of other bytes never replaces a shard under a reader.
    name = f"{stem}-{sha[:8]}.parquet"
    write_file(join(uri, name), data)
    return {"file": name, "sha256": sha}


def find(uri: str) -> Ref | None:
    """The buffer or checkpoint at `uri` as its manifest gives it, files unchecked; None where there is none."""
    manifest = read_manifest(uri)
    if manifest is None:
        return None
    return Ref(uri=uri, digest=manifest["digest"], kind=manifest["kind"], num_rows=manifest["num_rows"])


def read_table(ref: Ref) -> pa.Table:
    """The rows, every shard checked against the manifest. Raises StorageError for a missing or altered file."""
    return pa.concat_tables(
        pq.read_table(io.BytesIO(_checked(ref.uri, shard)), schema=SCHEMAS[ref.kind]) for shard in _shards(ref)
    )


def read_batches(ref: Ref, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows in canonical order, a shard at a time. Raises StorageError.

    The next shard is read while the caller works on one.

    `columns`: names, of nested ones as Parquet spells them (`turns.list.element.attempt`); those that the buffer's
    schema has not are left out.
    """

    def read(shard: dict[str, Any]) -> pa.Table:
        data = _checked(ref.uri, shard)
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=None if columns is None else list(columns))

    shards = _shards(ref)
    with ThreadPoolExecutor(1) as reading:
        following = reading.submit(read, shards[0]) if shards else None
        for shard in [*shards[1:], None]:
            assert following is not None
            table = following.result()
            following = reading.submit(read, shard) if shard is not None else None
            yield table  # and meanwhile the next one is read
            del table


def _shards(ref: Ref) -> list[dict[str, Any]]:
    manifest = read_manifest(ref.uri)
    if manifest is None or manifest["digest"] != ref.digest:
        raise StorageError(f"The buffer {ref.uri} is gone or holds other rows than the stage before it wrote.")
    return manifest["shards"]


def read_rows(ref: Ref) -> list[Row]:
    """`read_table` as dictionaries, in canonical order."""
    return read_table(ref).to_pylist()


def read_side_rows(ref: Ref) -> list[Row]:
    """The side table; empty where there is none."""
    manifest = read_manifest(ref.uri) or {}
    rows: list[Row] = []
    for shard in manifest.get("side", []):
        rows += pq.read_table(io.BytesIO(_checked(ref.uri, shard))).to_pylist()
    return rows


def _checked(uri: str, shard: dict[str, Any]) -> bytes:
    data = read_file(join(uri, shard["file"]))
    if hashlib.sha256(data).hexdigest() != shard["sha256"]:
        raise StorageError(f"{join(uri, shard['file'])} is truncated or altered: its digest is not the manifest's.")
    return data


def is_intact(ref: Ref) -> bool:
    """Whether the manifest is there, is the ref's, and every file it names has its digest."""
    try:
        manifest = read_manifest(ref.uri)
        if manifest is None or manifest["digest"] != ref.digest:
            return False
        for shard in [*manifest.get("shards", []), *manifest.get("side", [])]:
            file = join(ref.uri, shard["file"])
            filesystem, path = _filesystem(file)
            with _told(file, "read"):
                if sha256_of_file(path, filesystem) != shard["sha256"]:
                    return False
    except StorageError:
        return False
    return True
