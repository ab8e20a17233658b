"""A task and an expert that a test can see through: a step is wrong where it says `wrong`, and a repair mends one step
a round, so that a trajectory takes as many rounds as its first attempt has wrong steps."""

from __future__ import annotations

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.trajectory import Attempt, Feedback

PROBLEM = Problem("toy", "How many?", "7", "small", True, "train", "(1) It is 7.\n(Final response) So the answer is 7.")


class ToyTask:
    name = "toy"
    answer_header = "Answer: Let's think."

    def extract_answer(self, attempt):
        final = Attempt.parse(attempt).final
        return final.body.removeprefix("So the answer is ").removesuffix(".") if final else None

    def is_right(self, attempt, answer):
        return self.extract_answer(attempt) == answer

    def is_consistent(self, attempt, question=""):
        steps = Attempt.parse(attempt).steps
        return len(steps) > 1 and "inconsistent" not in attempt


class ToyExpert:
    name = "toy-v1"

    def feedback(self, problem, attempt):
        for step in Attempt.parse(attempt).steps:
            if "wrong" in step.line:
                return Verdict(False, step.header or "1", "wrong", "toy_error", "it says so")
        return Verdict(True)

    def improve(self, problem, attempt, feedback):
        step = Feedback.parse(feedback).error_step
        lines = attempt.split("\n")
        index = Attempt.parse(attempt).index_of(step) if step else None
        if index is not None:
            lines[index] = lines[index].replace("wrong", "mended")
        return "\n".join(lines)


def attempt_of(flags):
    """An attempt with one step a flag (False: wrong) and the right final answer iff all are right."""
    lines = [f"({i}) This is {'right' if ok else 'wrong'}." for i, ok in enumerate(flags, 1)]
    return "\n".join([*lines, "(Final response) So the answer is 7."])


def student_trajectory(turns, identity="t", problem=PROBLEM, **fields):
    """A generated row of `trajectories-2` from (attempt, student's feedback or None) pairs."""
    from tripost_core.editing import new_turn

    return {
        "trajectory_id": identity,
        "problem_id": problem.id,
        "task": problem.task,
        "subtask": problem.subtask,
        "seen": problem.seen,
        "question": problem.question,
        "answer": problem.answer,
        "iteration": 1,
        "sample": 0,
        "seed": 0,
        "num_tokens": 1,
        "truncated": False,
        "status": "generated",
        "reason": None,
        "round": 0,
        "edited": False,
        "turns": [new_turn(attempt, "student", "digest", said) for attempt, said in turns],
        **fields,
    }
