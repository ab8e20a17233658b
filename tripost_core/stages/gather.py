"""The trajectories of several workers as one buffer, the same as one worker would have written."""

from __future__ import annotations

from collections import Counter

from tripost_core.buffers import Row, read_manifest, read_rows
from tripost_core.stages import StageContext, StageResult
from tripost_core.stages.generate import speed


def run(context: StageContext) -> StageResult:
    """Inputs: `shard-0`, `shard-1`, ...: `trajectories-2` of different questions. The metrics are those of `generate`;
    `seconds` is the longest of the shards'. Raises StorageError."""
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    num_in = num_truncated = num_tokens = 0
    seconds = 0.0
    for reference in context.inputs.values():
        rows += read_rows(reference)
        manifest = read_manifest(reference.uri) or {}
        dropped.update(manifest["dropped"])
        num_in += manifest["in"]
        num_tokens += manifest["metrics"]["tokens"]
        num_truncated += manifest["metrics"]["num_truncated"]
        seconds = max(seconds, manifest["metrics"]["seconds"])
    return StageResult(
        schema="trajectories-2",
        rows=rows,
        num_in=num_in,
        num_kept=len(rows),
        dropped=dict(dropped),
        metrics={**speed(num_tokens, seconds), "num_truncated": num_truncated, "num_shards": len(context.inputs)},
    )
