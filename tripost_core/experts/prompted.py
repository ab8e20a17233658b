"""Prompted baselines (section 3.2): a model that answers by few-shot chain of thought and improves its own answers.

Any model behind an endpoint: the expert, or the student as some server serves it. Nothing is trained, and the known
answer is used for nothing but the score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tripost_core.buffers import Row
from tripost_core.experts.base import NoAnswer
from tripost_core.experts.editors import LLMEditor
from tripost_core.experts.llm import LLMExpert
from tripost_core.problems.base import Problem


def prompted_answers(
    editor: LLMEditor, problems: Sequence[Problem], max_improvements: int, progress: Callable[[str, int, int], None]
) -> list[Row]:
    """Rows of `answers-2`, one a problem and in their order; `first_right` is plain chain of thought."""
    return editor.each(
        problems, lambda expert, problem: prompted_answer(expert, problem, max_improvements), "answers", progress
    )


async def prompted_answer(expert: LLMExpert, problem: Problem, max_improvements: int) -> Row:
    """One attempt, then feedback and improvement by the same model until it finds nothing wrong, or cannot say what."""
    attempt = await expert.attempt(problem)
    turns = [{"attempt": attempt, "feedback": None}]
    for _ in range(max_improvements + 1):
        verdict = await expert.own_feedback(problem, turns[-1]["attempt"] or "")
        if isinstance(verdict, NoAnswer):
            break
        sentence = verdict.sentence(turns[-1]["attempt"] or "")
        turns[-1]["feedback"] = sentence
        if verdict.correct or len(turns) > max_improvements:
            break
        improved = await expert.improve(problem, turns[-1]["attempt"] or "", sentence)
        if isinstance(improved, NoAnswer):
            break
        turns.append({"attempt": improved, "feedback": None})
    task, last = expert.task, turns[-1]["attempt"] or ""
    return {
        "problem_id": problem.id,
        "task": problem.task,
        "subtask": problem.subtask,
        "seen": problem.seen,
        "question": problem.question,
        "answer": problem.answer,
        "attempt_by": expert.name,
        "turns": turns,
        "final_answer": task.extract_answer(last),
        "right": task.is_right(last, problem.answer),
        "first_right": task.is_right(attempt, problem.answer),
        "attempted": len(turns) > 1,
        "truncated": False,
        "num_tokens": 0,
    }
