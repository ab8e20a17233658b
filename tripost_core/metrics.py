"""What the student's answers to the test questions come to (paper sections 3.1 and 3.3; docs/architecture.md).

Every figure is a share of all n questions of its group, so that

    accuracy = directly_correct + si_contrib = first_attempt_accuracy + repaired - harm

holds in every group, and None where the group is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tripost_core.experts.base import Verdict
from tripost_core.trajectory import Feedback

Answer = Mapping[str, Any]
"""A row of an `answers-2` buffer: of it, `subtask`, `seen`, `right`, `first_right` and `attempted` are read."""

SHARES: dict[str, Callable[[Answer], bool]] = {
    "accuracy": lambda row: row["right"],
    "first_attempt_accuracy": lambda row: row["first_right"],
    "directly_correct": lambda row: row["right"] and not row["attempted"],
    "si_freq": lambda row: row["attempted"],
    "si_contrib": lambda row: row["right"] and row["attempted"],
    "repaired": lambda row: row["right"] and not row["first_right"],
    "harm": lambda row: row["first_right"] and not row["right"],
}
"""Figure: what is counted. `right` looks at the last attempt, `attempted` is more than one attempt."""


def summarise(rows: Sequence[Answer]) -> dict[str, float | int | None]:
    """`n` and every figure of `SHARES` over these rows."""
    return {"n": len(rows), **{name: _share(rows, counts) for name, counts in SHARES.items()}}


def evaluate_rows(rows: Iterable[Answer]) -> dict[str, Any]:
    """The `eval` object of report.json: every figure as {seen, unseen, total}, and `by_subtask` {name: figures}."""
    rows = list(rows)
    groups = {
        "seen": summarise([row for row in rows if row["seen"]]),
        "unseen": summarise([row for row in rows if not row["seen"]]),
        "total": summarise(rows),
    }
    names = sorted({row["subtask"] for row in rows})
    return {
        **{figure: {group: values[figure] for group, values in groups.items()} for figure in ("n", *SHARES)},
        "by_subtask": {name: summarise([row for row in rows if row["subtask"] == name]) for name in names},
    }


def own_feedback(answers: Iterable[tuple[Answer, Verdict]]) -> dict[str, float | int | None]:
    """How the student judges its first attempts unasked, from answers with the expert's verdict on the first attempt.

    `n`, `num_wrong` by the expert; shares of the wrong ones: `found` (criticised), `step` (the right step named); of
    the right ones: `false_alarms`. An attempt without feedback is not criticised. None where there is none of them.
    """
    counts = dict.fromkeys(("wrong", "right", "found", "step", "false_alarms"), 0)
    for answer, verdict in answers:
        said = Feedback.parse((answer["turns"][0]["feedback"] if answer["turns"] else None) or "")
        criticised = said.error_step is not None
        counts["right" if verdict.correct else "wrong"] += 1
        counts["false_alarms"] += criticised and verdict.correct
        counts["found"] += criticised and not verdict.correct
        counts["step"] += criticised and not verdict.correct and said.error_step == verdict.error_step

    def share(name: str, of: str) -> float | None:
        return counts[name] / counts[of] if counts[of] else None

    return {
        "n": counts["wrong"] + counts["right"],
        "num_wrong": counts["wrong"],
        "found": share("found", "wrong"),
        "step": share("step", "wrong"),
        "false_alarms": share("false_alarms", "right"),
    }


def _share(rows: Sequence[Answer], counts: Callable[[Answer], bool]) -> float | None:
    return sum(bool(counts(row)) for row in rows) / len(rows) if rows else None
