"""The attempt's steps said again, before each list its numbers in order, built up one at a time.

    (2) [18; 2 18; 2 18 18; 2 13 18 18] We now have: (2) "beads" < (2) "beads" < (18) ["reassembling" ? "rings"]. No.

To write down a sorted list at once a student has to find the next smallest number over and over, and finds some twice
(docs/log.md); to put one number into a list that is sorted already is less, and a number that then stands there twice
is a subpart. Small students judge and copy what stands near: so the attempt's step comes right behind the numbers, and
in an update the lists that are written anew come behind them, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK, group_by_letter, question_words, show_groups, show_letters
from tripost_core.trajectory import Attempt

MAX_STEP_CHARS = 400
"""A longer step (a student that cannot stop) is left out and only said as it should have been."""
_NUMBER = re.compile(r'"="[^"]*" \((-?\d+)\)')
_WORKING = re.compile(r"(?<=\) )\[-?\d[-\d; ]*\] ")
_GROUPS = "We now have: "
_LISTS_IN_A_DRILL = 4


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


def drill(problem: Problem, rng: random.Random) -> list[tuple[str, bool]]:
    """Some of the question's words put into groups, four times; half of the lists are wrong and called so.

    Pieces of one text, and whether a student is to imitate them (not the wrong lists), as for arithmetic.
    """
    words = question_words(problem.question)
    pieces: list[tuple[str, bool]] = []
    for _ in range(_LISTS_IN_A_DRILL):
        some = rng.sample(words, rng.randint(2, len(words)))
        groups = group_by_letter(some, 0)
        shown = _near_miss(groups, rng) if rng.random() < 0.5 else groups
        letters = show_letters(some, 0)
        numbers = [int(number) for number in _NUMBER.findall(letters)]
        pieces.append((f" (1) The first letter: {letters}. (2) [{'; '.join(_insertions(numbers))}]", True))
        pieces.append((f" {_GROUPS}{show_groups(shown)}.", shown == groups))
        if shown != groups:
            pieces.append((" No.", True))
    return pieces


_Groups = list[tuple[int, list[str]]]


def _near_miss(groups: _Groups, rng: random.Random) -> _Groups:
    """The groups with one said twice, left out, or said in the place of the next; or a subpart with a word lost, or
    taken as sorted."""
    i = rng.randrange(len(groups))
    number, words = groups[i]
    changed = [[groups[i], *groups[i:]]]
    if len(groups) > 1:
        changed.append(groups[i + 1 :])
    if i + 1 < len(groups):
        changed.append([groups[i], groups[i], *groups[i + 2 :]])
    if len(words) > 1:
        lost = rng.choice(words)
        changed.append([(number, [word]) for word in words] + groups[i + 1 :])
        changed.append([(number, [word for word in words if word != lost]), *groups[i + 1 :]])
    return groups[:i] + rng.choice(changed)


def _insertions(numbers: list[int]) -> list[str]:
    """Of 18, 2, 13, 2: `18`, `2 18`, `2 13 18`, `2 2 13 18`."""
    return [" ".join(str(number) for number in sorted(numbers[: i + 1])) for i in range(len(numbers))]
