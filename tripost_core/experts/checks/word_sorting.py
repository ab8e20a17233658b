"""The attempt's steps said again, before each list its numbers in order, built up one at a time.

    (2) [18; 2 18; 2 13 18] We now have: (2) "beads" < (2) "beads" < (18) "reassembling". No.

To write down a sorted list at once a student has to find the next smallest number over and over, and finds some twice;
to put one number into a list that is sorted already is less. Small students judge and copy what stands near
(docs/log.md): so the attempt's step comes right behind the numbers, and in an update the lists that are written anew
come behind them, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK
from tripost_core.trajectory import Attempt

MAX_STEP_CHARS = 400
"""A longer step (a student that cannot stop) is left out and only said as it should have been."""
_NUMBER = re.compile(r'"="[^"]*" \((-?\d+)\)')
_WORKING = re.compile(r"(?<=\) )\[-?\d[-\d; ]*\] ")
_GROUPS = "We now have: "


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps up to the wrong one, or all but the final response. Ends before a step that the rationale has not."""
    right = {step.header: step for step in Attempt.parse(TASK.rationale(problem.question)).steps}
    said: list[str] = []
    numbers: list[int] = []
    for step in Attempt.parse(attempt).steps:
        meant = right.get(step.header)
        if meant is None or step.header is None or not step.header[0].isdigit():
            break
        working = f"[{'; '.join(_insertions(numbers))}] " if meant.body.startswith(_GROUPS) else ""
        shown = step.body if len(step.body) <= MAX_STEP_CHARS else ""
        said.append(f"({step.header}) {working}{shown}".rstrip())
        if step.header == verdict.error_step:
            said.append("No.")
            break
        if found := _NUMBER.findall(meant.line):
            numbers = [int(number) for number in found]
    return " ".join(said)


def without_workings(attempt: str) -> str:
    """The attempt as it stands in a rationale."""
    return _WORKING.sub("", attempt)


def with_workings(lines: Sequence[str], kept: int) -> list[str]:
    """The lines from the first `kept` on, each list of groups behind its numbers, put in order one at a time."""
    worked: list[str] = []
    numbers: list[int] = []
    for i, step in enumerate(Attempt.parse("\n".join(lines)).steps):
        if i >= kept:
            grouping = numbers and step.body.startswith(_GROUPS)
            worked.append(f"({step.header}) [{'; '.join(_insertions(numbers))}] {step.body}" if grouping else step.line)
        if found := _NUMBER.findall(step.line):
            numbers = [int(number) for number in found]
    return worked


def _insertions(numbers: list[int]) -> list[str]:
    """Of 18, 2, 13: `18`, `2 18`, `2 13 18`; a number that is there already makes no new list."""
    lists: list[str] = []
    known: set[int] = set()
    for number in numbers:
        if number not in known:
            known.add(number)
            lists.append(" ".join(str(n) for n in sorted(known)))
    return lists
