"""An attempt as lines to look at: the first wrong segment marked, and what changed since the attempt before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from tripost_core.trajectory import Attempt, Step

MAX_LINES = 120
MAX_LINE_CHARACTERS = 1_500
_TOKEN = re.compile(r"\s+|-?\d+|\w+|[^\w\s]")
_MIN_SIMILARITY = 0.45


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line. `op`: `keep`, or `ins`/`del` against the previous attempt."""

    text: str
    op: str = "keep"
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """`kind`: `plain` (nothing to compare with), `same`, `changed`, `added` or `removed`."""

    kind: str
    parts: tuple[Part, ...]
    wrong: bool = False
    """The step that the feedback names."""

    @property
    def text(self) -> str:
        """The line as it stands in the attempt (for `removed`: as it stood in the previous one)."""
        return "".join(part.text for part in self.parts if part.op != "del" or self.kind == "removed")


def attempt_lines(
    attempt: str, previous: str | None = None, error_step: str | None = None, error_segment: str | None = None
) -> list[Line]:
    """The lines of `attempt`, diffed against `previous` if there is one, the named segment marked in its line.

    A step that the attempt does not have (it stops early) is shown on its last line; a segment that its line does not
    hold marks the whole line. Overlong attempts are cut with a note.
    """
    steps = Attempt.parse(attempt).steps
    lines = [Line("plain", (Part(s.line),)) for s in steps] if previous is None else _compare(previous, steps)
    if error_step is not None and steps:
        index = Attempt(steps).index_of(error_step)
        lines = _mark(lines, len(steps) - 1 if index is None else index, error_segment)
    return _bounded(lines)


def _compare(previous: str, steps: tuple[Step, ...]) -> list[Line]:
    """Lines are paired by their step header, so that a repaired step stands against the step it repairs."""
    before = Attempt.parse(previous).steps
    matcher = SequenceMatcher(None, [_key(s) for s in before], [_key(s) for s in steps], autojunk=False)
    lines: list[Line] = []
    for op, i1, i2, j1, j2 in matcher.get_opcodes():
        if op == "equal":
            for old, new in zip(before[i1:i2], steps[j1:j2], strict=True):
                lines += _pair(old.line, new.line)
            continue
        lines += [Line("removed", (Part(step.line, "del"),)) for step in before[i1:i2]]
        lines += [Line("added", (Part(step.line, "ins"),)) for step in steps[j1:j2]]
    return lines


def _key(step: Step) -> str:
    return step.line if step.header is None else f"({step.header})"


def _pair(old: str, new: str) -> list[Line]:
    if old == new:
        return [Line("same", (Part(new),))]
    if max(len(old), len(new)) <= MAX_LINE_CHARACTERS:
        a, b = _TOKEN.findall(old), _TOKEN.findall(new)
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        if matcher.ratio() >= _MIN_SIMILARITY:
            return [Line("changed", _word_parts(matcher, a, b))]
    return [Line("removed", (Part(old, "del"),)), Line("added", (Part(new, "ins"),))]


def _word_parts(matcher: SequenceMatcher[str], a: list[str], b: list[str]) -> tuple[Part, ...]:
    """Kept, deleted and inserted runs; kept runs of white space between two changes join them, for the eye."""
    runs: list[list[str]] = []  # [kept], or [deleted, inserted]
    for op, i1, i2, j1, j2 in matcher.get_opcodes():
        deleted, inserted = "".join(a[i1:i2]), "".join(b[j1:j2])
        if op == "equal":
            runs.append([inserted])
        elif len(runs) >= 2 and len(runs[-2]) == 2 and runs[-1][0].isspace():
            (gap,) = runs.pop()
            runs[-1] = [runs[-1][0] + gap + deleted, runs[-1][1] + gap + inserted]
        else:
            runs.append([deleted, inserted])
    parts = []
    for run in runs:
        pairs = [("keep", run[0])] if len(run) == 1 else [("del", run[0]), ("ins", run[1])]
        parts += [Part(text, op) for op, text in pairs if text]
    return tuple(parts)


def _mark(lines: list[Line], index: int, segment: str | None) -> list[Line]:
    """Marks the segment in the attempt's line number `index` (removed lines do not count)."""
    own = [position for position, line in enumerate(lines) if line.kind != "removed"]
    line = lines[own[index]]
    text = line.text
    segment = (segment or "").strip()
    start = _find(text, segment) if segment else -1
    end = start + len(segment)
    if start < 0:
        start, end = 0, len(text)
    parts: list[Part] = []
    at = 0
    for part in line.parts:
        if part.op == "del":
            parts.append(part)
            continue
        cuts = sorted({0, len(part.text), *(min(max(edge - at, 0), len(part.text)) for edge in (start, end))})
        for low, high in pairwise(cuts):
            parts.append(Part(part.text[low:high], part.op, start <= at + low and at + high <= end))
        at += len(part.text)
    return [*lines[: own[index]], Line(line.kind, tuple(parts), wrong=True), *lines[own[index] + 1 :]]


def _find(text: str, segment: str) -> int:
    """The first place where the segment stands as whole words or numbers (`2` is not part of `12`), else anywhere."""
    match = re.search(rf"(?<![\w-]){re.escape(segment)}(?!\w)", text)
    return match.start() if match else text.find(segment)


def _bounded(lines: list[Line]) -> list[Line]:
    kept = [_cut(line) for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        kept.append(Line("plain", (Part(f"… ({len(lines) - MAX_LINES:,} more lines)"),)))
    return kept


def _cut(line: Line) -> Line:
    left = MAX_LINE_CHARACTERS
    parts: list[Part] = []
    for part in line.parts:
        if len(part.text) <= left:
            parts.append(part)
            left -= len(part.text)
            continue
        missing = sum(len(p.text) for p in line.parts) - MAX_LINE_CHARACTERS
        parts.append(Part(part.text[:left] + f" … ({missing:,} more characters)", part.op, part.marked))
        break
    return Line(line.kind, tuple(parts), line.wrong)
