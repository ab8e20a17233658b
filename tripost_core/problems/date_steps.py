"""The steps of a date rationale: what each says, and how they are put together from what a story tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

from tripost_core.problems.calendar_dates import (
    WEEKDAYS,
    last_day,
    long_date,
    make_date,
    nth_weekday,
    ordinal,
    shift,
    slash_date,
)

Day: TypeAlias = date
_SMALL = frozenset(
    [
        "Today",
        "Today's",
        "Yesterday",
        "Tomorrow",
        "This",
        "It",
        "On",
        "In",
        "The",
        "She",
        "He",
        "They",
        "Its",
        "Her",
        "His",
        "Their",
        "A",
        "An",
    ]
)


@dataclass(frozen=True, slots=True)
class DateStep:
    """One step that finds `date`. `form`: its sentence, with {date}, {slash}, {weekday} and {base} to be filled in.

    `base`: the date that it starts from, which the step before has found where `follows`; `move`: (n, unit) from there.
    """

    kind: str
    form: str
    date: date
    base: Day | None = None
    move: tuple[int, str] | None = None
    follows: bool = False

    def body(self) -> str:
        return self.form.format(
            date=long_date(self.date),
            slash=slash_date(self.date),
            weekday=WEEKDAYS[self.date.weekday()],
            base=long_date(self.base) if self.base else "",
        )


Steps = tuple[DateStep, ...]


def told_today(text: str, match: re.Match[str], day: date | None, before: Steps = ()) -> Steps | None:
    """Steps that end with `If ..., then today's date is ...`, told by the sentences that the match covers."""
    if day is None:
        return None
    return (*before, DateStep("today", f"If {_clause(text, match)}, then today's date is {{date}}.", day))


def today_after(before: Steps, clause: str) -> Steps:
    """Today is the date that the step before has found."""
    day = before[-1].date
    form = f"If {_braces(clause)}, then today's date is {{date}}."
    return (*before, DateStep("today", form, day, day, (0, "day"), True))


def _clause(text: str, match: re.Match[str]) -> str:
    start, clauses = 0, []
    for sentence in re.split(r"(?<=[.!]) +(?=[A-Z])", text):
        end = start + len(sentence)
        if start < match.end() and end > match.start():
            clauses.append(_small(sentence.rstrip(".! ")))
        start = end + 1
    return _braces(" and ".join(clauses))


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _small(sentence: str) -> str:
    sentence = re.sub(r"^(?:Therefore|So|However|Thus), ", "", sentence)
    first = sentence.split(" ")[0].strip(",")
    return sentence[0].lower() + sentence[1:] if first in _SMALL else sentence


def moved_step(base: date, n: int, unit: str, follows: bool = False) -> DateStep | None:
    day = shift(base, n, unit)
    if day is None:
        return None
    units = f"{abs(n)} {unit}" + ("" if abs(n) == 1 else "s")
    return DateStep(
        "move", f"{units} {'before' if n < 0 else 'after'} {{base}} is {{date}}.", day, base, (n, unit), follows
    )


def counted_steps(base: date, days: int) -> Steps | None:
    """So many days after a date, month's end by month's end."""
    steps: list[DateStep] = []
    end = last_day(base.year, base.month)
    while end is not None and (end - base).days < days and len(steps) < 12:
        n = (end - base).days
        if n:
            steps.append(DateStep("move", f"{n} day{'s' * (n > 1)} after {{base}} is {{date}}.", end, base, (n, "day")))
        following = end + timedelta(days=1)
        end = last_day(following.year, following.month)
    final = moved_step(base, days, "day")
    return None if final is None else (*steps, final)


def weekday_steps(n: int, weekday: int, year: int, month: int) -> Steps | None:
    """The first day of a month with its weekday, then the n-th such day."""
    first, found = make_date(year, month, 1), nth_weekday(n, weekday, year, month)
    if first is None or found is None:
        return None
    month_name = long_date(first).split(" ")[0]
    return (
        DateStep("weekday", "{date} is a {weekday}.", first),
        DateStep("nth", f"The {ordinal(n)} {WEEKDAYS[weekday]} of {month_name} {year} is {{date}}.", found),
    )
