"""Stage `filter`: edited trajectories become triplets, each kept or dropped for a reason (paper section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tripost_core.buffers import read_batches
from tripost_core.config import FilterConfig
from tripost_core.errors import ModelError
from tripost_core.experts.checks import of_task
from tripost_core.problems import load_task
from tripost_core.replay.content import X_IMP
from tripost_core.replay.filter import filter_trajectories
from tripost_core.replay.lengths import length_limit
from tripost_core.replay.split import DIRECT, REPAIRED
from tripost_core.stages import StageContext, StageResult, local_checkpoint


def run(context: StageContext) -> StageResult:
    """Config: `FilterConfig`; params: `task`, `iteration`; inputs: `trajectories`, `student` (for its tokenizer).

    Metrics: `num_improvements` (x_imp kept), `num_direct` and `num_repaired` (x_T kept), `error_classes` of the kept
    x_imp, `rounds` (trajectories by improvements needed).
    """
    task = load_task(context.params["task"])
    config = FilterConfig.model_validate(context.config)
    limit = length_limit(_tokenizer(local_checkpoint(context.inputs["student"])), task, config.max_length_tokens)
    trajectories = context.inputs["trajectories"]
    workings = of_task(context.params["task"]).WORKING.pattern if context.params.get("workings") else None
    filtered = filter_trajectories(lambda names: read_batches(trajectories, names), task, limit, workings=workings)
    result = StageResult(schema="triplets-1")

    def rows() -> Iterator[pa.Table]:
        yield from filtered.tables()
        context.progress("filter", filtered.num_in, filtered.num_in)
        result.num_in, result.num_kept = filtered.num_in, filtered.kept.total()  # counted while they are written
        result.dropped = dict(filtered.dropped)
        result.metrics = {
            "num_improvements": filtered.kept[X_IMP],
            "num_direct": filtered.kept[DIRECT],
            "num_repaired": filtered.kept[REPAIRED],
            "error_classes": dict(sorted(filtered.error_classes.items())),
            "rounds": {str(n): count for n, count in sorted(filtered.rounds.items())},
        }

    result.rows = rows()
    return result


def _tokenizer(directory: Path) -> Any:
    """The student's tokenizer without its weights. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as many ways to fail as there are tokenizers
        cause = " ".join(str(error).split())[:200]
        raise ModelError(f"The tokenizer in {directory} cannot be loaded: {cause}") from error
