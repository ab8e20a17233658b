"""Stage `filter`: edited trajectories become triplets, each kept or dropped for a reason (paper section 2.3)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tripost_core.buffers import read_rows
from tripost_core.config import FilterConfig
from tripost_core.errors import ModelError
from tripost_core.problems import load_task
from tripost_core.replay import X_IMP, X_T, filter_triplets, split
from tripost_core.stages import StageContext, StageResult, local_checkpoint


def run(context: StageContext) -> StageResult:
    """Config: `FilterConfig`; params: `task`, `iteration`; inputs: `trajectories`, `student` (for its tokenizer).

    Metrics: `num_improvements` (x_imp kept), `num_direct` and `num_repaired` (x_T kept), `error_classes` of the kept
    x_imp, `rounds` (trajectories by improvements needed).
    """
    from tripost_core.lm.encode import row_lengths_tokens

    task = load_task(context.params["task"])
    config = FilterConfig.model_validate(context.config)
    tokenizer = _tokenizer(local_checkpoint(context.inputs["student"]))
    trajectories = read_rows(context.inputs["trajectories"])
    triplets = filter_triplets(
        split(trajectories, task), task, lambda rows: row_lengths_tokens(rows, tokenizer), config.max_length_tokens
    )
    context.progress("filter", len(triplets), len(triplets))
    kept = [triplet for triplet in triplets if triplet["kept"]]
    improvements = [triplet for triplet in kept if triplet["kind"] == X_IMP]
    origins = Counter(triplet["origin"] for triplet in kept if triplet["kind"] == X_T)
    return StageResult(
        schema="triplets-1",
        rows=triplets,
        num_in=len(triplets),
        num_kept=len(kept),
        dropped=dict(Counter(triplet["reason"] for triplet in triplets if not triplet["kept"])),
        metrics={
            "num_improvements": len(improvements),
            "num_direct": origins["direct"],
            "num_repaired": origins["repaired"],
            "error_classes": dict(sorted(Counter(t["error_class"] or "unnamed" for t in improvements).items())),
            "rounds": {str(n): count for n, count in sorted(Counter(t["round"] for t in trajectories).items())},
        },
    )


def _tokenizer(directory: Path) -> Any:
    """The student's tokenizer without its weights. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as many ways to fail as there are tokenizers
        cause = " ".join(str(error).split())[:200]
        raise ModelError(f"The tokenizer in {directory} cannot be loaded: {cause}") from error
