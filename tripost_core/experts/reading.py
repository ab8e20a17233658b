"""What an expert model replied, read into a verdict or a repair, or into the reason why it cannot be used.

A reply that is almost right is repaired where there is one way to do so (quotes around a segment, a code fence around
JSON, lines that stay repeated word for word); anything else is a typed outcome and never a guess.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tripost_core.experts.base import Verdict
from tripost_core.trajectory import FINAL, Attempt, Feedback, Step

NOT_THE_FORM = "not_the_form"
NO_SUCH_STEP = "no_such_step"
SEGMENT_NOT_IN_STEP = "segment_not_in_step"
NO_REASON = "no_reason"
OTHER_LANGUAGE = "other_language"
CONTRADICTS_ANSWER = "contradicts_answer"
PREFIX_CHANGED = "prefix_changed"
NO_FINAL_RESPONSE = "no_final_response"
UNCHANGED = "unchanged"

PROBLEMS = {
    NOT_THE_FORM: "it does not have the form that was asked for",
    NO_SUCH_STEP: "it names a line that the solution does not have",
    SEGMENT_NOT_IN_STEP: "the segment is not a part of the named line, character by character",
    NO_REASON: "the reason is missing",
    OTHER_LANGUAGE: "it is not in English",
    CONTRADICTS_ANSWER: "it calls a solution correct whose final response is not the right answer",
    PREFIX_CHANGED: "it changes or skips lines that should stay",
    NO_FINAL_RESPONSE: "it does not end with a (Final response) line",
    UNCHANGED: "it repeats the attempt without repairing it",
}
"""What the expert is told when it is asked again."""

_FORM = re.compile(r"^\W*(correct|step|segment|kind|reason)\W*?:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"^\s*```[a-z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_BOLD = re.compile(r"(?<![\w)\]])\*\*(?=\S)(.+?)(?<=\S)\*\*(?!\w)")
"""Emphasis, and not the operator in `2**3`."""
_QUOTES = "\"'`“”‘’«»"
_COMMON_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "the a an is are was be of to in and not it its that this as by for with has have should must than instead "
        "comes does do no one two which from on at becomes gives",
    )
)
MAX_REASON_CHARS = 600


@dataclass(frozen=True, slots=True)
class Unusable:
    """`reason`: one of the names above."""

    reason: str


def read_verdict(reply: str, attempt: str, kinds: tuple[str, ...], final_is_right: bool) -> Verdict | Unusable:
    """FBK's reply about `attempt`, as JSON or as a form."""
    fields = _json_fields(reply) or _form_fields(reply)
    if fields is None:
        return Unusable(NOT_THE_FORM)
    if fields["correct"]:
        return Verdict(True) if final_is_right else Unusable(CONTRADICTS_ANSWER)
    parsed = Attempt.parse(attempt)
    header = _header(fields["step"])
    reason = _clause(fields["reason"])
    if header is None:
        return Unusable(NO_SUCH_STEP)
    if not reason or len(reason) > MAX_REASON_CHARS:
        return Unusable(NO_REASON)
    if not is_english(reason, attempt):
        return Unusable(OTHER_LANGUAGE)
    kind = re.sub(r"\W+", "_", fields["kind"].strip().lower()).strip("_")
    index = parsed.index_of(header)
    if index is None:
        return _missing(parsed, header, reason)
    segment = find_segment(fields["segment"], parsed.steps[index])
    if segment is None:
        return Unusable(SEGMENT_NOT_IN_STEP)
    return Verdict(False, header, segment, kind if kind in kinds else "other", reason)


def read_repair(reply: str, attempt: str, feedback: str) -> str | Unusable:
    """IMP's reply as the whole improved attempt: the lines before the first error as they were, then the reply."""
    parsed = Attempt.parse(attempt)
    step = Feedback.parse(feedback).error_step
    assert step is not None, feedback
    kept = [s.line for s in parsed.untouched(step)]
    if is_complete(kept):
        return "\n".join(kept)
    lines = _attempt_lines(reply)
    if not lines:
        return Unusable(NOT_THE_FORM)
    if kept and lines[: len(kept)] == kept and len(lines) > len(kept):
        lines = lines[len(kept) :]
    if (headers := [Attempt.parse(line).steps[0].header for line in lines])[0] is None:
        return Unusable(NOT_THE_FORM)
    if headers[0] != step and not _may_start(headers[0], step, kept):
        return Unusable(PREFIX_CHANGED)
    if headers[-1] != FINAL:
        return Unusable(NO_FINAL_RESPONSE)
    improved = "\n".join([*kept, *lines])
    return Unusable(UNCHANGED) if improved == attempt else improved


def is_complete(kept: list[str]) -> bool:
    """Whether the lines before the first error end an attempt, so that nothing has to be written after them."""
    return bool(kept) and Attempt.parse(kept[-1]).steps[0].header == FINAL


def read_rationale(reply: str) -> str | Unusable:
    """A whole rationale: from its first numbered line to `(Final response)`."""
    lines = _attempt_lines(reply)
    if not lines or Attempt.parse(lines[0]).steps[0].header in (None, FINAL):
        return Unusable(NOT_THE_FORM)
    if Attempt.parse(lines[-1]).steps[0].header != FINAL:
        return Unusable(NO_FINAL_RESPONSE)
    return "\n".join(lines)


def find_segment(text: str, step: Step) -> str | None:
    """The verbatim part of the step's line that `text` means, or None. Only spaces and quotes around may differ."""
    text = text.strip()
    quoted = text[1:-1] if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES else ""
    for candidate in (text, quoted.strip(), text.strip(_QUOTES).strip(), text.replace('\\"', '"')):
        if not candidate:
            continue
        if candidate in step.line:
            return candidate
        words = [re.escape(word) for word in candidate.split()]
        if match := re.search(r"\s*".join(words), step.line):
            return match[0]
    return None


def is_english(text: str, context: str) -> bool:
    """Whether a reason can pass as English: its letters are of the scripts that the attempt uses or Latin ones, and a
    longer one has some of the commonest words. Words that the attempt has too say nothing and are left out."""
    known = set(re.findall(r"\w+", context.lower()))
    words = [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in known]
    letters = "".join(words)
    if letters and sum(not _is_latin(char) for char in letters) > 0.2 * len(letters):
        return False
    return len(words) < 8 or any(word in _COMMON_ENGLISH for word in words)


def _is_latin(char: str) -> bool:
    return ord(char) < 0x250


def _json_fields(reply: str) -> dict[str, Any] | None:
    fenced = _FENCE.match(reply)
    text = fenced[1] if fenced else reply
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        data = json.loads(text[start : end + 1])
    except ValueError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("correct"), bool):
        return None
    names = {"step": "error_step", "segment": "error_segment", "kind": "error_kind", "reason": "error_reason"}
    values = {short: data.get(long) for short, long in names.items()}
    if any(not isinstance(value, (str, int, float, type(None))) for value in values.values()):
        return None
    return {"correct": data["correct"], **{key: "" if v is None else str(v) for key, v in values.items()}}


def _form_fields(reply: str) -> dict[str, Any] | None:
    found: dict[str, str] = {}
    for name, value in _FORM.findall(reply):
        found.setdefault(name.lower(), value.strip())
    said = found.get("correct", "").lower().strip(" .*")
    if said not in ("yes", "no", "true", "false"):
        return None
    fields = {key: found.get(key, "") for key in ("step", "segment", "kind", "reason")}
    return {"correct": said in ("yes", "true"), **fields}


def _header(text: str) -> str | None:
    cleaned = text.strip().strip("".join(_QUOTES)).lower().removeprefix("step").strip().strip("()").strip()
    if cleaned in (FINAL, "final response"):
        return FINAL
    return cleaned if re.fullmatch(r"\d+(\.\d+)*", cleaned) else None


def _missing(attempt: Attempt, header: str, reason: str) -> Verdict | Unusable:
    """A verdict on a step that is not there: only an attempt without its final response lacks one, the next one."""
    reached = int((attempt.last_numbered_header or "0").split(".")[0])
    if attempt.final is not None or (header != FINAL and int(header.split(".")[0]) not in (reached, reached + 1)):
        return Unusable(NO_SUCH_STEP)
    last = next((step.line for step in reversed(attempt.steps) if step.line.strip()), None)
    return Verdict(False, header, last, "missing_step", reason)


def _clause(text: str) -> str:
    """One line without the opening that the sentence has anyway, and without a full stop."""
    clause = " ".join(text.split()).strip().removesuffix(".")
    for opening in ("This is because ", "because ", "Because "):
        clause = clause.removeprefix(opening)
    return clause


def _attempt_lines(reply: str) -> list[str]:
    """The reply's lines from the first numbered one to the first `(Final response)`; a line that has no number
    belongs to the one before it."""
    fenced = _FENCE.match(reply)
    lines: list[str] = []
    for raw in (fenced[1] if fenced else reply).strip().split("\n"):
        line = _BOLD.sub(r"\1", raw.strip())
        if not line:
            continue
        step = Attempt.parse(line).steps[0]
        if step.header is None:
            if lines:
                lines[-1] += f" {line}"
            continue  # what stands before the first number is a heading or a courtesy
        if step.header == FINAL:
            return [*lines, line]
        lines.append(line)
    return lines


def _may_start(first: str | None, step: str, kept: list[str]) -> bool:
    """A repair may renumber the line it starts with where FBK blamed the number or the final line; but it neither
    repeats the number of a line that stays nor skips one."""
    stay = {Attempt.parse(line).steps[0].header for line in kept}
    if first is None or first in stay:
        return False
    return step == FINAL or (first != FINAL and _parts(first) < _parts(step))


def _parts(header: str) -> tuple[int, ...]:
    return tuple(int(part) for part in header.split("."))
