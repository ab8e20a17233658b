"""Interactive trajectory editing (paper section 2.2), as functions on rows of `trajectories-2`.

Round 0 walks through the student's own turns: the first feedback that FBK disagrees with is replaced by FBK's and
everything after it is cut. From then on IMP appends an attempt and FBK judges it, round after round, until it is
correct or the rounds are used up. Whatever a student or an expert writes ends in a status and a reason, never in an
exception.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from tripost_core.buffers import Row
from tripost_core.errors import DataError
from tripost_core.experts.base import AsyncExpert, Expert, NoAnswer, Verdict
from tripost_core.problems.base import Problem, Task
from tripost_core.trajectory import Feedback

GENERATED, OPEN, CORRECT, DISCARDED = "generated", "open", "correct", "discarded"

EMPTY_ATTEMPT = "empty_attempt"
TOO_LONG_ATTEMPT = "too_long_attempt"
MAX_ROUNDS = "max_rounds"
DISCARD_REASONS = (EMPTY_ATTEMPT, TOO_LONG_ATTEMPT, MAX_ROUNDS)
"""Besides these: `feedback_` and `improve_` followed by the reason of an expert's `NoAnswer`."""

NOT_HANDLED = "not_handled"
"""Reason of the `NoAnswer` for a row that a script cannot handle."""

Answer = TypeVar("Answer")
Judging = Generator[str, Verdict | NoAnswer, Row]
"""Yields the attempts that FBK has to judge, is sent what FBK says of them, and returns the judged trajectory."""

MAX_ATTEMPT_CHARS = 20_000
"""Longer attempts are discarded unjudged: three times the longest rationale of any task, and far over any context that
the filter would let through."""


def judge(trajectory: Row, expert: Expert, max_rounds: int) -> Row:
    """`judging`, with a script as FBK."""
    work = judging(trajectory, expert.name, max_rounds)
    try:
        attempt = next(work)
        while True:
            attempt = work.send(_or_none(expert.feedback, problem_of(trajectory), attempt))
    except StopIteration as done:
        return done.value


async def judge_async(trajectory: Row, expert: AsyncExpert, max_rounds: int) -> Row:
    """`judging`, with an FBK that has to be waited for."""
    work = judging(trajectory, expert.name, max_rounds)
    try:
        attempt = next(work)
        while True:
            attempt = work.send(await expert.feedback(problem_of(trajectory), attempt))
    except StopIteration as done:
        return done.value


def judging(trajectory: Row, expert_name: str, max_rounds: int) -> Judging:
    """The trajectory with FBK's verdict on every turn up to the first wrong one whose feedback is FBK's.

    Status `correct`: the last turn is judged correct and ends with the terminal feedback, whatever the student said of
    it. `open`: the last turn is wrong and waits for an improvement. `discarded`: an attempt that cannot be judged, or
    still wrong after `max_rounds` improvements. `edited` becomes true when something of the student's is replaced or
    cut. Correct and discarded trajectories are returned as they are.
    """
    if trajectory["status"] in (CORRECT, DISCARDED):
        return trajectory
    turns = [dict(turn) for turn in trajectory["turns"]]
    if not turns:
        return _ended(trajectory, turns, DISCARDED, EMPTY_ATTEMPT)
    for index, turn in enumerate(turns):
        if turn["feedback"] is not None:
            continue  # judged in an earlier round
        if reason := _unusable(turn["attempt"]):
            return _ended(trajectory, turns[: index + 1], DISCARDED, reason)
        verdict = yield turn["attempt"]
        if isinstance(verdict, NoAnswer):
            return _ended(trajectory, turns[: index + 1], DISCARDED, f"feedback_{verdict.reason}")
        rest = turns[index + 1 :]
        if _student_agrees(turn, verdict) and rest and not verdict.correct and not _unusable(rest[0]["attempt"]):
            said = Feedback.parse(turn["student_feedback"]).text
            _note(turn, verdict, said, turn["attempt_source"], turn["attempt_by"])
            continue
        sentence = verdict.sentence(turn["attempt"])
        if turn["student_feedback"] == sentence:
            _note(turn, verdict, sentence, turn["attempt_source"], turn["attempt_by"])
            replaced = False
        else:
            _note(turn, verdict, sentence, expert_name, expert_name)
            replaced = turn["student_feedback"] is not None
        edited = trajectory["edited"] or replaced or bool(rest)
        if verdict.correct:
            status, reason = CORRECT, None
        elif trajectory["round"] >= max_rounds:
            status, reason = DISCARDED, MAX_ROUNDS
        else:
            status, reason = OPEN, None
        return {**_ended(trajectory, turns[: index + 1], status, reason), "edited": edited}
    raise AssertionError(f"{trajectory['trajectory_id']} is {trajectory['status']}, but every turn has been judged")


def improve(trajectory: Row, expert: Expert) -> Row:
    """An open trajectory with IMP's repair of its last attempt as a new turn, not yet judged; others as they are.

    A repair that changes nothing is a turn like any other and uses up a round.
    """
    if trajectory["status"] != OPEN:
        return trajectory
    attempt, feedback = _to_improve(trajectory)
    return _improved(trajectory, _or_none(expert.improve, problem_of(trajectory), attempt, feedback), expert.name)


async def improve_async(trajectory: Row, expert: AsyncExpert) -> Row:
    """`improve`, with an IMP that has to be waited for; where it gives nothing usable, the trajectory is discarded."""
    if trajectory["status"] != OPEN:
        return trajectory
    attempt, feedback = _to_improve(trajectory)
    return _improved(trajectory, await expert.improve(problem_of(trajectory), attempt, feedback), expert.name)


def _or_none(ask: Callable[..., Answer], *about: Any) -> Answer | NoAnswer:
    """What a script says, or that it cannot handle this row: a loaded question that it does not understand."""
    try:
        return ask(*about)
    except DataError:
        return NoAnswer(NOT_HANDLED)


def _to_improve(trajectory: Row) -> tuple[str, str]:
    last = trajectory["turns"][-1]
    assert last["feedback"] is not None, f"{trajectory['trajectory_id']} has not been judged"
    return last["attempt"], last["feedback"]


def _improved(trajectory: Row, improved: str | NoAnswer, expert_name: str) -> Row:
    if isinstance(improved, NoAnswer):
        return _ended(trajectory, trajectory["turns"], DISCARDED, f"improve_{improved.reason}")
    turns = [*trajectory["turns"], new_turn(improved, expert_name, expert_name)]
    return {**trajectory, "turns": turns, "round": trajectory["round"] + 1, "edited": True}


def new_turn(attempt: str, source: str, by: str, student_feedback: str | None = None) -> dict[str, Any]:
    """A turn that has not been judged. `source`: `student` or an expert's name; `by`: checkpoint digest or expert."""
    return {
        "attempt": attempt,
        "attempt_source": source,
        "attempt_by": by,
        "student_feedback": student_feedback,
        "feedback": None,
        "feedback_source": None,
        "feedback_by": None,
        "correct": None,
        "error_step": None,
        "error_segment": None,
        "error_class": None,
        "right": None,
        "consistent": None,
    }


def graded(trajectory: Row, task: Task) -> Row:
    """A correct trajectory with what the task itself says of its attempts; others as they are.

    Here, once, where the turns come to their end, so that nothing after it has to read an attempt again: whether the
    last one is right, and which of those that a repair or the trajectory ends with are consistent.
    """
    if trajectory["status"] != CORRECT or trajectory["turns"][-1].get("right") is not None:
        return trajectory
    first, *others = trajectory["turns"]
    ends = others or [first]
    told = [{**turn, "consistent": task.is_consistent(turn["attempt"], trajectory["question"])} for turn in ends]
    told[-1]["right"] = task.is_right(ends[-1]["attempt"], trajectory["answer"])
    return {**trajectory, "turns": [first, *told] if others else told}


def problem_of(row: Row) -> Problem:
    """The problem that a row of any schema is about."""
    return Problem(row["task"], row["question"], row["answer"], row["subtask"], row["seen"])


def num_judgements(before: Row, after: Row) -> int:
    """How many attempts FBK was asked about between two states of a trajectory."""
    judged = [sum(turn["correct"] is not None for turn in row["turns"]) for row in (before, after)]
    return judged[1] - judged[0]


def student_agreement(trajectories: Iterable[Row]) -> dict[str, int]:
    """How the student's own feedback compares with FBK's verdicts.

    `num`: judged attempts that the student criticised too; `same_verdict`: both say correct or both say wrong;
    `agreed`: the same verdict, step and segment; `unparsable`: the student's sentence says nothing.
    """
    counts = Counter({"num": 0, "same_verdict": 0, "agreed": 0, "unparsable": 0})
    for trajectory in trajectories:
        for turn in trajectory["turns"]:
            if turn["correct"] is None or turn["student_feedback"] is None:
                continue
            said = Feedback.parse(turn["student_feedback"])
            verdict = Verdict(turn["correct"], turn["error_step"], turn["error_segment"], turn["error_class"], "")
            counts["num"] += 1
            counts["unparsable"] += not said.parsed
            counts["same_verdict"] += said.parsed and said.terminal == verdict.correct
            counts["agreed"] += _student_agrees(turn, verdict)
    return dict(counts)


def _unusable(attempt: str) -> str | None:
    if not attempt.strip():
        return EMPTY_ATTEMPT
    return TOO_LONG_ATTEMPT if len(attempt) > MAX_ATTEMPT_CHARS else None


def _student_agrees(turn: dict[str, Any], verdict: Verdict) -> bool:
    if turn["student_feedback"] is None:
        return False
    said = Feedback.parse(turn["student_feedback"])
    theirs = Feedback("", verdict.correct, verdict.error_step, verdict.error_segment)
    return said.agrees_with(theirs)


def _note(turn: dict[str, Any], verdict: Verdict, sentence: str, source: str, by: str) -> None:
    turn.update(
        feedback=sentence,
        feedback_source=source,
        feedback_by=by,
        correct=verdict.correct,
        error_step=verdict.error_step,
        error_segment=verdict.error_segment,
        error_class=verdict.error_class,
    )


def _ended(trajectory: Row, turns: list[dict[str, Any]], status: str, reason: str | None) -> Row:
    return {**trajectory, "turns": turns, "status": status, "reason": reason}
