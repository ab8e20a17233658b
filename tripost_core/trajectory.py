"""The records that the method is about, and their text format (paper section 2.1; formats in docs/architecture.md).

A trajectory is x = (att_0, fb_1, att_1, ..., fb_m). In text, one step a line:

    Q: {question}
    {answer header}
    (1) ...
    (Final response) ...
    Feedback: ...
    Updated {answer header}
    (1) ...

Parsing is lossless: `Attempt.parse(text).text == text` for every string, however broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FINAL = "final"
_HEADER = re.compile(r"\((\d+(?:\.\d+)*|Final response)\)(?: |$)")
_TERMINAL = "final response is also correct"
_ERROR = re.compile(
    r"In step \(?(?P<step>\d+(?:\.\d+)*|Final response)\)?,? the part (?P<quote>[\"'])(?P<segment>.*)(?P=quote) "
    r"is incorrect\.?(?: This is because (?P<reason>.*))?",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an attempt. `header` is "1", "3.2.1", "final", or None where the line carries none."""

    header: str | None
    line: str

    @property
    def body(self) -> str:
        """The line without its header, e.g. `So the answer is 4.`"""
        match = _HEADER.match(self.line)
        return self.line[match.end() :] if match else self.line


@dataclass(frozen=True, slots=True)
class Attempt:
    """The lines `(1) ...` to `(Final response) ...` of one answer, without question or answer header."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Attempt:
        if not text:
            return cls(())
        return cls(tuple(Step(_header_of(line), line) for line in text.split("\n")))

    @property
    def text(self) -> str:
        return "\n".join(step.line for step in self.steps)

    @property
    def final(self) -> Step | None:
        """The first `(Final response)` line, or None."""
        return next((step for step in self.steps if step.header == FINAL), None)

    @property
    def last_numbered_header(self) -> str | None:
        """Header of the last numbered step, e.g. "4"; None if there is none."""
        numbered = [step.header for step in self.steps if step.header not in (None, FINAL)]
        return numbered[-1] if numbered else None

    def index_of(self, header: str) -> int | None:
        """Position of the first step with this header, or None."""
        return next((i for i, step in enumerate(self.steps) if step.header == header), None)

    def before(self, header: str) -> tuple[Step, ...]:
        """The steps before the first one with this header; all of them if no step has it."""
        index = self.index_of(header)
        return self.steps if index is None else self.steps[:index]

    def untouched(self, header: str) -> tuple[Step, ...]:
        """The steps that a repair of the step with this header leaves as they are: the numbered ones before it.

        A step that is missing stands before the first later one; a line without a number is no step and may go.
        """
        missing = self.index_of(header) is None
        for index, step in enumerate(self.steps):
            if step.header is None or step.header == header or (missing and _place(step.header) > _place(header)):
                return self.steps[:index]
        return self.steps


def _place(header: str) -> tuple[float, ...]:
    return (float("inf"),) if header == FINAL else tuple(int(number) for number in header.split("."))


def _header_of(line: str) -> str | None:
    match = _HEADER.match(line)
    if not match:
        return None
    return FINAL if match[1] == "Final response" else match[1]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a feedback sentence says. `terminal`: the final response is correct. Neither terminal nor with an
    `error_step`: the sentence could not be parsed."""

    text: str
    terminal: bool = False
    error_step: str | None = None
    error_segment: str | None = None
    reason: str | None = None

    @classmethod
    def parse(cls, text: str) -> Feedback:
        """Accepts every wording of the paper and of the research code, with or without `Feedback: `."""
        sentence = text.strip()
        if sentence.lower().startswith("feedback:"):
            sentence = sentence[len("feedback:") :].strip()
        if match := _ERROR.search(sentence):
            step = match["step"]
            return cls(
                sentence,
                error_step=FINAL if step.lower() == "final response" else step,
                error_segment=match["segment"].strip(),
                reason=(match["reason"] or "").strip().strip("'").removesuffix(".") or None,
            )
        return cls(sentence, terminal=_TERMINAL in sentence.lower())

    @property
    def parsed(self) -> bool:
        return self.terminal or self.error_step is not None

    def agrees_with(self, other: Feedback) -> bool:
        """Same verdict: both terminal, or the same step and one segment inside the other (docs/architecture.md)."""
        if self.terminal or other.terminal:
            return self.terminal and other.terminal
        if self.error_step is None or self.error_step != other.error_step:
            return False
        mine, theirs = self.error_segment or "", other.error_segment or ""
        if not mine or not theirs:  # an empty segment lies in every other and says nothing
            return mine == theirs
        return mine in theirs or theirs in mine


def label(header: str) -> str:
    """`Final response` for the final line, else the header itself."""
    return "Final response" if header == FINAL else header


def terminal_feedback(attempt: Attempt) -> str:
    """The sentence for a correct attempt; names the header of its last numbered step."""
    last = attempt.last_numbered_header
    if last is None or last == "1":
        return "Step (1) is correct. The final response is also correct."
    return f"Step (1) to step ({last}) are correct. The final response is also correct."


def error_feedback(attempt: Attempt, step: str, segment: str | None, reason: str) -> str:
    """The sentence for a first error in `step`; the steps before it are called correct.

    `step` may be the header of a missing step: then every step there is precedes it.
    """
    before = [s.header for s in attempt.before(step) if s.header not in (None, FINAL)]
    if not before:
        prefix = ""
    elif len(before) == 1:
        prefix = f"Step ({before[0]}) is correct. "
    else:
        prefix = f"Step ({before[0]}) to step ({before[-1]}) are correct. "
    reason = reason.strip().removesuffix(".")
    return f'{prefix}In step ({label(step)}) the part "{segment or ""}" is incorrect. This is because {reason}.'
