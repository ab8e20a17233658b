"""The digest of a buffer: of its rows in canonical order, whatever files, shards or batches they came in."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from blake3 import blake3


class RowDigest:
    """Hash of rows in canonical order, handed over in tables of any size: no file, shard or batch shows in it.

    Every leaf column has its own BLAKE3: of a flag per value whether it is there, and of the values (of strings the
    lengths and the UTF-8 bytes apart, of lists the lengths and the items); SHA-256 over the schema's name and those.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._leaves: dict[str, Any] = {}

    def update(self, table: pa.Table) -> None:
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                self._column(name, chunk)

    def hexdigest(self) -> str:
        total = hashlib.sha256(self.schema.encode())
        for path, leaf in sorted(self._leaves.items()):
            total.update(f"\n{path}=".encode() + leaf.digest())
        return total.hexdigest()

    def _column(self, path: str, array: pa.Array) -> None:
        self._values(f"{path}?", array.is_valid())
        if pa.types.is_struct(array.type):
            for field, values in zip(array.type, array.flatten(), strict=True):
                self._column(f"{path}.{field.name}", values)
        elif pa.types.is_list(array.type):
            self._values(f"{path}#", array.value_lengths().fill_null(0))
            self._column(f"{path}[]", array.flatten())
        elif pa.types.is_string(array.type):
            self._strings(path, array.fill_null("") if array.null_count else array)
        else:
            self._values(path, array.fill_null(pa.scalar(0).cast(array.type)) if array.null_count else array)

    def _strings(self, path: str, array: pa.Array) -> None:
        _, offsets_buffer, data = array.buffers()
        if not len(array):
            return
        offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
        self._feed(f"{path}#", np.diff(offsets).astype("<i4").view(np.uint8))
        if data is not None:
            self._feed(path, memoryview(data)[int(offsets[0]) : int(offsets[-1])])

    def _values(self, path: str, array: pa.Array) -> None:
        values = array.to_numpy(zero_copy_only=False)
        self._feed(path, np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).view(np.uint8))

    def _feed(self, path: str, data: Any) -> None:
        if path not in self._leaves:
            self._leaves[path] = blake3()
        self._leaves[path].update(data)
