"""Multiple choice: `Options:` with `(A) ...` lines, inside a question or beside it."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from tripost_core.errors import DataError

LETTERS = string.ascii_uppercase

_OPTIONS = re.compile(r"\s*\b(?:Options|Choices):\s*", re.IGNORECASE)
_LETTER = re.compile(r"(?:(?<=\s)|^)\(([A-Z])\)\s*")
_GIVEN_LETTER = re.compile(r"\(?([A-Za-z])\)?\.?")


def split_options(question: str) -> tuple[str, list[str]]:
    """The question before `Options:` and the options' texts in the order of their letters; no options: an empty list.

    Raises DataError where the letters are not A, B, C, ... in this order.
    """
    matches = list(_OPTIONS.finditer(question))
    if not matches:
        return question, []
    stem, listed = question[: matches[-1].start()], question[matches[-1].end() :]
    pieces = _LETTER.split(listed)
    letters, texts = pieces[1::2], [" ".join(text.split()) for text in pieces[2::2]]
    if pieces[0].strip() or "".join(letters) != LETTERS[: len(letters)]:
        raise DataError(f"The options are not lettered (A), (B), (C), ... in this order: {listed[:80]!r}.")
    return stem, texts


def join_options(stem: str, options: Sequence[str]) -> str:
    """The question with its options, one a line."""
    return "\n".join([f"{stem}\nOptions:", *(f"({LETTERS[i]}) {text}" for i, text in enumerate(options))])


def with_options(question: str, options: Any) -> str:
    """The question with options that came beside it: text with lettered lines, a list of texts, or a mapping from
    letters to texts. A question that has its own options keeps them. Raises DataError for anything else."""
    if options is None or split_options(question)[1]:
        return question
    if isinstance(options, Mapping):
        options = [options[key] for key in sorted(options)]
    if isinstance(options, str):
        return f"{question}\nOptions:\n{_OPTIONS.sub('', options, count=1)}"
    if not isinstance(options, Sequence) or not all(isinstance(text, str) for text in options):
        raise DataError("The options are neither text nor a list of texts.")
    bare = [_LETTER.sub("", text, count=1) for text in options]
    if len(bare) > len(LETTERS):
        raise DataError(f"There are {len(bare)} options, more than letters.")
    return join_options(question, bare)


def option_letter(answer: str, options: Sequence[str]) -> str | None:
    """The bare capital letter that an answer means: `B`, `(B)`, `b.`, or the option's own text; None for another."""
    match = _GIVEN_LETTER.fullmatch(answer.strip())
    if match:
        letter = match[1].upper()
        return letter if LETTERS.index(letter) < len(options) else None
    given = _bare(_LETTER.sub("", answer.strip(), count=1))
    found = [LETTERS[i] for i, text in enumerate(options) if _bare(text) == given]
    return found[0] if len(found) == 1 else None


def _bare(text: str) -> str:
    return " ".join(text.lower().removesuffix(".").split())
