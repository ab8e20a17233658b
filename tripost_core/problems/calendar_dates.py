"""Dates as texts write them: found, read, written, and moved by days, weeks, months and years.

Only the Gregorian calendar, years 1000 to 9998. A month's last days are cut to what the target month has: a month
before March 31 is the last day of February.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

MONTHS = tuple(calendar.month_name)[1:]
WEEKDAYS = tuple(calendar.day_name)
UNITS = ("day", "week", "month", "year")
_FIRST_YEAR, _LAST_YEAR = 1000, 9998

_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary|urary|uary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|"
_MONTH += r"Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
MONTH = _MONTH
"""Pattern of a month's name, short or long; `Feburary`, which the benchmark writes, is one too."""
_YEAR = r"\d{4}(?!\d)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?(?![\d/])"
DATE = (
    r"(?:(?:Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri|Sat|Sun)(?:day|sday|nesday|rsday|urday)?\.?,? )?"
    rf"(?:(?<![\d/])\d{{1,2}}/\d{{1,2}}(?:/{_YEAR})?(?![\d/])|{_MONTH} (?:the )?{_DAY}(?:,? (?:of )?{_YEAR})?"
    rf"|(?<!\d)(?:the )?{_DAY} (?:day )?(?:of )?{_MONTH}(?:,? (?:of )?{_YEAR})?)"
)
"""Pattern of a date with or without its year."""
_SLASHED = re.compile(rf"(?<![\d/])(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})(?:/(?P<year>{_YEAR}))?(?![\d/])")
_NAMED = re.compile(
    rf"(?P<month>{_MONTH}) (?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?![\d/])(?:,? (?:of )?(?P<year>{_YEAR}))?"
    rf"|(?<!\d)(?:the )?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)? (?:day )?(?:of )?(?P<month2>{_MONTH})"
    rf"(?:,? (?:of )?(?P<year2>{_YEAR}))?"
)

_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
]
COUNT = rf"(?:\d{{1,4}}|an?|{'|'.join([*_WORDS[1:], *_TENS])})"
"""Pattern of a number of days, weeks, ...: digits, a word, or `a`."""
ORDINAL = rf"(?:\d{{1,3}}(?:st|nd|rd|th)|{'|'.join(_ORDINALS)}|last)"


@dataclass(frozen=True, slots=True)
class Mention:
    """A date in a text, at [start, end). `date` is None where its year is missing or there is no such day."""

    start: int
    end: int
    month: int
    day: int
    year: int | None

    @property
    def date(self) -> date | None:
        return None if self.year is None else make_date(self.year, self.month, self.day)

    @property
    def possible(self) -> bool:
        """Whether there is such a day, in some year where none is given."""
        return make_date(self.year or 2000, self.month, self.day) is not None


def find_dates(text: str) -> Iterator[Mention]:
    """The dates of a text from left to right."""
    found = [_mention(match) for pattern in (_SLASHED, _NAMED) for match in pattern.finditer(text)]
    end = 0
    for mention in sorted(found, key=lambda m: (m.start, -m.end)):
        if mention.start >= end:
            end = mention.end
            yield mention


def read_date(text: str, year: int | None = None) -> date | None:
    """The one date that a text is, with `year` where it has none; None where it is no date."""
    mention = next(find_dates(text), None)
    if mention is None:
        return None
    return make_date(mention.year or year, mention.month, mention.day)


def make_date(year: int | None, month: int, day: int) -> date | None:
    """The date, or None where there is none or its year is out of range."""
    if year is None or not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _mention(match: re.Match[str]) -> Mention:
    found = match.groupdict()
    month = found["month"] or found["month2"]
    day, year = found["day"] or found["day2"], found["year"] or found.get("year2")
    number = int(month) if month.isdigit() else month_number(month)
    return Mention(match.start(), match.end(), number, int(day), int(year) if year else None)


def month_number(name: str) -> int:
    """1 to 12 of a month's name that `MONTH` matches."""
    short = name.strip().lower()[:3]
    return next(i for i, month in enumerate(MONTHS, 1) if month.lower().startswith(short))


def read_count(text: str) -> int:
    """`10`, `ten`, `a` as a number."""
    word = text.strip().lower()
    if word.isdigit():
        return int(word)
    return 1 if word in ("a", "an") else _TENS.get(word) or _WORDS.index(word)


def read_ordinal(text: str) -> int:
    """`5th`, `fifth` as a number; `last` is -1."""
    word = text.strip().lower()
    if word == "last":
        return -1
    return int(word[:-2]) if word[0].isdigit() else _ORDINALS.index(word) + 1


def ordinal(n: int) -> str:
    """`first` to `twelfth`, then `13th`; -1 is `last`."""
    if n == -1:
        return "last"
    return _ORDINALS[n - 1] if n <= len(_ORDINALS) else numeric_ordinal(n)


def numeric_ordinal(n: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def long_date(day: date) -> str:
    """`September 9, 1909`"""
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


def slash_date(day: date) -> str:
    """`09/09/1909`"""
    return f"{day.month:02}/{day.day:02}/{day.year:04}"


def shift(day: date, n: int, unit: str) -> date | None:
    """`n` units later (earlier where negative), or None out of range."""
    try:
        if unit in ("day", "week"):
            moved = day + timedelta(days=n * (7 if unit == "week" else 1))
        else:
            months = day.year * 12 + day.month - 1 + n * (12 if unit == "year" else 1)
            year, month = divmod(months, 12)
            moved = date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
    except (ValueError, OverflowError):
        return None
    return moved if _FIRST_YEAR <= moved.year <= _LAST_YEAR else None


def last_day(year: int, month: int) -> date | None:
    first = make_date(year, month, 1)
    return first and first.replace(day=calendar.monthrange(year, month)[1])


def nth_weekday(n: int, weekday: int, year: int, month: int) -> date | None:
    """The n-th (-1: last) Monday (0) to Sunday (6) of a month."""
    first, last = make_date(year, month, 1), last_day(year, month)
    if first is None or last is None:
        return None
    if n == -1:
        return last - timedelta(days=(last.weekday() - weekday) % 7)
    found = first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
    return found if found.month == month else None
