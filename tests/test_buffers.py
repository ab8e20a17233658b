"""Parquet buffers: whole or not there, the same digest for the same rows, and one sentence for every fault."""

import builtins
import errno
import json
import os
import random
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core import buffers
from tripost_core.buffers import (
    Ref,
    canonical_json,
    digest_rows,
    find,
    is_intact,
    read_manifest,
    read_rows,
    read_side_rows,
    write_buffer,
    write_file,
)
from tripost_core.errors import StorageError
from tripost_core.schemas import SCHEMAS, id_column

SCHEMA = "rows-1"


def row(i, text="text"):
    return {
        "row_id": f"r{i:04d}",
        "bucket": "gold",
        "kind": "x_T",
        "problem_id": f"p{i}",
        "triplet_id": None,
        "iteration": 0,
        "segments": [{"role": "prompt", "text": text}, {"role": "attempt", "text": ""}],
    }


texts = st.text(st.characters(codec="utf-8"), max_size=20)
rows = st.lists(texts, max_size=8).map(lambda found: [row(i, text) for i, text in enumerate(found)])


@settings(max_examples=30)
@given(rows, st.randoms(use_true_random=False))
def test_what_is_written_is_read_in_canonical_order_whatever_the_order(tmp_path_factory, found, rng):
    directory = tmp_path_factory.mktemp("buffer")
    shuffled = found.copy()
    rng.shuffle(shuffled)
    first = write_buffer(str(directory / "a"), SCHEMA, found)
    second = write_buffer(str(directory / "b"), SCHEMA, shuffled, side_rows=[{"seconds": rng.random()}])
    assert read_rows(first) == read_rows(second) == found
    assert first.digest == second.digest == digest_rows(found, SCHEMA)
    assert first.num_rows == len(found)
    assert is_intact(first) and find(first.uri) == first


@settings(max_examples=30)
@given(rows.filter(bool), texts)
def test_another_row_is_another_digest(found, text):
    changed = [*found[:-1], row(len(found) - 1, found[-1]["segments"][0]["text"] + text + "!")]
    assert digest_rows(found, SCHEMA) != digest_rows(changed, SCHEMA)
    assert digest_rows(found, SCHEMA) != digest_rows(found[:-1], SCHEMA)


def test_the_digest_is_that_of_the_rows_and_not_of_what_surrounds_them(tmp_path):
    refs = [
        write_buffer(str(tmp_path / f"{i}"), SCHEMA, [row(1)], [{"cost_usd": float(i)}], {"run_id": i}) for i in (0, 1)
    ]
    assert refs[0].digest == refs[1].digest
    assert read_side_rows(refs[1]) == [{"cost_usd": 1.0}]
    assert read_manifest(refs[1].uri)["run_id"] == 1


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(mapping):
    assert canonical_json(mapping) == canonical_json(dict(reversed(mapping.items())))
    assert json.loads(canonical_json(mapping)) == mapping


def test_every_schema_has_an_identity_and_takes_no_rows(tmp_path):
    for schema in SCHEMAS:
        assert id_column(schema).endswith("_id")
        ref = write_buffer(str(tmp_path / schema), schema, [])
        assert read_rows(ref) == [] and is_intact(ref)


def test_many_rows_are_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(buffers, "ROWS_PER_SHARD", 3)
    found = [row(i) for i in range(10)]
    random.Random(0).shuffle(found)
    ref = write_buffer(str(tmp_path / "b"), SCHEMA, found)
    assert len(read_manifest(ref.uri)["shards"]) == 4
    assert [r["row_id"] for r in read_rows(ref)] == [f"r{i:04d}" for i in range(10)]


def test_the_manifest_is_written_last_and_without_it_there_is_no_buffer(tmp_path, monkeypatch):
    written = []
    real = buffers.write_file
    monkeypatch.setattr(buffers, "write_file", lambda uri, data: (written.append(uri), real(uri, data)))
    ref = write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)], [{"seconds": 1.0}])
    assert [Path(uri).suffix for uri in written] == [".parquet", ".parquet", ".json"]
    (tmp_path / "b" / "manifest.json").unlink()
    assert find(ref.uri) is None and not is_intact(ref)
    with pytest.raises(StorageError, match="is gone"):
        read_rows(ref)


@pytest.mark.parametrize("damage", ["truncated", "altered", "removed", "emptied"])
@pytest.mark.parametrize("which", ["part", "side"])
def test_a_damaged_shard_is_noticed(tmp_path, damage, which):
    ref = write_buffer(str(tmp_path / "b"), SCHEMA, [row(i) for i in range(50)], [{"seconds": 1.0}])
    shard = next((tmp_path / "b").glob(f"{which}-*.parquet"))
    data = shard.read_bytes()
    if damage == "removed":
        shard.unlink()
    else:
        half = len(data) // 2
        flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        shard.write_bytes({"truncated": data[:half], "emptied": b"", "altered": flipped}[damage])
    assert not is_intact(ref)
    with pytest.raises(StorageError, match=r"cannot be read" if damage == "removed" else r"truncated or altered"):
        (read_rows if which == "part" else read_side_rows)(ref)


def test_a_buffer_with_other_rows_than_the_reference_is_refused(tmp_path):
    old = write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    write_buffer(str(tmp_path / "b"), SCHEMA, [row(2)])
    assert not is_intact(old)
    with pytest.raises(StorageError, match="other rows"):
        read_rows(old)


def test_a_manifest_that_is_no_json_is_named(tmp_path):
    ref = write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    (tmp_path / "b" / "manifest.json").write_text('{"digest": "12')
    assert not is_intact(ref)
    with pytest.raises(StorageError, match=r"manifest\.json is not a manifest"):
        read_rows(ref)


def test_a_second_writer_does_not_disturb_a_reader(tmp_path):
    """Its shards have other names, and the manifest changes in one step."""
    old = write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    shards = set((tmp_path / "b").glob("*.parquet"))
    write_buffer(str(tmp_path / "b"), SCHEMA, [row(2)])
    assert shards < set((tmp_path / "b").glob("*.parquet"))
    again = write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    assert again == old and read_rows(again) == [row(1)]


def test_ids_are_unique():
    with pytest.raises(AssertionError, match="row_id is not unique"):
        write_buffer("memory://never", SCHEMA, [row(1), row(1)])


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_visible(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match=r"part-00000-\w+\.parquet cannot be written: No space left on device\.$"):
        write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    assert list(tmp_path.rglob("*.*")) == []


def test_a_failing_rename_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "run.json"
    write_file(str(target), b"old")
    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(StorageError, match="No space left"):
        write_file(str(target), b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_a_read_only_directory_is_named(tmp_path, monkeypatch):
    """Refused by the system where the tests do not run as root, by `open` itself where they do."""
    real = builtins.open

    def refuse(file, mode="r", *args, **kwargs):
        if isinstance(file, str | os.PathLike) and str(file).startswith(str(tmp_path)) and "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr("fsspec.implementations.local.open", refuse, raising=False)
    with pytest.raises(StorageError, match=r"cannot be written: Read-only file system\.$"):
        write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob("*.parquet"))


def test_a_directory_that_is_a_file_is_named(tmp_path):
    (tmp_path / "b").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_buffer(str(tmp_path / "b"), SCHEMA, [row(1)])


def test_another_file_system(tmp_path):
    """Buffers are fsspec URIs, so that workers on several machines can share them."""
    ref = write_buffer("memory://store/b", SCHEMA, [row(i) for i in range(3)])
    assert read_rows(ref) == [row(i) for i in range(3)]
    assert is_intact(ref)
    filesystem = fsspec.filesystem("memory")
    assert not [name for name in filesystem.find("/store") if ".tmp-" in name]
    shard = next(name for name in filesystem.find("/store") if name.endswith(".parquet"))
    filesystem.pipe(shard, b"PAR1")
    assert not is_intact(ref)


def test_a_reference_is_small_and_frozen():
    ref = Ref(uri="file:///x", digest="d", kind=SCHEMA)
    assert Ref.model_validate_json(ref.model_dump_json()) == ref
    with pytest.raises(ValueError, match="frozen"):
        ref.uri = "elsewhere"
