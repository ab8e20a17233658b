"""The messages that FBK, IMP and the writer of rationales get: prompt file and problem in, chat messages out.

Pure text. Whatever changes here changes the answers, so `MESSAGES_VERSION` is part of what the response cache keys by.
"""

from __future__ import annotations

import json
from typing import Any

from tripost_core.experts.prompts import Example, PromptFile
from tripost_core.trajectory import Attempt, Feedback, label

MESSAGES_VERSION = 1
Message = dict[str, str]

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["correct", "error_step", "error_segment", "error_kind", "error_reason"],
            "properties": {
                "correct": {"type": "boolean", "description": "no line is wrong and the final response is right"},
                "error_step": {"type": "string", "description": "number of the first wrong line, or final, or empty"},
                "error_segment": {"type": "string", "description": "the wrong part of that line, copied exactly"},
                "error_kind": {"type": "string", "description": "one of the named kinds, or other, or empty"},
                "error_reason": {"type": "string", "description": "why it is wrong: one English clause, or empty"},
            },
        },
    },
}


def feedback_messages(
    prompts: PromptFile, question: str, attempt: str, answer: str | None, structured: bool
) -> list[Message]:
    """FBK. `answer`: the known answer where the expert may see it. `structured`: the reply is JSON, else a form."""
    form = (
        "Reply with one JSON object with the fields correct, error_step, error_segment, error_kind, error_reason."
        if structured
        else "Reply with exactly these five lines:\nCorrect: yes or no\nStep: ...\nSegment: ...\nKind: ...\nReason: ..."
    )
    system = (
        f"You check worked solutions.\n\n{prompts.task}\n\n{prompts.checks}\n\n"
        "Find the earliest line that is wrong. Name it by the number in front of it, or as final for the line "
        "(Final response). Copy the wrong part of that line character by character, as short as it can be and still "
        f"hold the mistake. Name its kind ({', '.join(prompts.kinds)}, other). Give the reason as one short English "
        "clause that states what is right instead. A line that follows faithfully from an earlier mistake is not the "
        "earliest mistake. Another valid way to the answer is not a mistake. If the solution stops before its "
        "(Final response), name the number of the line that is missing and copy the last line that is there.\n"
        f"{form}"
    )
    messages = [{"role": "system", "content": system}]
    for example in prompts.examples:
        shown = example.answer if answer is not None else None
        messages += _pair(_to_judge(example.question, example.attempt, shown), _verdict(example, structured))
    # One right attempt, so that "correct" is an answer that has been seen.
    right = prompts.examples[-1]
    shown = right.answer if answer is not None else None
    messages += _pair(_to_judge(right.question, right.improved, shown), _all_right(structured))
    return [*messages, {"role": "user", "content": _to_judge(question, attempt, answer)}]


def improve_messages(prompts: PromptFile, question: str, attempt: str, feedback: str) -> list[Message]:
    """IMP: the reply is the lines from the first wrong one on, so the lines before it stay as they are."""
    system = (
        f"You repair worked solutions.\n\n{prompts.task}\n\n"
        "You get a question, an attempt, what is wrong in it, and the lines of the attempt that stay. Continue after "
        "those lines: write the corrected line that was wrong and every line after it, to the (Final response) line, "
        "in the same style and with the same numbering. Do not repeat the lines that stay, and write nothing else."
    )
    messages = [{"role": "system", "content": system}]
    for example in prompts.examples:
        kept = len(Attempt.parse(example.attempt).untouched(example.error_step))
        continuation = "\n".join(example.improved.split("\n")[kept:])
        messages += _pair(_to_improve(example.question, example.attempt, example.feedback), continuation)
    return [*messages, {"role": "user", "content": _to_improve(question, attempt, feedback)}]


def rationale_messages(prompts: PromptFile, question: str) -> list[Message]:
    """A gold rationale from scratch (the paper's Appendix A)."""
    system = (
        f"You solve problems step by step.\n\n{prompts.task}\n\n"
        "Write the numbered lines and the (Final response) line, and nothing else."
    )
    messages = [{"role": "system", "content": system}]
    for example in prompts.examples:
        messages += _pair(f"Question: {example.question}", example.rationale or example.improved)
    return [*messages, {"role": "user", "content": f"Question: {question}"}]


def correction(reply: str, problem: str) -> list[Message]:
    """What is added to a conversation whose reply could not be used."""
    return [
        {"role": "assistant", "content": reply},
        {"role": "user", "content": f"This cannot be used: {problem}. Please reply again, in the form asked for."},
    ]


def _pair(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _to_judge(question: str, attempt: str, answer: str | None) -> str:
    known = "" if answer is None else f"\n\nThe right answer is: {answer}"
    return f"Question: {question}\n\nSolution:\n{attempt}{known}"


def _to_improve(question: str, attempt: str, feedback: str) -> str:
    parsed = Attempt.parse(attempt)
    kept = parsed.untouched(Feedback.parse(feedback).error_step or "1")
    stay = "\n".join(step.line for step in kept) or "(none)"
    return f"Question: {question}\n\nAttempt:\n{attempt}\n\nFeedback: {feedback}\n\nLines that stay:\n{stay}"


def _verdict(example: Example, structured: bool) -> str:
    step, kind = label(example.error_step).removesuffix(" response").lower(), example.error_kind or "other"
    if structured:
        return json.dumps(
            {
                "correct": False,
                "error_step": step,
                "error_segment": example.error_segment,
                "error_kind": kind,
                "error_reason": example.reason,
            },
            ensure_ascii=False,
        )
    return f"Correct: no\nStep: {step}\nSegment: {example.error_segment}\nKind: {kind}\nReason: {example.reason}"


def _all_right(structured: bool) -> str:
    if structured:
        return json.dumps(
            {"correct": True, "error_step": "", "error_segment": "", "error_kind": "", "error_reason": ""}
        )
    return "Correct: yes\nStep:\nSegment:\nKind:\nReason:"
