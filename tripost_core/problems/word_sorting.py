"""Word sorting (paper section 3.1): sort 2 to 20 words alphabetically, letter by letter.

The canonical answer is the words in plain Python string order, joined by a space. A letter's number is its place in
the alphabet, `ord(letter) - ord("a") + 1`; the same formula gives apostrophes and capitals numbers below 1, so that
numbers order words as Python does. Beyond the paper's generator, which crashes there: a word that has ended has the
empty letter with a number below every letter's, so it sorts before every longer word that begins with it; copies of
one word need no further sorting once nothing else is in their group.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from tripost_core.errors import DataError
from tripost_core.problems.base import Problem, Subtask, strip_question
from tripost_core.problems.files import read_examples
from tripost_core.trajectory import FINAL, Attempt

MAX_WORDS = 100
"""Longest list that is accepted, in words; five times the paper's longest."""
MAX_LETTERS = 64
"""Longest word that is accepted, in characters."""

_INSTRUCTION = "Sort the following words alphabetically:"
_QUESTION = re.compile(r"(?:sort the following words alphabetically:?\s*)?list:(?P<words>.*)", re.I | re.S)
_ANSWER = re.compile(r"the answer is:?(?P<words>.*)", re.I)
_QUOTED = re.compile(r'"([^"]*)"')
_SIZES = {"2-3": (2, 3), "4-7": (4, 7), "8-10": (8, 10), "11-15": (11, 15), "16-20": (16, 20)}
_UNITS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
          "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
          "nineteenth")  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty")
_DRAWS_PER_QUESTION = 200
"""Draws without a new list after which a subtask counts as used up."""


def ordinal(position: int) -> str:
    """`first` for 0, `twenty-first` for 20; positions 0 to 65."""
    if position < len(_UNITS):
        return _UNITS[position]
    tens, unit = divmod(position + 1, 10)
    return f"{_TENS[tens - 2]}-{_UNITS[unit - 1]}" if unit else _TENS[tens - 2].removesuffix("y") + "ieth"


def letter_at(word: str, position: int) -> str:
    """The letter at a 0-based position; empty where the word has ended."""
    return word[position] if position < len(word) else ""


def letter_number(letter: str) -> int:
    """1 for `a` to 26 for `z`; a word that has ended counts as if a NUL followed: below every letter."""
    return ord(letter or "\0") - ord("a") + 1


def group_by_letter(words: Sequence[str], position: int) -> list[tuple[int, list[str]]]:
    """Groups (number of the letter at `position`, words in the given order), ascending by number."""
    return groups_of((letter_number(letter_at(word, position)), word) for word in words)


def groups_of(numbered: Iterable[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Groups of words that are given with the numbers of their letters, ascending by number.

    Copies of one word that share their group with nothing else make one group each: they are sorted.
    """
    by_number: dict[int, list[str]] = {}
    for number, word in numbered:
        by_number.setdefault(number, []).append(word)
    groups: list[tuple[int, list[str]]] = []
    for number, members in sorted(by_number.items()):
        settled = len(set(members)) == 1
        groups += [(number, [word]) for word in members] if settled else [(number, members)]
    return groups


def show_letters(words: Sequence[str], position: int) -> str:
    """`"adieu"="a" (1), "cream"="c" (3)` for position 0."""
    letters = ((word, letter_at(word, position)) for word in words)
    return ", ".join(f'"{word}"="{letter}" ({letter_number(letter)})' for word, letter in letters)


def show_subpart(words: Sequence[str]) -> str:
    """`["adieu" ? "alas"]`."""
    return "[" + " ? ".join(f'"{word}"' for word in words) + "]"


def show_groups(groups: Sequence[tuple[int, Sequence[str]]]) -> str:
    """`(1) ["adieu" ? "alas"] < (3) "cream"`."""
    shown = ((n, show_subpart(words) if len(words) > 1 else f'"{words[0]}"') for n, words in groups)
    return " < ".join(f"({number}) {text}" for number, text in shown)


def show_order(words: Sequence[str]) -> str:
    """`"adieu" < "cream"`."""
    return " < ".join(f'"{word}"' for word in words)


def subpart_steps(words: Sequence[str], position: int, prefix: str) -> Iterator[str]:
    """The steps (lines) that sort one group whose words agree up to `position`, from `({prefix}) Now sort ...`
    to its conclusion (paper section 3.1; each sibling has its own header)."""
    yield f"({prefix}) {look_at(words, position)}"
    yield from resolve_steps(words, position, prefix, 1)


def look_at(words: Sequence[str], position: int) -> str:
    """`Now sort this subpart [...] by looking at their second letters: ....`"""
    subpart, letters = show_subpart(words), show_letters(words, position)
    return f"Now sort this subpart {subpart} by looking at their {ordinal(position)} letters: {letters}."


def resolve_steps(words: Sequence[str], position: int, prefix: str, number: int) -> Iterator[str]:
    """What follows the look at a group's letters at `position`; the first line is `({prefix}.{number})`."""
    groups = group_by_letter(words, position)
    yield f"({prefix}.{number}) We now have: {show_groups(groups)}."
    while len(groups) == 1:
        position += 1
        groups = group_by_letter(words, position)
        yield f"({prefix}.{number + 1}) {look_at(words, position)}"
        yield f"({prefix}.{number + 2}) We now have: {show_groups(groups)}."
        number += 2
    for _, members in groups:
        if len(members) > 1:
            number += 1
            yield from subpart_steps(members, position + 1, f"{prefix}.{number}")
    yield f"({prefix}.{number + 1}) Hence, we have {show_order(sorted(words))}."


def rationale_steps(words: Sequence[str]) -> Iterator[str]:
    """All steps (lines) of the gold rationale."""
    groups = group_by_letter(words, 0)
    yield f"(1) The first letter: {show_letters(words, 0)}."
    yield f"(2) We now have: {show_groups(groups)}."
    number = 2
    for _, members in groups:
        if len(members) > 1:
            number += 1
            yield from subpart_steps(members, 1, str(number))
    yield f"({number + 1}) Hence, we have {show_order(sorted(words))}."
    yield final_line(sorted(words))


def final_line(words: Sequence[str]) -> str:
    return f"(Final response) So the answer is: {' '.join(words)}."


def question_words(question: str) -> list[str]:
    """The words of a question in the order given. Raises DataError when the text is no word-sorting question."""
    match = _QUESTION.fullmatch(strip_question(question))
    if not match:
        raise DataError(f"This is not a word-sorting question (no word list after 'List:'): {question[:80]!r}.")
    words = match["words"].split()
    if not 1 <= len(words) <= MAX_WORDS:
        raise DataError(f"A word list has 1 to {MAX_WORDS} words, this one has {len(words)}.")
    for word in words:
        if '"' in word or not word.isprintable() or len(word) > MAX_LETTERS:
            raise DataError(
                f"A word has at most {MAX_LETTERS} printable characters and no double quote, unlike {word[:70]!r}."
            )
    return words


def subtask_of(num_words: int) -> str:
    """The reported group of a list; longer lists than the paper's count with the last, single words with the first."""
    return next((name for name, (_, most) in _SIZES.items() if num_words <= most), "16-20")


@cache
def word_list() -> tuple[str, ...]:
    """The package's own words (`words.txt`), sorted, without repetitions."""
    return tuple(files(__package__).joinpath("words.txt").read_text(encoding="ascii").split())


class WordSorting:
    """The task `word_sorting`; see `problems.base.Task` for the contract."""

    name = "word_sorting"
    subtasks = tuple(Subtask(name, seen=most <= 7) for name, (_, most) in _SIZES.items())
    answer_header = "Answer: Let's think step by step."
    holdout = 0.0
    paper_sizes: dict[str, dict[str, int]] = {  # noqa: RUF012 - the contract's plain dict
        "train": {"2-3": 142, "4-7": 291},
        "validation": {"2-3": 14, "4-7": 26},
        "test": {"2-3": 44, "4-7": 83, "8-10": 50, "11-15": 100, "16-20": 102},
    }

    def generate(
        self, subtask: str, n: int, seed: int, split: str = "", exclude: Collection[str] = ()
    ) -> list[Problem]:
        """`n` lists of random words in random order, none with the same set of words as another one or as one in
        `exclude`, and no word that begins another. The lengths of a group take turns, so they are evenly spread."""
        if subtask not in _SIZES:
            raise DataError(f"Word sorting has no subtask {subtask!r}; it has {', '.join(_SIZES)}.")
        least, most = _SIZES[subtask]
        rng = random.Random(f"{self.name}/{subtask}/{split}/{seed}")
        taken = {frozenset(question_words(question)) for question in exclude}
        problems: list[Problem] = []
        while len(problems) < n:
            size = least + len(problems) % (most - least + 1)
            for _ in range(_DRAWS_PER_QUESTION):
                words = rng.sample(word_list(), size)
                in_order = sorted(words)
                begins = any(b.startswith(a) for a, b in pairwise(in_order))
                if not begins and frozenset(words) not in taken:
                    break
            else:
                raise DataError(f"Word sorting {subtask} has no {n} different lists left beyond the excluded.")
            taken.add(frozenset(words))
            problems.append(self._problem(words, split))
        return problems

    def load(self, path: Path, split: str = "") -> list[Problem]:
        """Raises DataError, naming the row, also where the file's answer is not the sorted words."""
        problems = []
        for example in read_examples(path):
            try:
                words = question_words(example["question"])
            except DataError as error:
                raise DataError(f"{example['place']}: {error}") from None
            answer = example["answer"]
            if sorted(words) != (answer.split() if isinstance(answer, str) else answer):
                raise DataError(f"{example['place']}: the answer is not the words in plain string order.")
            problems.append(self._problem(words, split, example["rationale"]))
        return problems

    def parse_question(self, question: str) -> Problem:
        return self._problem(question_words(question))

    def rationale(self, question: str) -> str:
        return "\n".join(rationale_steps(question_words(question)))

    def extract_answer(self, attempt: str) -> str | None:
        final = Attempt.parse(attempt).final
        match = _ANSWER.search(final.line) if final else None
        if not match:
            return None
        return " ".join(match["words"].strip().removesuffix(".").split())

    def is_right(self, attempt: str, answer: str) -> bool:
        return self.extract_answer(attempt) == answer

    def is_consistent(self, attempt: str, question: str = "") -> bool:
        """The step before the final response has the words in the same order, and no conclusion is unfinished."""
        answer = self.extract_answer(attempt)
        steps = Attempt.parse(attempt).steps
        final = next((i for i, step in enumerate(steps) if step.header == FINAL), 0)
        if answer is None or final == 0:
            return False
        frames = [_QUOTED.sub("", step.line).lower() for step in steps]  # the words may hold "hence" or "?"
        unfinished = any("hence" in frame and "?" in frame for frame in frames)
        return not unfinished and _QUOTED.findall(steps[final - 1].line) == answer.split()

    def _problem(self, words: Sequence[str], split: str = "", rationale: str | None = None) -> Problem:
        question = f"{_INSTRUCTION}\nList: {' '.join(words)}"
        name = subtask_of(len(words))
        seen = next(subtask.seen for subtask in self.subtasks if subtask.name == name)
        return Problem(self.name, question, " ".join(sorted(words)), name, seen, split, rationale)


TASK = WordSorting()
