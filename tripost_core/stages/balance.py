"""Stage `balance`: the training rows of an iteration from triplets and gold rationales (paper section 2.3)."""

from __future__ import annotations

from collections import Counter

from tripost_core.buffers import Row, read_rows
from tripost_core.config import BalanceConfig
from tripost_core.errors import DataError
from tripost_core.experts import load_expert
from tripost_core.problems import load_task
from tripost_core.replay import DIRECT, REPAIRED, balance, gold_rows
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `BalanceConfig` (nothing at iteration 0); params: `task`, `iteration`, `checks` (gold gets feedback with
    its checks worked out); inputs: `problems` and one `triplets-i` per iteration so far. Without triplets: every gold
    rationale, without feedback (`ft rationale`).

    Metrics: `by_bucket`, `improvement_share` (p), `num_direct`, `num_repaired`.
    """
    task, iteration = load_task(context.params["task"]), context.params["iteration"]
    gold = [row for row in read_rows(context.inputs["problems"]) if row["split"] == "train" and row["rationale"]]
    triplets: list[Row] = []
    for name in sorted(context.inputs):
        if name.startswith("triplets-"):
            triplets += (row for row in read_rows(context.inputs[name]) if row["kept"])
    if not any(name.startswith("triplets-") for name in context.inputs):
        if not gold:
            raise DataError(
                "No training question has a rationale to begin with: name a field that holds one, or let the expert "
                "model write them (expert.rationales: expert)."
            )
        rows = gold_rows(gold, task, iteration, with_feedback=False)
    else:
        config = BalanceConfig.model_validate(context.config)
        expert = None
        if context.params.get("checks"):
            expert = load_expert({"checks": True}, context.params["task"], context.seed)
        rows = balance(triplets, gold, task, config, context.seed, iteration, expert)
    num_in = len(triplets) + len(gold)
    buckets = Counter(row["bucket"] for row in rows)
    origin = {triplet["triplet_id"]: triplet["origin"] for triplet in triplets}
    origins = Counter(origin.get(row["triplet_id"]) for row in rows)
    return StageResult(
        schema="rows-1",
        rows=rows,
        num_in=num_in,
        num_kept=len(rows),
        dropped={"not_drawn": num_in - len(rows)} if num_in > len(rows) else {},
        metrics={
            "by_bucket": dict(sorted(buckets.items())),
            "improvement_share": buckets["improvement"] / len(rows) if rows else 0.0,
            "num_direct": origins[DIRECT],
            "num_repaired": origins[REPAIRED],
        },
    )
