"""Stage `balance`: the training rows of an iteration from triplets and gold rationales (paper section 2.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa

from tripost_core.buffers import Ref, read_batches, read_rows
from tripost_core.config import BalanceConfig
from tripost_core.errors import DataError
from tripost_core.experts import load_expert
from tripost_core.experts.checks import of_task
from tripost_core.problems import load_task
from tripost_core.replay.balance import Columns, balance
from tripost_core.replay.rows import GOLD, gold_rows
from tripost_core.replay.split import DIRECT, REPAIRED
from tripost_core.stages import StageContext, StageResult


def run(context: StageContext) -> StageResult:
    """Config: `BalanceConfig` (nothing at iteration 0); params: `task`, `iteration`, `workings` (gold gets feedback
    that works its checks out); inputs: `problems` and one `triplets-i` per iteration so far. Without triplets: every
    gold rationale, without feedback (`ft rationale`), and with `workings` every operation of it worked out.

    Metrics: `by_bucket`, `improvement_share` (p), `num_direct`, `num_repaired`.
    """
    names = [name for name in context.inputs if name.startswith("triplets-")]
    if not names:
        return _gold_alone(context)
    task, iteration = load_task(context.params["task"]), context.params["iteration"]
    config = BalanceConfig.model_validate(context.config)
    expert = workings = None
    if context.params.get("workings"):
        workings = of_task(context.params["task"]).WORKING.pattern
        expert = load_expert({"checks": True}, context.params["task"], context.seed)
    # In the order of the iterations, which is that of the rows: 10 after 9.
    sources = [_columns(context.inputs[name]) for name in sorted(names, key=lambda name: (len(name), name))]
    problems = _columns(context.inputs["problems"])
    balanced = balance(sources, problems, task, config, context.seed, iteration, expert, workings)
    buckets = Counter(dict(balanced.drawn["bucket"].value_counts().iter_rows()))
    if balanced.num_gold:
        buckets[GOLD] = balanced.num_gold
    origins = Counter(dict(balanced.drawn["origin"].value_counts().iter_rows()))
    num_in, num_rows = balanced.num_kept + balanced.num_gold_in, buckets.total()
    return StageResult(
        schema="rows-1",
        rows=balanced.tables,
        num_in=num_in,
        num_kept=num_rows,
        dropped={"not_drawn": num_in - num_rows} if num_in > num_rows else {},
        metrics={
            "by_bucket": dict(sorted(buckets.items())),
            "improvement_share": buckets["improvement"] / num_rows if num_rows else 0.0,
            "num_direct": origins[DIRECT],
            "num_repaired": origins[REPAIRED],
        },
    )


def _columns(ref: Ref) -> Columns:
    def read(names: Sequence[str]) -> Iterable[pa.Table]:
        return read_batches(ref, names)

    return read


def _gold_alone(context: StageContext) -> StageResult:
    """Iteration 0: every rationale."""
    gold = [row for row in read_rows(context.inputs["problems"]) if row["split"] == "train" and row["rationale"]]
    if not gold:
        raise DataError(
            "No training question has a rationale to begin with: name a field that holds one, or let the expert "
            "model write them (expert.rationales: expert)."
        )
    if context.params.get("workings"):
        worked = of_task(context.params["task"]).with_workings
        gold = [{**row, "rationale": "\n".join(worked(row["rationale"].split("\n"), 0))} for row in gold]
    rows = gold_rows(gold, load_task(context.params["task"]), context.params["iteration"], with_feedback=False)
    return StageResult(
        schema="rows-1",
        rows=rows,
        num_in=len(rows),
        num_kept=len(rows),
        metrics={"by_bucket": {GOLD: len(rows)}, "improvement_share": 0.0, "num_direct": 0, "num_repaired": 0},
    )
