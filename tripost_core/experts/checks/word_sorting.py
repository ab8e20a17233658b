"""The attempt's steps said again, behind each letter the numbers so far in order.

    (1) The first letter: "reassembling"="r" (18) [18], "beads"="b" (2) [2 18], "rings"="r" (18) [2 18 18]. (2) We now
    have: (2) "beads" < (2) "beads" < (18) ["reassembling" ? "rings"]. No.

To write down a sorted list at once a student has to find the next smallest number over and over, and finds some twice
(docs/log.md); to put one number into a list that is sorted already is less, and a number that then stands there twice
is a subpart. Small students copy from left to right and do not look up: so each list stands where its number does, and
an update has all of them from its first line on.
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
"""A longer step (a student that cannot stop) is not said again."""
_LETTER = re.compile(r'"[^"]*"="[^"]*" \((-?\d+)\)')
WORKING = re.compile(r" \[-?\d[-\d ]*\]")
_GROUPS = "We now have: "
_LISTS_IN_A_DRILL = 4


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps up to the wrong one, or all but the final response. Ends before a step that the rationale has not."""
    right = {step.header for step in Attempt.parse(TASK.rationale(problem.question)).steps}
    said: list[str] = []
    for step in Attempt.parse(attempt).steps:
        if step.header not in right or step.header is None or not step.header[0].isdigit():
            break
        shown = _worked(step.body) if len(step.body) <= MAX_STEP_CHARS else ""
        said.append(f"({step.header}) {shown}".rstrip())
        if step.header == verdict.error_step:
            said.append("No.")
            break
    return " ".join(said)


def without_workings(attempt: str) -> str:
    """The attempt as it stands in a rationale."""
    return WORKING.sub("", attempt)


def with_workings(lines: Sequence[str], kept: int) -> list[str]:
    """All lines; that `kept` of them are the attempt's own does not matter here, because the list that a new line needs
    stands in the one before."""
    return [_worked(without_workings(line)) for line in lines]


def _worked(text: str) -> str:
    """The text with the numbers so far, in order, behind each letter's number."""
    numbers: list[int] = []

    def with_list(letter: re.Match[str]) -> str:
        numbers.append(int(letter[1]))
        return f"{letter[0]} [{' '.join(str(number) for number in sorted(numbers))}]"

    return _LETTER.sub(with_list, text)


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
        pieces.append((f" (1) The first letter: {_worked(show_letters(some, 0))}. (2)", True))
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
