"""How often each word that a step has to list stands in it.

    (2) "risked" 1, "redecorates" 1, "rinse" 2. (3.1) "sparing" 1, "shops" 0.

A list that has lost a word or has one twice looks like any other list; whether a given word is in it does not.
"""

from __future__ import annotations

import re

from tripost_core.experts.base import Verdict
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import question_words
from tripost_core.trajectory import Attempt

_QUOTED = re.compile(r'"([^"\s]+)"')
_LISTS = re.compile(r"\b(?:we now have|hence)\b", re.IGNORECASE)
_SUBPART = re.compile(r"\bsort this subpart \[([^\]]*)\]", re.IGNORECASE)
MAX_LINE_CHARS = 2_000


def checks(problem: Problem, attempt: str, verdict: Verdict) -> str:
    """The counts of the listing steps up to the wrong one, or of all."""
    words = question_words(problem.question)
    subparts: dict[str, list[str]] = {}
    said = []
    for step in Attempt.parse(attempt).steps:
        if step.header is None or not step.header[0].isdigit() or len(step.line) > MAX_LINE_CHARS:
            break
        if match := _SUBPART.search(step.line):
            subparts[step.header] = _QUOTED.findall(match[1])
        elif _LISTS.search(step.line):
            found = _QUOTED.findall(step.line)
            expected = list(dict.fromkeys(_expected(step.header, words, subparts)))
            counts = [f'"{word}" {found.count(word)}' for word in expected]
            said.append(f"({step.header}) {', '.join(counts)}.")
        if step.header == verdict.error_step:
            break
    return " ".join(said)


def _expected(header: str, words: list[str], subparts: dict[str, list[str]]) -> list[str]:
    """The words of the subpart that was opened by the nearest step above it: (3.2) or (3) for (3.2.1)."""
    while "." in header:
        header = header.rpartition(".")[0]
        if header in subparts:
            return subparts[header]
    return words
