"""Every step sorted again, each list of numbers built up one number at a time.

    (2) [18; 2 18; 2 13 18] We now have: (2) "beads" < (13) "murmurs" < (18) "reassembling". Yes.

To write down a sorted list at once a student has to find the next smallest number over and over, and finds some twice;
to put one number into a list that is sorted already is less. `Yes` or `No` says whether the attempt's step is this one.
"""

from __future__ import annotations

import re

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK
from tripost_core.trajectory import Attempt

_NUMBER = re.compile(r'"="[^"]*" \((-?\d+)\)')
_GROUPS = "We now have: "


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps of the rationale up to the wrong one, or all, but the first (which sorts nothing).

    Ends before a step that the attempt does not have: what is wrong with it then is not in a list.
    """
    headers = {step.header for step in Attempt.parse(attempt).steps}
    if verdict.error_step == "1":
        return ""
    said: list[str] = []
    numbers: list[int] = []
    for step in Attempt.parse(TASK.rationale(problem.question)).steps:
        if step.header is None or not step.header[0].isdigit() or step.header not in headers:
            break
        if step.header != "1":
            line = step.line
            if step.body.startswith(_GROUPS):
                line = f"({step.header}) [{'; '.join(_insertions(numbers))}] {step.body}"
            said.append(f"{line} {'No' if step.header == verdict.error_step else 'Yes'}.")
        if found := _NUMBER.findall(step.line):
            numbers = [int(number) for number in found]
        if step.header == verdict.error_step:
            break
    return " ".join(said)


def _insertions(numbers: list[int]) -> list[str]:
    """Of 18, 2, 13: `18`, `2 18`, `2 13 18`; a number that is there already makes no new list."""
    lists: list[str] = []
    known: set[int] = set()
    for number in numbers:
        if number not in known:
            known.add(number)
            lists.append(" ".join(str(n) for n in sorted(known)))
    return lists
