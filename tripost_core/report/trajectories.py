"""The trajectories of a run with all that became of them, read from the buffers, and a stratified choice of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from tripost_core.buffers import read_rows
from tripost_core.record import Entry, RunRecord
from tripost_core.report.diff import Line, attempt_lines
from tripost_core.report.numbers import ordered_entries, ordered_stages, stage_kind
from tripost_core.report.text import clip, reveal

MAX_QUESTION_CHARACTERS = 2_000
OUTCOMES = {
    "repaired": "Repaired",
    "filtered": "Some or all filtered out",
    "self-improved": "Improved by the student alone",
    "direct": "Directly correct",
    "discarded": "Discarded",
    "attempt": "An attempt alone",
    "open": "Not finished",
}
"""What became of a trajectory, most instructive first."""
_SHARES = {"repaired": 0.5, "filtered": 0.12, "self-improved": 0.1, "direct": 0.14, "discarded": 0.14}
_SHARES |= {"attempt": 0.0, "open": 0.0}


@dataclass(frozen=True, slots=True)
class TurnView:
    """One attempt and what was said of it; all text revealed (`text.reveal`)."""

    attempt: str
    previous: str | None
    """The attempt before it, which it is compared with."""
    source: str
    feedback: str | None
    feedback_source: str | None
    student_feedback: str | None
    """What the student said of its attempt where that does not stand in the trajectory."""
    correct: bool | None
    error_step: str | None
    error_segment: str | None
    error_class: str | None

    @property
    def lines(self) -> list[Line]:
        """Computed when asked for: a run has thousands of attempts, and a page shows some."""
        return attempt_lines(self.attempt, self.previous, self.error_step, self.error_segment)


@dataclass(frozen=True, slots=True)
class TripletView:
    """What the filter did with one pair or triplet of the trajectory."""

    kind: str
    turn: int
    kept: bool
    reason: str | None
    trained: bool
    """It stands in this iteration's training rows."""


@dataclass(frozen=True, slots=True)
class TrajectoryView:
    """A trajectory after editing, as the report and `tripost show` present it."""

    id: str
    iteration: int
    subtask: str
    seen: bool
    question: str
    answer: str
    status: str
    outcome: str
    reason: str | None
    rounds: int
    edited: bool
    truncated: bool
    error_class: str | None
    """Of the first attempt; None where it was correct."""
    num_cut_turns: int
    """Attempts of the student after the first replaced feedback, which editing cut off."""
    turns: list[TurnView]
    triplets: list[TripletView]
    trained_known: bool
    """Whether the iteration's training rows exist, so that `trained` means something."""


@dataclass(slots=True)
class _Raw:
    row: dict[str, Any]
    generated_turns: int = 0
    triplets: list[dict[str, Any]] = field(default_factory=list)


def load_trajectories(record: RunRecord, iteration: int | None = None) -> list[TrajectoryView]:
    """All trajectories of the run (of one iteration) in canonical order. Raises StorageError."""
    found: list[TrajectoryView] = []
    for entry in ordered_entries(record):
        if entry.iteration is not None and iteration in (None, entry.iteration):
            found += _of_entry(entry)
    return found


def _of_entry(entry: Entry) -> list[TrajectoryView]:
    raws: dict[str, _Raw] = {}
    used: set[str] | None = None
    # Of ft SI. demo the trajectories are the expert's; the student's own only say which errors it favours.
    own = {"generate", "judged"} if "demonstrate" in entry.stages else set()
    for stage in ordered_stages(entry):
        ref, kind = entry.stages[stage], stage_kind(stage)
        if kind in own:
            continue
        if ref.kind.startswith("trajectories-"):
            for row in read_rows(ref):
                # A later stage knows more of a trajectory; one that it no longer carries keeps its last state.
                raw = raws.setdefault(row["trajectory_id"], _Raw(row))
                raw.row = row
                if kind == "generate":
                    raw.generated_turns = len(row["turns"] or [])
        elif ref.kind == "triplets-1":
            for row in read_rows(ref):
                if row["trajectory_id"] in raws:
                    raws[row["trajectory_id"]].triplets.append(row)
        elif ref.kind == "rows-1" and raws:
            used = {row["triplet_id"] for row in read_rows(ref) if row["triplet_id"]}
    return [_view(raws[key], used, "select" in entry.stages) for key in sorted(raws)]


def _view(raw: _Raw, used: set[str] | None, is_never_judged: bool) -> TrajectoryView:
    row = raw.row
    turns = _turns(row["turns"] or [])
    students = sum(turn.source == "student" for turn in turns)
    return TrajectoryView(
        id=reveal(row["trajectory_id"]),
        iteration=row["iteration"],
        subtask=reveal(row["subtask"] or ""),
        seen=bool(row["seen"]),
        question=clip(reveal(row["question"] or ""), MAX_QUESTION_CHARACTERS),
        answer=clip(reveal(row["answer"] or ""), MAX_QUESTION_CHARACTERS),
        status=reveal(row["status"] or ""),
        outcome="attempt" if is_never_judged else _outcome(raw, len(turns)),
        reason=_revealed(row["reason"]),
        rounds=row["round"] or 0,
        edited=bool(row["edited"]),
        truncated=bool(row["truncated"]),
        error_class=turns[0].error_class if turns else None,
        num_cut_turns=max(0, raw.generated_turns - students),
        turns=turns,
        triplets=[
            TripletView(
                kind=reveal(t["kind"] or ""),
                turn=t["turn"] or 0,
                kept=bool(t["kept"]),
                reason=_revealed(t["reason"]),
                trained=used is not None and t["triplet_id"] in used,
            )
            for t in sorted(raw.triplets, key=lambda t: (t["turn"] or 0, t["kind"] or "", t["triplet_id"]))
        ],
        trained_known=used is not None,
    )


def _outcome(raw: _Raw, num_turns: int) -> str:
    status = raw.row["status"]
    if status == "discarded":
        return "discarded"
    if status != "correct":
        return "open"
    if any(not triplet["kept"] for triplet in raw.triplets):
        return "filtered"
    if num_turns <= 1:
        return "direct"
    return "repaired" if raw.row["edited"] else "self-improved"


def _turns(turns: Sequence[dict[str, Any]]) -> list[TurnView]:
    views = []
    previous: str | None = None
    for turn in turns:
        attempt = reveal(turn["attempt"] or "")
        feedback = _revealed(turn["feedback"])
        student_feedback = _revealed(turn["student_feedback"])
        step, segment = (None, None) if turn["correct"] else (turn["error_step"], turn["error_segment"])
        views.append(
            TurnView(
                attempt=attempt,
                previous=previous,
                source=reveal(turn["attempt_source"] or "?"),
                feedback=feedback,
                feedback_source=_revealed(turn["feedback_source"]),
                student_feedback=None if student_feedback == feedback else student_feedback,
                correct=turn["correct"],
                error_step=_revealed(step),
                error_segment=_revealed(segment),
                error_class=None if turn["correct"] else _revealed(turn["error_class"]),
            )
        )
        previous = attempt
    return views


def _revealed(text: str | None) -> str | None:
    return None if text is None else clip(reveal(text), MAX_QUESTION_CHARACTERS)


def choose(trajectories: Sequence[TrajectoryView], limit: int) -> list[TrajectoryView]:
    """Up to `limit` trajectories: iterations in equal parts, within them outcomes by `_SHARES` (what one outcome lacks
    goes to the others), within them error classes and subtasks in turn. Deterministic; sorted for reading."""
    by_iteration: dict[int, list[TrajectoryView]] = defaultdict(list)
    for trajectory in trajectories:
        by_iteration[trajectory.iteration].append(trajectory)
    chosen: list[TrajectoryView] = []
    # Small iterations first, so that what they cannot fill goes to the others.
    waiting = sorted(by_iteration, key=lambda i: (len(by_iteration[i]), i))
    for position, iteration in enumerate(waiting):
        quota = (limit - len(chosen)) // (len(waiting) - position)
        chosen += _choose_of_iteration(by_iteration[iteration], quota)
    order = list(OUTCOMES)
    return sorted(chosen, key=lambda t: (t.iteration, order.index(t.outcome), -t.rounds, _shuffled(t)))


def _choose_of_iteration(trajectories: Iterable[TrajectoryView], quota: int) -> list[TrajectoryView]:
    pools: dict[str, list[TrajectoryView]] = {}
    for outcome in OUTCOMES:
        strata: dict[str, dict[tuple[int, str], list[TrajectoryView]]] = defaultdict(lambda: defaultdict(list))
        for trajectory in sorted(trajectories, key=_shuffled):
            if trajectory.outcome == outcome:
                error = trajectory.error_class or trajectory.reason or ""
                strata[error][-trajectory.rounds, trajectory.subtask].append(trajectory)
        pools[outcome] = _in_turn(_in_turn(below[key] for key in sorted(below)) for _, below in sorted(strata.items()))
    chosen: list[TrajectoryView] = []
    for outcome, pool in pools.items():
        share = max(1, round(_SHARES[outcome] * quota)) if pool else 0
        share = min(share, quota - len(chosen))
        chosen += pool[:share]
        pools[outcome] = pool[share:]
    rest = [t for pool in pools.values() for t in pool]
    return chosen + rest[: quota - len(chosen)]


def _in_turn(columns: Iterable[list[TrajectoryView]]) -> list[TrajectoryView]:
    """The first of each, then the second of each, ..."""
    return [t for row in zip_longest(*columns) for t in row if t is not None]


def _shuffled(trajectory: TrajectoryView) -> str:
    return hashlib.sha256(trajectory.id.encode()).hexdigest()
