"""A model behind an endpoint, as a test has it: it reads the prompts as a competent expert would and answers with what
the task's script computes, sometimes wrongly. Only the words of the prompt reach it, so prompts, parsing, formatting,
editing and filters are all exercised.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

from tripost_core.experts.fallible import FallibleExpert
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import load_task
from tripost_core.trajectory import FINAL, Attempt, Feedback

_JUDGE = re.compile(r"Question: (.*?)\n\nSolution:\n(.*?)(?:\n\nThe right answer is: (.*))?\Z", re.DOTALL)
_REPAIR = re.compile(r"Question: (.*?)\n\nAttempt:\n(.*)\n\nFeedback: (.*)\n\nLines that stay:\n(.*)\Z", re.DOTALL)
_SOLVE = re.compile(r"Question: (.*)\Z", re.DOTALL)


class CompetentModel:
    """`mistake_rate`: of verdicts and repairs; `useless`: share of replies that are no answer at all."""

    def __init__(self, task: str, mistake_rate: float = 0.0, useless: float = 0.0, structured: bool = True) -> None:
        self.task = load_task(task)
        expert = load_scripted_expert(task)
        self.expert = FallibleExpert(expert, mistake_rate, 0) if mistake_rate else expert
        self.useless = useless
        self.structured = structured
        self.prompts: list[str] = []

    def reply(self, messages: list[dict[str, str]], response_format: dict[str, Any] | None = None) -> str:
        """The content of the answer. Raises ValueError for a request that the endpoint does not support."""
        if response_format is not None and not self.structured:
            raise ValueError("response_format json_schema is not supported by this server")
        text = next(m["content"] for m in reversed(messages) if m["content"].startswith("Question: "))
        self.prompts.append(text)
        rng = random.Random(hashlib.sha256(json.dumps(messages).encode()).hexdigest())
        if rng.random() < self.useless:
            return rng.choice(["I cannot help with that.", "", '{"correct": 7}', "Step three, I think", "(1) Hello"])
        if match := _REPAIR.match(text):
            return self._repair(*match.groups())
        if match := _JUDGE.match(text):
            return self._judge(match[1], match[2], response_format is not None)
        return self.solve(_SOLVE.match(text)[1])

    def solve(self, question: str) -> str:
        """A first attempt; right here, and a test may put another in its place."""
        return self.task.rationale(question)

    def _judge(self, question: str, attempt: str, as_json: bool) -> str:
        verdict = self.expert.feedback(self.task.parse_question(question), attempt)
        step = "final" if verdict.error_step == FINAL else verdict.error_step
        fields = {
            "correct": verdict.correct,
            "error_step": step or "",
            "error_segment": verdict.error_segment or "",
            "error_kind": verdict.error_class or "",
            "error_reason": verdict.reason or "",
        }
        if as_json:
            return json.dumps(fields)
        names = {"error_step": "Step", "error_segment": "Segment", "error_kind": "Kind", "error_reason": "Reason"}
        lines = [f"Correct: {'yes' if verdict.correct else 'no'}"]
        return "\n".join(lines + [f"{name}: {fields[key]}" for key, name in names.items()])

    def _repair(self, question: str, attempt: str, feedback: str, stay: str) -> str:
        improved = self.expert.improve(self.task.parse_question(question), attempt, feedback)
        num_kept = len(Attempt.parse(attempt).before(Feedback.parse(feedback).error_step or "1"))
        assert stay == ("\n".join(attempt.split("\n")[:num_kept]) or "(none)")
        return "\n".join(improved.split("\n")[num_kept:])
