"""Train: rows in, the next student out (paper section 2.4; iteration 0 is `ft rationale`)."""

from __future__ import annotations

from tripost_core.buffers import read_rows
from tripost_core.config import RanksConfig, TrackingConfig
from tripost_core.stages import StageContext, StageResult, local_checkpoint


def run(context: StageContext) -> StageResult:
    """Reads `student` and `rows`; params `num_steps` (None = by epochs). Raises TripostError."""
    from tripost_core.lm.train import train

    rows = read_rows(context.inputs["rows"])
    result = train(
        local_checkpoint(context.inputs["student"]),
        rows,
        context.config,
        context.params.get("num_steps"),
        context.seed,
        context.work_dir,
        context.progress,
        RanksConfig.model_validate(context.request.means.get("ranks", {})),
        TrackingConfig.model_validate(context.request.means.get("tracking", {})),
        context.request.label,
    )
    return StageResult(
        checkpoint=result.checkpoint_dir,
        num_in=len(rows),
        num_kept=result.num_rows,
        dropped={"too_long": result.num_too_long},
        metrics={
            "num_steps": result.num_steps,
            "num_rows": result.num_rows,
            "num_trained_tokens": result.num_trained_tokens,
            "micro_batch_size": result.micro_batch_size,
            "seconds": result.seconds,
            "losses": result.losses,
        },
    )
