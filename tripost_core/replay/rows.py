"""Training rows, `rows-1`: segments with a role, from one attempt at a time or from whole columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tripost_core.buffers import Row, canonical_json
from tripost_core.editing import problem_of
from tripost_core.experts.base import Expert, Verdict
from tripost_core.problems.base import Task, prompt
from tripost_core.replay.content import X_IMP, X_T, kept_characters, kept_lines
from tripost_core.schemas import SCHEMAS
from tripost_core.trajectory import Attempt, terminal_feedback

Segments = list[dict[str, str]]
"""What a row is made of: `{"role", "text"}` in order."""

ROLES = ("prompt", "attempt", "mistake", "feedback", "improvement")
"""In the order in which they stand in a row; one without text is left out."""

GOLD = "gold"

_LAST_STEP = (
    r"(?:^|\n)\(([0-9]+(?:\.[0-9]+)*)\)(?: [^\n]*)?(?:\n\(Final response\)(?: [^\n]*)?)?$"  # the last but the final
)


# -- one row -----------------------------------------------------------------------------------------------------------


def segments(
    task: Task, question: str, attempt: str, feedback: str | None = None, updated: str | None = None
) -> Segments:
    """What the student is trained on, as (role, text); the row's text is the concatenation, BOS and EOS aside."""
    kept = f"\n{attempt}" if feedback is None or updated is None else kept_lines(attempt, feedback)
    parts = [("prompt", prompt(task, question)), ("attempt", kept), ("mistake", f"\n{attempt}"[len(kept) :])]
    if feedback is not None:
        parts.append(("feedback", f"\nFeedback: {feedback}"))
    if updated is not None:
        parts.append(("improvement", f"\nUpdated {task.answer_header}\n{updated}"))
    return [{"role": role, "text": text} for role, text in parts if text]


def gold_rows(
    problems: Iterable[Row], task: Task, iteration: int, with_feedback: bool, expert: Expert | None = None
) -> list[Row]:
    """The gold rationales of rows of `problems-1`: as x_T with terminal feedback, or (ft rationale) without.

    `expert`: whose feedback it is; None: the plain sentence.
    """
    rows = []
    for problem in problems:
        rationale = problem["rationale"]
        feedback = gold_feedback(problem, expert) if with_feedback else None
        parts = segments(task, problem["question"], rationale, feedback)
        rows.append(training_row(gold_id(problem["problem_id"]), GOLD, X_T, problem["problem_id"], iteration, parts))
    return rows


def gold_feedback(problem: Row, expert: Expert | None) -> str:
    """The terminal feedback on a gold rationale, the expert's where there is one."""
    rationale = problem["rationale"]
    verdict = Verdict(True) if expert is None else expert.feedback(problem_of(problem), rationale)
    # A rationale of a file that a script finds fault with is gold all the same.
    return verdict.sentence(rationale) if verdict.correct else terminal_feedback(Attempt.parse(rationale))


def gold_id(problem_id: str) -> str:
    """A question has one rationale, so its row is named after it; behind every triplet's in the canonical order."""
    return f"{GOLD}.{problem_id}"


def stable_id(*parts: Any) -> str:
    """16 hex digits that depend on nothing but the parts."""
    return hashlib.sha256(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def training_row(
    row_id: str,
    bucket: str,
    kind: str,
    problem_id: str,
    iteration: int,
    parts: Segments,
    triplet_id: str | None = None,
) -> Row:
    """A row of `rows-1`."""
    return {
        "row_id": row_id,
        "bucket": bucket,
        "kind": kind,
        "problem_id": problem_id,
        "triplet_id": triplet_id,
        "iteration": iteration,
        "segments": parts,
    }


def text_of(parts: Iterable[dict[str, str]]) -> str:
    return "".join(part["text"] for part in parts)


# -- whole columns -----------------------------------------------------------------------------------------------------


def row_table(frame: pl.DataFrame, task: Task) -> pa.Table:
    """`training_row` of every row of `frame`, as a table of `rows-1`.

    Columns of `frame`: those of `rows-1` without `segments`, and `question`, `attempt`, `feedback`, `updated`, of which
    the last two may be null.
    """
    parts = _parts(frame, task)
    num_rows = len(frame)
    texts = pa.concat_arrays([_strings(parts[role]) for role in ROLES])
    filled = np.column_stack([parts[role].str.len_bytes().fill_null(0).to_numpy() > 0 for role in ROLES])
    row, role = np.nonzero(filled)  # row after row, the roles in their order
    offsets = np.zeros(num_rows + 1, dtype=np.int32)
    np.cumsum(filled.sum(axis=1), out=offsets[1:])
    names = pa.array(ROLES).take(pa.array(role))
    items = pa.StructArray.from_arrays([names, texts.take(pa.array(role * num_rows + row))], ["role", "text"])
    schema = SCHEMAS["rows-1"]
    columns = {name: frame[name].to_arrow() for name in schema.names if name != "segments"}
    columns["segments"] = pa.ListArray.from_arrays(pa.array(offsets), items)
    return pa.table(columns).cast(schema)


def row_texts(frame: pl.DataFrame, task: Task) -> pl.Series:
    """The text of every row, its segments one after the other; `frame` as in `row_table`."""
    return frame.select(
        pl.concat_str(
            pl.concat_str(pl.lit("Q: "), "question", pl.lit(f"\n{task.answer_header}\n"), "attempt"),
            _feedback().fill_null(""),
            _improvement(task).fill_null(""),
        ).alias("text")
    )["text"]


def terminal_feedbacks(rationales: pl.Series) -> pl.Series:
    """`terminal_feedback` of every rationale: by one expression where its last lines are a step and the final one."""
    step = rationales.str.extract(_LAST_STEP)
    frame = pl.DataFrame({"rationale": rationales, "step": step})
    sentences = frame.select(
        feedback=pl.when(pl.col("step") == "1")
        .then(pl.lit("Step (1) is correct. The final response is also correct."))
        .otherwise(pl.format("Step (1) to step ({}) are correct. The final response is also correct.", "step"))
    )["feedback"]
    unusual = step.is_null().arg_true()
    if len(unusual):
        told = [terminal_feedback(Attempt.parse(text)) for text in rationales.gather(unusual)]
        sentences = sentences.scatter(unusual, told)
    return sentences


def _parts(frame: pl.DataFrame, task: Task) -> pl.DataFrame:
    """One column a role, null or empty where a row has none."""
    is_repaired = frame["kind"].eq(X_IMP) & frame["updated"].is_not_null() & frame["feedback"].is_not_null()
    repaired = is_repaired.arg_true()
    kept = pl.Series("kept", [None], dtype=pl.UInt32).new_from_index(0, len(frame))
    if len(repaired):
        kept = kept.scatter(repaired, kept_characters(frame[repaired]))
    text = pl.lit("\n") + pl.col("attempt")
    return frame.with_columns(kept=kept).select(
        prompt=pl.concat_str(pl.lit("Q: "), "question", pl.lit(f"\n{task.answer_header}")),
        attempt=pl.when(pl.col("kept").is_null()).then(text).otherwise(text.str.head(pl.col("kept"))),
        mistake=pl.when(pl.col("kept").is_not_null()).then(text.str.slice(pl.col("kept"))),
        feedback=_feedback(),
        improvement=_improvement(task),
    )


def _feedback() -> pl.Expr:
    return pl.lit("\nFeedback: ") + pl.col("feedback")


def _improvement(task: Task) -> pl.Expr:
    return pl.lit(f"\nUpdated {task.answer_header}\n") + pl.col("updated")


def _strings(column: pl.Series) -> pa.Array:
    return column.to_arrow().cast(pa.string())
