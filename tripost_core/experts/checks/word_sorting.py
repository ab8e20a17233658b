"""The attempt's steps said again, behind each letter the groups so far, and the place in the question.

    (1) The first letter: "rings"="r" (18) {(18) "rings"; rings beads}, "beads"="b" (2) {(2) "beads" < (18) "rings";
    beads raft}, "raft"="r" (18) {(2) "beads" < (18) ["rings" ? "raft"]; raft}. (2) We now have: (2) "beads" < (18)
    "rings". No.

To write down the sorted groups at once a student has to find the next smallest number over and over, and the words that
it belongs to; it finds some twice, and loses its place in the question (docs/log.md). To put one word into groups that
are sorted already is less, and the groups of the next step are a copy of the last ones, letter by letter. The place is
the word and the one behind it as the question has them: what comes next can be copied from there. Small students copy
from left to right and do not look up: so each working stands where its word does, and an update has all of them from
its first line on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK, groups_of, question_words, show_groups
from tripost_core.trajectory import Attempt

MAX_STEP_CHARS = 400
"""A longer step (a student that cannot stop) is not said again."""
WORKING = re.compile(r" \{[^{}\n]*\}")
_LETTER = re.compile(r'"([^"]*)"="[^"]*" \((-?\d+)\)')
_FIRST = "1"
"""The step that goes through the question, and not through a subpart."""
_OF_WORKINGS = re.compile(r"[{}]")


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The steps up to the wrong one, or all but the final response. Ends before a step that the rationale has not."""
    right = {step.header for step in Attempt.parse(TASK.rationale(problem.question)).steps}
    places = _places(question_words(problem.question))
    said: list[str] = []
    for step in Attempt.parse(attempt).steps:
        if step.header not in right or step.header is None or not step.header[0].isdigit():
            break
        shown = _worked(step.body, places if step.header == _FIRST else {}) if len(step.body) <= MAX_STEP_CHARS else ""
        said.append(f"({step.header}) {shown}".rstrip())
        if step.header == verdict.error_step:
            said.append("No.")
            break
    return " ".join(said)


def without_workings(attempt: str) -> str:
    """The attempt as it stands in a rationale."""
    return WORKING.sub("", attempt)


def with_workings(lines: Sequence[str], kept: int) -> list[str]:
    """All lines; that `kept` of them are the attempt's own does not matter here, because the groups that a new
    line needs stand in the one before. The first step has the question's words, in their order."""
    worked = []
    for step in Attempt.parse("\n".join(without_workings(line) for line in lines)).steps:
        words = [letter[1] for letter in _LETTER.finditer(step.line)] if step.header == _FIRST else []
        worked.append(_worked(step.line, _places(words)))
    return worked


def _places(words: Sequence[str]) -> dict[str, str]:
    """Behind each word what follows it: itself and the next one."""
    last = {words[-1]: words[-1]} if words else {}
    return {word: f"{word} {following}" for word, following in pairwise(words)} | last


def _worked(text: str, places: dict[str, str]) -> str:
    """The text with the groups so far behind each letter's number, and the word's place where it has one."""
    numbered: list[tuple[int, str]] = []

    def with_groups(letter: re.Match[str]) -> str:
        word = letter[1]
        numbered.append((int(letter[2]), word))
        place = f"; {places[word]}" if word in places else ""
        return f"{letter[0]} {{{show_groups(groups_of(numbered))}{place}}}"

    if any(_OF_WORKINGS.search(letter[1]) for letter in _LETTER.finditer(text)):
        return text  # a working of such words could not be told from what it stands in
    return _LETTER.sub(with_groups, text)
