"""Generated date questions: someone tells of today in one of many ways, and a date is asked for, with options.

The ways are those of BIG-bench's questions and some more; names, things and dates are drawn. Wrong options are what a
reader who errs finds: a day beside, another month or year, a date that the story mentions.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta

from tripost_core.problems.calendar_dates import (
    MONTHS,
    WEEKDAYS,
    find_dates,
    last_day,
    make_date,
    nth_weekday,
    numeric_ordinal,
    ordinal,
    shift,
    slash_date,
)
from tripost_core.problems.options import join_options

ASKED = (
    "today", "tomorrow", "yesterday", "24 hours later", "one week from today", "one week ago from today", "10 days ago",
    "a month ago", "one year ago from today", "5 days from today", "3 days ago", "two weeks from today",
)  # fmt: skip
NAMES = (
    "Alma", "Bruno", "Clara", "Daniel", "Edith", "Felix", "Grace", "Hugo", "Irene", "Jonas", "Karin", "Leo", "Mona",
    "Nils", "Olga", "Paul", "Rosa", "Simon", "Tessa", "Viktor",
)  # fmt: skip
_PAST = ("planted two trees", "lost a glove", "baked 3 loaves of bread", "repaired a bicycle", "read a long letter")
_PLANS = ("has booked a train", "has a dentist appointment", "reserved a table", "bought 2 theatre tickets")
_EVENTS = ("match", "lecture", "exam", "boat trip", "meeting", "harvest festival")
_WEDDINGS = {"silver": 25, "golden": 50, "ruby": 40, "diamond": 60}
_HOLIDAYS = {"Christmas Eve": (12, 24), "Halloween": (10, 31), "New Year's Eve": (12, 31), "Independence Day": (7, 4)}
_UNITS = ("day", "week", "month", "year")

Story = Callable[[random.Random], str | None]


def draw_story(rng: random.Random, hard: bool) -> str | None:
    """What is told before the question; `hard`: a way that takes more than one step. None: nothing came of it."""
    return rng.choice(_HARD if hard else _EASY)(rng)


def draw_asked(rng: random.Random) -> str:
    return rng.choice(ASKED)


def with_date_options(stem: str, wanted: date, today: date, rng: random.Random) -> str:
    """The question with five or six options, the right one at a random place."""
    mentioned = [mention.date for mention in find_dates(stem) if mention.date]
    near = [wanted + timedelta(days=n) for n in (-1, 1, -7, 7, rng.randint(2, 40), -rng.randint(2, 40))]
    moved = [shift(wanted, n, unit) for n, unit in ((1, "month"), (-1, "month"), (1, "year"), (-1, "year"))]
    far = shift(wanted, rng.choice((-1, 1)) * rng.randint(5, 60), "year")
    candidates = [day for day in [*near, *moved, far, today, *mentioned] if day is not None and day != wanted]
    wrong = list(dict.fromkeys(candidates))
    rng.shuffle(wrong)
    options = [wanted, *wrong[: 4 if rng.random() < 0.15 else 5]]
    rng.shuffle(options)
    return join_options(stem, [slash_date(day) for day in options])


# -- ways to write a date ----------------------------------------------------------------------------------------------


def _day(rng: random.Random) -> date:
    return date(rng.randint(1900, 2040), 1, 1) + timedelta(days=rng.randrange(365))


def _written(day: date, rng: random.Random) -> str:
    short = MONTHS[day.month - 1][:3]
    return rng.choice(
        (
            f"{short} {day.day}, {day.year}", f"{MONTHS[day.month - 1]} {day.day}, {day.year}",
            f"{day.month}/{day.day}/{day.year}", slash_date(day),
            f"{MONTHS[day.month - 1]} {numeric_ordinal(day.day)}, {day.year}",
        )
    )  # fmt: skip


def _name(rng: random.Random) -> str:
    return rng.choice(NAMES)


# -- one step to today -------------------------------------------------------------------------------------------------


def _plain(rng: random.Random) -> str:
    told, name = _written(_day(rng), rng), _name(rng)
    return rng.choice(
        (
            f"Today is {told}.", f"It is {told} today.", f"Today, {told}, is a day that {name} will remember.",
            f"Today is {told}. {name} is on holiday.", f"The current date is {told}.",
            f"Today is {told}. The {rng.choice(_EVENTS)} will be {rng.randint(2, 9)} days later.",
        )
    )  # fmt: skip


def _beside(rng: random.Random) -> str:
    told, name = _written(_day(rng), rng), _name(rng)
    return rng.choice(
        (
            f"Yesterday was {told}.", f"Tomorrow is {told}.", f"The day before yesterday was {told}.",
            f"The day after tomorrow is {told}.", f"Yesterday, {told}, {name} {rng.choice(_PAST)}.",
            f"{name} {rng.choice(_PLANS)} for tomorrow, {told}.",
            f"The {rng.choice(_EVENTS)} has been moved to 9 am tomorrow, {told}.",
        )
    )  # fmt: skip


def _away(rng: random.Random) -> str:
    told, unit, n = _written(_day(rng), rng), rng.choice(_UNITS), rng.randint(2, 12)
    event = rng.choice(_EVENTS)
    return rng.choice(
        (
            f"It was {told} a {unit} ago.", f"It was {told} {n} {unit}s ago.",
            f"The {event} is on {told}, which is {n} days away from now.",
            f"{told} is like yesterday to {_name(rng)}, but that is actually {n} years ago.",
            f"The {event} was scheduled to be on {told}, but was delayed by {n} days to today.",
            f"The {event} was planned for {told}, but was brought forward by {n} days to today.",
        )
    )  # fmt: skip


def _period(rng: random.Random) -> str:
    day, quarter = _day(rng), rng.randint(1, 4)
    month = MONTHS[day.month - 1]
    return rng.choice(
        (
            f"Today is the first day of {day.year}.", f"This is the last day of {day.year}.",
            f"{_name(rng)} is celebrating the last day of {month[:3]} {day.year}.",
            f"Today is the {ordinal(rng.randint(1, 12))} day of the {ordinal(day.month)} month of {day.year}.",
            f"Today is the {rng.choice(('first', 'last'))} day of the {ordinal(quarter)} quarter of {day.year}.",
            f"Today is {rng.choice(list(_HOLIDAYS))} of {day.year}.",
        )
    )  # fmt: skip


def _anniversary(rng: random.Random) -> str:
    day, (a, b) = _day(rng), rng.sample(NAMES, 2)
    told, n = _written(day, rng), rng.randint(2, 40)
    return rng.choice(
        (
            f"{a} and {b} married on {told}. It is their {n}-year anniversary today.",
            f"{a} and {b} married on {told}. Today is their {rng.choice(list(_WEDDINGS))} wedding anniversary.",
            f"{a} was born on {told}. Today is the {n}-year-old birthday.",
        )
    )


def _disputed(rng: random.Random) -> str:
    day, (a, b) = _day(rng), rng.sample(NAMES, 2)
    other = day + timedelta(days=rng.choice((-2, -1, 1, 2)))
    first, second = (f"{d.month}/{d.day}/{d.year}" for d in (day, other))
    later = max(day, other)
    earlier = min(day, other)
    apart = (later - earlier).days
    return rng.choice(
        (
            f"{a} thinks today is {first}, but {b} thinks today is {second}. {rng.choice((a, b))} is correct.",
            f"{a} thought today is {_written(earlier, rng)}, but today is in fact {MONTHS[later.month - 1][:3]} "
            f"{later.day}, which is {apart} day{'s' * (apart > 1)} later." if later.year == earlier.year
            else f"{a} thinks today is {first}, but {b} thinks today is {second}. {a} is correct.",
        )
    )  # fmt: skip


def _british(rng: random.Random) -> str:
    day = _day(rng)
    return (
        "In the UK, the day is written before the month. Therefore, today is "
        f"{day.day:02}/{day.month:02}/{day.year} to people there."
    )


def _split_year(rng: random.Random) -> str:
    day = _day(rng)
    return f"Today is {day.month}/{day.day}, and {_name(rng)} {rng.choice(_PAST)} for the first time in {day.year}."


# -- more than one -----------------------------------------------------------------------------------------------------


def _born_last_day(rng: random.Random) -> str:
    day = _day(rng)
    return (
        f"{_name(rng)} was born on the last day of {MONTHS[day.month - 1]} in {day.year}. "
        f"Today is the {rng.randint(2, 60)}-year-old birthday."
    )


def _job(rng: random.Random) -> str | None:
    day = _day(rng)
    if (day.month, day.day) == (1, 1):
        return None
    return (
        f"{_name(rng)} got a job in {day.year}. Today is the {rng.randint(2, 20)}-year work anniversary. It is not "
        f"forgotten that on {MONTHS[day.month - 1][:3]} {day.day}, the second day at work, the lights went out."
    ).replace(", the second day", ", their second day")


def _weekday(rng: random.Random) -> str | None:
    day, n, weekday = _day(rng), rng.randint(1, 4), rng.randrange(7)
    if nth_weekday(n, weekday, day.year, day.month) is None:
        return None
    if rng.random() < 0.3:
        return (
            "In the US, Thanksgiving is on the fourth Thursday of November. "
            f"Today is the US Thanksgiving of {day.year}."
        )
    return f"Today is the {ordinal(n)} {WEEKDAYS[weekday]} of {MONTHS[day.month - 1]} {day.year}."


def _supply(rng: random.Random) -> str:
    n, thing = rng.randint(15, 75), rng.choice(("pears", "tea bags", "pills", "candles"))
    return (
        f"On {_written(_day(rng), rng)} {_name(rng)} bought {n} {thing}. One was used, one per day. "
        f"Today the {thing} ran out."
    )


def _since(rng: random.Random) -> str:
    n = rng.randint(29, 150)
    return f"{_name(rng)} left home on {_written(_day(rng), rng)}. {n} days have passed since then."


def _visits(rng: random.Random) -> str | None:
    day, n = _day(rng), rng.randint(3, 11)
    if make_date(day.year, day.month, min(day.day, 28)) is None or last_day(day.year, day.month) is None:
        return None
    return (
        f"{_name(rng)} goes to the library on the {numeric_ordinal(min(day.day, 28))} of each month starting from the "
        f"{MONTHS[day.month - 1]} of {day.year}. It is the {numeric_ordinal(n)} visit to the library today."
    )


_EASY: tuple[Story, ...] = (
    _plain, _beside, _beside, _away, _period, _anniversary, _disputed, _british, _split_year
)  # fmt: skip
_HARD: tuple[Story, ...] = (_born_last_day, _job, _weekday, _supply, _since, _visits)
