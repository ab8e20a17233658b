"""One date question: what it tells of today, which date it asks for, and its options (BIG-bench date understanding)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from tripost_core.errors import DataError
from tripost_core.problems.base import strip_question
from tripost_core.problems.calendar_dates import COUNT, read_count, read_date, shift, slash_date
from tripost_core.problems.date_clues import read_clues
from tripost_core.problems.date_steps import DateStep
from tripost_core.problems.options import LETTERS, join_options, split_options

_MAX_CHARS = 4_000
"""Longer questions are not read."""
_ASKED = re.compile(r"\bWhat (?:is|was|will be) the date (?P<asked>.+?)(?: in MM/DD/YYYY(?: format)?)?\?", re.S)
_MOVE = re.compile(
    rf"(?P<n>\d{{1,4}}|{COUNT}) (?P<unit>hour|day|week|month|year)s? (?P<way>"
    r"ago(?: from (?:today|now))?|before today|earlier|prior to today|from today|from now|"
    r"later|after today|after now|later than today)",
    re.I,
)
_NAMED_MOVES = {
    "today": 0, "tomorrow": 1, "yesterday": -1, "the day after tomorrow": 2, "the day before yesterday": -2,
    "now": 0, "of today": 0, "of tomorrow": 1, "of yesterday": -1,
}  # fmt: skip
_CURLY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\xa0": " "})


@dataclass(frozen=True, slots=True)
class DateQuestion:
    """A question that has been read. `steps`: the gold steps, the last one before the options telling the date asked
    for; `answer`: index of its option, or of the closest one where no option has it (`exact` is False then)."""

    question: str
    text: str
    asked: str
    move: tuple[int, str]
    options: tuple[date | None, ...]
    steps: tuple[DateStep, ...]
    today: date
    wanted: date
    answer: int
    exact: bool

    @property
    def today_index(self) -> int:
        return next(i for i, step in enumerate(self.steps) if step.kind == "today")

    def final_line(self, option: int) -> str:
        return f"(Final response) So the answer is ({LETTERS[option]})."


def read_move(asked: str) -> tuple[int, str] | None:
    """(n, unit) that a phrase such as `10 days ago` moves from today; hours only as whole days. None for another."""
    asked = " ".join(asked.lower().split()).strip(" ,.")
    asked = asked.removeprefix("of ") if asked not in _NAMED_MOVES else asked
    if asked in _NAMED_MOVES:
        return _NAMED_MOVES[asked], "day"
    match = _MOVE.fullmatch(asked)
    if match is None:
        return None
    n, unit = read_count(match["n"]), match["unit"].lower()
    if unit == "hour":
        if n % 24:
            return None
        n, unit = n // 24, "day"
    back = match["way"].startswith(("ago", "before", "earlier", "prior"))
    return (-n if back else n), unit


@lru_cache(maxsize=4096)
def read_question(question: str) -> DateQuestion:
    """Reads a question with its options. Raises DataError where a part is missing or not understood."""
    asked_text = strip_question(question)
    if len(asked_text) > _MAX_CHARS:
        raise DataError("The question is too long to be one about a date.")
    stem, listed = split_options(asked_text)
    stem = stem.strip()
    clean = " ".join(stem.translate(_CURLY).split())
    match = _ASKED.search(clean)
    if match is None:
        raise DataError(f"No question `What is the date ...?` is found in {clean[:80]!r}.")
    move = read_move(match["asked"])
    if move is None:
        raise DataError(f"It is not understood which date {match['asked'][:60]!r} is.")
    if not listed:
        raise DataError("The question has no options.")
    options = tuple(read_date(text) for text in listed)
    told = clean[: match.start()].strip()
    steps = read_clues(told)
    if steps is None:
        raise DataError(f"It is not understood what date today is from {told[:80]!r}.")
    today = steps[-1].date
    wanted = shift(today, *move)
    dates = [(i, day) for i, day in enumerate(options) if day is not None]
    if wanted is None or not dates:
        raise DataError("No option is a date, or the date asked for is out of range.")
    answer, found = min(dates, key=lambda option: _distance(option[1], wanted))
    steps = _with_asked(steps, match["asked"], move, wanted)
    if found != wanted:
        steps = (
            *steps,
            DateStep("closest", f"None of the options is {slash_date(wanted)}; the closest is {{slash}}.", found),
        )
    return DateQuestion(
        join_options(stem, listed), told, match["asked"], move, options, steps, today, wanted, answer, found == wanted
    )


def _distance(option: date, wanted: date) -> tuple[bool, int]:
    """How unlike two dates are. A question whose option has the wrong year still means that option, so another year is
    nearer than another day."""
    return (option.month, option.day) != (wanted.month, wanted.day), abs((option - wanted).days)


def _with_asked(steps: tuple[DateStep, ...], asked: str, move: tuple[int, str], wanted: date) -> tuple[DateStep, ...]:
    """The steps to today and one to the date asked for; where that is today's, the last step says it."""
    today = steps[-1]
    if move[0] == 0:
        return (*steps[:-1], replace(today, form=today.form.replace("{date}.", "{date}, that is {slash}.")))
    form = f"The date {asked.replace('{', '').replace('}', '')} is {{date}}, that is {{slash}}."
    return (*steps, DateStep("asked", form, wanted, today.date, move, True))


def rationale_lines(question: DateQuestion) -> list[str]:
    """The gold rationale: the steps and the final response."""
    lines = [f"({number}) {step.body()}" for number, step in enumerate(question.steps, 1)]
    return [*lines, question.final_line(question.answer)]
