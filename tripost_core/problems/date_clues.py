"""What a date question tells of today, sentence pattern by sentence pattern, as steps that a reader can check.

Each reader takes the sentences before the question and yields the steps that lead to today's date, or None where the
sentences are not of its kind. The first reader that understands them decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from tripost_core.problems.calendar_dates import (
    COUNT,
    DATE,
    MONTH,
    ORDINAL,
    WEEKDAYS,
    find_dates,
    last_day,
    long_date,
    make_date,
    month_number,
    read_count,
    read_date,
    read_ordinal,
    shift,
)
from tripost_core.problems.date_steps import (
    DateStep,
    Steps,
    counted_steps,
    moved_step,
    today_after,
    told_today,
    weekday_steps,
)

Reader = Callable[[str], Steps | None]

_FIXED_HOLIDAYS = {
    "christmas eve": (12, 24), "christmas day": (12, 25), "christmas": (12, 25), "boxing day": (12, 26),
    "new year's eve": (12, 31), "new year's day": (1, 1), "new year": (1, 1), "valentine's day": (2, 14),
    "halloween": (10, 31), "independence day": (7, 4), "april fools' day": (4, 1), "april fool's day": (4, 1),
    "st. patrick's day": (3, 17), "saint patrick's day": (3, 17), "earth day": (4, 22), "leap day": (2, 29),
    "veterans day": (11, 11), "juneteenth": (6, 19), "pi day": (3, 14), "may day": (5, 1),
}  # fmt: skip
_MOVED_HOLIDAYS = {
    "thanksgiving": (4, 3, 11), "labor day": (1, 0, 9), "memorial day": (-1, 0, 5), "columbus day": (2, 0, 10),
    "mother's day": (2, 6, 5), "father's day": (3, 6, 6), "martin luther king jr. day": (3, 0, 1),
    "martin luther king day": (3, 0, 1), "presidents' day": (3, 0, 2),
}  # fmt: skip
"""Of the United States: (n-th, weekday, month)."""
_WEDDINGS = {
    "paper": 1, "cotton": 2, "leather": 3, "wooden": 5, "wood": 5, "tin": 10, "crystal": 15, "china": 20, "silver": 25,
    "pearl": 30, "coral": 35, "ruby": 40, "sapphire": 45, "golden": 50, "gold": 50, "diamond": 60,
}  # fmt: skip
_DAYS_AWAY = {"the day before yesterday": 2, "yesterday": 1, "tomorrow": -1, "the day after tomorrow": -2}
_COUNTED = rf"(?P<n>\d{{1,4}}|{COUNT}) (?P<unit>day|week|month|year)s?"
_WEEKDAY = "|".join(WEEKDAYS)


def read_clues(text: str) -> Steps | None:
    """The steps to today's date, the last one of kind `today`; None where no reader understands the text."""
    for reader in _READERS:
        steps = reader(text)
        if steps is not None:
            return steps
    return None


# -- readers, the special ones first -----------------------------------------------------------------------------------


def _uk(text: str) -> Steps | None:
    match = re.search(rf"\b(?:UK|British|Britain|Europe\w*)\b.*?\btoday is (?P<date>{DATE}) to\b", text, re.S)
    if not match or "/" not in match["date"]:
        return None
    day, month, year = (int(part) for part in match["date"].split("/"))
    told = f"today is {match['date']} to people who put the day before the month"
    found = make_date(year, month, day)
    return (DateStep("today", f"If {told}, then today's date is {{date}}.", found),) if found else None


def _who_is_right(text: str) -> Steps | None:
    match = re.search(
        rf"(?P<a>\w+) (?:thinks|believes|says)(?: that)? today is (?P<one>{DATE}),? (?:but|and|while) (?P<b>\w+) "
        rf"(?:thinks|believes|says)(?: that)? (?:today|it) is (?P<two>{DATE})\.? (?P<who>\w+) is (?:correct|right)",
        text,
    )
    if not match or match["who"] not in (match["a"], match["b"]):
        return None
    told = match["one"] if match["who"] == match["a"] else match["two"]
    day = read_date(told)
    clause = f"{match['who']} thinks today is {told} and {match['who']} is correct"
    return (DateStep("today", f"If {clause}, then today's date is {{date}}.", day),) if day else None


def _in_fact(text: str) -> Steps | None:
    match = re.search(
        rf"thought (?:that )?(?:today|it) (?:is|was) (?P<one>{DATE}),? but (?:today|it) is (?:in fact|actually) "
        rf"(?P<two>{DATE})",
        text,
    )
    if not match:
        return None
    thought = read_date(match["one"])
    return told_today(text, match, read_date(match["two"], thought.year if thought else None))


def _nth_weekday_of(text: str) -> Steps | None:
    match = re.search(
        rf"\b(?:today|this|it) is the (?P<n>{ORDINAL}) (?P<weekday>{_WEEKDAY}) (?:of|in) "
        rf"(?:the year )?(?:(?P<month>{MONTH}),? (?:of |in )?)?(?P<year>\d{{4}})(?!\d)",
        text,
        re.I,
    )
    if not match:
        return None
    weekday = WEEKDAYS.index(match["weekday"].capitalize())
    month = month_number(match["month"]) if match["month"] else 1
    n = read_ordinal(match["n"])
    if match["month"] is None and n == -1:
        month = 12
    steps = weekday_steps(n, weekday, int(match["year"]), month) if match["month"] or n in (-1, 1, 2, 3, 4) else None
    told = f"today is the {match['n']} {match['weekday']} of {(match['month'] + ' ') if match['month'] else ''}"
    return steps and today_after(steps, told + match["year"])


def _holiday(text: str) -> Steps | None:
    match = re.search(
        rf"\b(?P<name>{'|'.join(map(re.escape, [*_FIXED_HOLIDAYS, *_MOVED_HOLIDAYS]))})(?:,| of| in)*"
        r"(?: the year)? (?P<year>\d{4})(?!\d)",
        text.replace("\u2019", "'"),
        re.I,
    )
    if not match or not re.search(r"\b(?:today|this is|it is|celebrat)", text, re.I):
        return None
    name, year = match["name"].lower(), int(match["year"])
    if name in _FIXED_HOLIDAYS:
        return told_today(text, match, make_date(year, *_FIXED_HOLIDAYS[name]))
    n, weekday, month = _MOVED_HOLIDAYS[name]
    steps = weekday_steps(n, weekday, year, month)
    return steps and today_after(steps, f"today is the US {match['name']} of {year}")


def _anniversary(text: str) -> Steps | None:
    match = re.search(
        rf"(?:married|born|founded|opened|met|engaged|moved|started|graduated)\b[^.]*? on (?:(?P<date>{DATE})"
        rf"|the last day of (?P<month>{MONTH})(?:,| in| of)* (?P<year>\d{{4}}))"
        rf".*?\b(?:(?P<n>\d{{1,3}}|{COUNT})[- ]?(?:years?(?:[- ]old)?|th|st|nd|rd)|(?P<kind>{'|'.join(_WEDDINGS)})) "
        r"(?:wedding )?(?P<what>anniversary|birthday)",
        text,
        re.S | re.I,
    )
    if not match or not re.search(r"\btoday\b", text, re.I):
        return None
    years = _WEDDINGS[match["kind"].lower()] if match["kind"] else read_count(match["n"])
    if match["date"]:
        base = read_date(match["date"])
        return told_today(text, match, shift(base, years, "year")) if base else None
    base = last_day(int(match["year"]), month_number(match["month"]))
    day = base and shift(base, years, "year")
    if not base or not day:
        return None
    name = long_date(base).split(" ")[0]
    first = DateStep("said", f"The last day of {name} {base.year} is {{date}}.", base)
    form = f"If {{base}} was {years} years ago to the day, then today's date is {{date}}."
    return (first, DateStep("today", form, day, base, (years, "year"), True))


def _work_anniversary(text: str) -> Steps | None:
    match = re.search(
        rf"job in (?P<year>\d{{4}})\b.*?\b(?P<n>{COUNT})[- ]year (?:work )?anniversary.*? on (?P<date>{DATE}),? "
        rf"(?:which was )?(?:her|his|their) (?P<nth>{ORDINAL}) day",
        text,
        re.S,
    )
    nth = match and read_date(match["date"], int(match["year"]))
    if not match or not nth:
        return None
    first = shift(nth, 1 - read_ordinal(match["nth"]), "day")
    day = first and shift(first, read_count(match["n"]), "year")
    if not first or not day:
        return None
    n = read_count(match["n"])
    told = f"The first day at work was {{date}}, because {long_date(nth)} was the {match['nth']} one."
    form = f"If {{base}} was {n} year{'s' * (n > 1)} ago to the day, then today's date is {{date}}."
    return (DateStep("said", told, first), DateStep("today", form, day, first, (n, "year"), True))


def _used_up(text: str) -> Steps | None:
    match = re.search(
        rf"\bon (?P<date>{DATE}),? \w+ (?:bought|got|had|received) (?P<n>\d{{1,3}}) \w+\..*?\bone (?:\w+ )?"
        r"(?:per|a|each|every) day\b.*?\btoday\b.*?\bran out\b",
        text,
        re.S | re.I,
    )
    base = match and read_date(match["date"])
    steps = counted_steps(base, int(match["n"])) if match and base else None
    return steps and match and today_after(steps, f"today is {match['n']} days after {match['date']}")


def _days_passed(text: str) -> Steps | None:
    match = re.search(
        rf"\bon (?P<date>{DATE})\.? (?P<n>\d{{1,4}}|{COUNT}) (?P<unit>day|week|month|year)s? (?:have|has) passed",
        text,
        re.I,
    ) or re.search(
        rf"(?P<n>\d{{1,4}}|{COUNT}) (?P<unit>day|week|month|year)s? (?:have|has) passed since (?P<date>{DATE})",
        text,
        re.I,
    )
    base = match and read_date(match["date"])
    if not match or not base:
        return None
    n, unit = read_count(match["n"]), match["unit"].lower()
    if unit in ("day", "week") and n * (7 if unit == "week" else 1) > 28:
        steps = counted_steps(base, n * (7 if unit == "week" else 1))
        days = n * (7 if unit == "week" else 1)
        return steps and today_after(steps, f"today is {days} days after {match['date']}")
    return told_today(text, match, shift(base, n, unit))


def _year_is_coming(text: str) -> Steps | None:
    match = re.search(rf"\b(?P<year>\d{{4}}) is coming in (?P<n>\d{{1,3}}|{COUNT}) (?P<unit>hour|day|week)s?", text)
    start = match and make_date(int(match["year"]), 1, 1)
    if not match or not start:
        return None
    hours = read_count(match["n"]) * {"hour": 1, "day": 24, "week": 168}[match["unit"]]
    return told_today(text, match, start - timedelta(days=-(-hours // 24)))


def _like_yesterday(text: str) -> Steps | None:
    match = re.search(
        rf"(?P<date>{DATE}) is like yesterday\b.*?\b(?P<n>{COUNT}) (?P<unit>day|week|month|year)s? ago", text, re.S
    )
    base = match and read_date(match["date"])
    return told_today(text, match, shift(base, read_count(match["n"]), match["unit"])) if match and base else None


def _monthly_visits(text: str) -> Steps | None:
    match = re.search(
        rf"on the (?P<day>\d{{1,2}})(?:st|nd|rd|th) (?:day )?of (?:each|every) month,? (?:starting|beginning) "
        rf"(?:from|in|with) (?:the )?(?P<month>{MONTH})(?:,| of| in)* (?P<year>\d{{4}})\..*?\b"
        rf"(?P<n>{ORDINAL}) (?:visit|time)",
        text,
        re.S,
    )
    base = match and make_date(int(match["year"]), month_number(match["month"]), int(match["day"]))
    if not match or not base:
        return None
    n = read_ordinal(match["n"])
    moved = moved_step(base, n - 1, "month")
    told = f"today is the {match['n']} visit, which is {n - 1} months after the first"
    return today_after((moved,), told) if moved else None


def _day_beside(text: str) -> Steps | None:
    match = re.search(
        rf"(?P<rel>\bthe day before yesterday|\byesterday|\bthe day after tomorrow|\btomorrow)"
        rf"(?:'s date)?(?: (?:was|is|will be))?(?:,| on)* ?\(?(?P<date>{DATE})",
        text,
        re.I,
    )
    beside = match and read_date(match["date"])
    if not match or not beside:
        return None
    return told_today(text, match, shift(beside, _DAYS_AWAY[match["rel"].lower()], "day"))


def _away(text: str) -> Steps | None:
    """A date that is so far from today: in the past (+1) or in the future (-1)."""
    count = _COUNTED
    for pattern, sign in (
        (rf"(?P<date>{DATE}) (?:was )?(?:exactly )?{count} ago\b", 1),
        (rf"(?P<date>{DATE}),? which (?:was|is) (?:exactly )?{count} ago\b", 1),
        (rf"\b{count} ago(?: today)?,?(?: it)? was (?P<date>{DATE})", 1),
        (
            rf"(?P<date>{DATE}),? (?:which )?(?:is|will be) (?:\w+ )?{count} "
            r"(?:away|from now|from today|later)",
            -1,
        ),
        (rf"(?P<date>{DATE})(?: is|, which is|,) in {count}\b", -1),
        (rf"\bin {count},? (?:it|the date) (?:is|will be) (?P<date>{DATE})", -1),
        (rf"\b{count} (?:from now|from today|later),? (?:it |the date )?(?:is|will be) (?P<date>{DATE})", -1),
    ):
        match = re.search(pattern, text, re.I)
        other = match and read_date(match["date"])
        if match and other:
            return told_today(text, match, shift(other, sign * read_count(match["n"]), match["unit"].lower()))
    return None


def _postponed(text: str) -> Steps | None:
    match = re.search(
        rf"(?:scheduled|planned|due|supposed)\b[^.]*?(?P<date>{DATE}),? but (?:it )?(?:was|is|has been) "
        rf"(?P<how>delayed|postponed|moved back|advanced|brought forward|moved forward) by {_COUNTED} to today",
        text,
    )
    planned = match and read_date(match["date"])
    if not match or not planned:
        return None
    sign = 1 if match["how"] in ("delayed", "postponed", "moved back") else -1
    return told_today(text, match, shift(planned, sign * read_count(match["n"]), match["unit"]))


def _day_of_period(text: str) -> Steps | None:
    match = re.search(
        rf"\b(?P<n>{ORDINAL}) day of (?:(?P<month>{MONTH})(?:,| of| in)* |(?:the )?(?P<part>{ORDINAL}) "
        r"(?P<unit>quarter|month)(?:,| of| in)* |(?:the year )?)(?P<year>\d{4})(?!\d)",
        text,
        re.I,
    )
    if not match or not re.search(r"\b(?:today|this is|it is|celebrat)", text, re.I):
        return None
    n, year = read_ordinal(match["n"]), int(match["year"])
    first_month, last_month = 1, 12
    if match["month"]:
        first_month = last_month = month_number(match["month"])
    elif match["part"]:
        per = 3 if match["unit"].lower() == "quarter" else 1
        part = read_ordinal(match["part"])
        last_month = 12 if part == -1 else part * per
        first_month = last_month - per + 1
    if not 1 <= first_month <= last_month <= 12:
        return None
    if n == -1:
        return told_today(text, match, last_day(year, last_month))
    first = make_date(year, first_month, 1)
    return told_today(text, match, first and shift(first, n - 1, "day"))


def _palindrome(text: str) -> Steps | None:
    match = re.search(r"palindrome (?:day|date) of (?P<year>\d{4})", text)
    if not match:
        return None
    year = int(match["year"])
    backwards = str(year)[::-1]
    return told_today(text, match, make_date(year, int(backwards[:2]), int(backwards[2:])))


def _plain(text: str) -> Steps | None:
    for pattern in (
        rf"\b(?:today|now)(?:'s date)?(?: is|,)? (?:[^\d.,]{{0,20}}, )?(?P<date>{DATE})",
        rf"\b(?:it|this|the date)(?: is|'s) (?:now )?(?P<date>{DATE})(?:,)? (?:today|now)\b",
        rf"\b(?:current|local)\b[^.]*?\b(?:is|of|on) (?P<date>{DATE})",
        rf"\b(?:it|this) is (?P<date>{DATE})",
        rf"(?P<date>{DATE}) is today\b",
    ):
        match = re.search(pattern, text, re.I)
        if match is None or re.search(r"\b(?:thinks|thought|believes|guesses)\b", text[: match.start()]):
            continue
        mention = next(find_dates(match["date"]))
        if mention.year is not None:
            return told_today(text, match, mention.date)
        years = {int(y) for y in re.findall(r"(?<![\d/])(\d{4})(?![\d/])", text)}
        if len(years) == 1:
            whole = re.search(r".+", text, re.S)
            assert whole is not None
            return told_today(text, whole, make_date(years.pop(), mention.month, mention.day))
    return None


_READERS: tuple[Reader, ...] = (
    _uk, _who_is_right, _in_fact, _nth_weekday_of, _work_anniversary, _anniversary, _holiday, _used_up, _days_passed,
    _year_is_coming, _like_yesterday, _monthly_visits, _day_beside, _postponed, _away, _day_of_period, _palindrome,
    _plain,
)  # fmt: skip
