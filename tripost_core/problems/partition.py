"""Which questions belong to pretraining: a partition of all questions by content.

The shipped student is pretrained once, while the splits of a run depend on the seed of that run. So that no split of
any seed holds a question that the student was pretrained on, a question's own hash decides which side it is on: the
pretraining corpus draws from one side, generated splits from the other.
"""

from __future__ import annotations

import hashlib
import re

from tripost_core.problems.base import strip_question

PRETRAINING_SHARE = 4
"""One in so many questions is left to pretraining."""

_ASKED = re.compile(r"\nOptions:|\sWhat is the date ")
_WORD_LIST = re.compile(r"\balphabetically:?\s+List:\s*")
"""As word sorting asks; whatever else is asked about a list, its order counts."""


def canonical_question(question: str) -> str:
    """What makes two questions the same: blanks do not count, nor do order and repetition in a list of words."""
    text = strip_question(question)
    if match := _WORD_LIST.search(text):
        return " ".join(sorted(set(text[match.end() :].split())))
    return "".join(text.removesuffix("=").split())


def is_pretraining_question(question: str) -> bool:
    """True where only pretraining may use the question; generated splits leave it out.

    `question` comes with or without `Q: `. The answer depends on nothing but its `canonical_question`, and of a
    question about a story on what stands before it: whatever is asked about a story, the story stays on its side.
    """
    asked_about = _ASKED.split(question, maxsplit=1)[0]
    digest = hashlib.sha256(canonical_question(asked_about).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % PRETRAINING_SHARE == 0
