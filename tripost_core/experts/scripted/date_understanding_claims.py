"""What a line of an attempt claims about dates: the dates in it, each with what the words before it say that it is.

A line is read without knowing the question; whether its claims hold is for `date_understanding` to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from tripost_core.problems.calendar_dates import (
    COUNT,
    MONTH,
    ORDINAL,
    WEEKDAYS,
    Mention,
    find_dates,
    month_number,
    read_count,
    read_ordinal,
)
from tripost_core.problems.date_questions import read_move

Kind = Literal[
    "today", "relative", "move", "nth", "last_day", "first_at_work", "weekday", "same", "none_of", "closest", "other"
]

_IS = r"(?: (?:is|was|will be|would be|must be|falls on))(?: (?:also|actually|then|therefore|on|simply))*"
_COUNT_AND_UNIT = rf"\b(?P<n>\d{{1,4}}|{COUNT}) (?P<unit>day|week|month|year)s?"
_SAME = re.compile(r"\b(?:that is|which is|i\.e\.|or|so the date is|which in MM/DD/YYYY is)[ ,(:]*\Z", re.I)
_TODAY = re.compile(rf"\b(?:today(?:'s date)?|the date today|the current date)(?:,|{_IS})?[ :(]*\Z", re.I)
_RELATIVE = re.compile(
    rf"(?:\bthe date (?:of |on )?)?\b(?P<phrase>the day (?:after tomorrow|before yesterday)|tomorrow|yesterday"
    rf"|(?:\d{{1,4}}|{COUNT}) (?:hour|day|week|month|year)s? (?:ago(?: from (?:today|now))?|before today|earlier"
    rf"|prior to today"
    rf"|from today|from now|later|after today))(?:'s date)?(?:, the date)?(?:{_IS})[ :(]*\Z",
    re.I,
)
_BASE = re.compile(rf"{_COUNT_AND_UNIT} (?P<way>after|before|from|since|later than|earlier than|prior to) *\Z", re.I)
_NTH = re.compile(
    rf"\bthe (?P<n>{ORDINAL}) (?P<weekday>{'|'.join(WEEKDAYS)}) (?:of|in) (?P<month>{MONTH})(?:,| of| in)* "
    rf"(?P<year>\d{{4}})(?:{_IS}) *\Z",
    re.I,
)
_LAST_DAY = re.compile(rf"\bthe last day of (?P<month>{MONTH})(?:,| of| in)* (?P<year>\d{{4}})(?:{_IS}) *\Z", re.I)
_FIRST_AT_WORK = re.compile(rf"\bfirst day at work(?:{_IS}) *\Z", re.I)
_NONE_OF = re.compile(r"\bnone of the options (?:is|are|has|says) *\Z", re.I)
_CLOSEST = re.compile(r"\bthe (?:closest|nearest)(?: (?:one|option|date))*(?: is)? *\Z", re.I)
_WEEKDAY = re.compile(rf"(?: is| was| falls on)(?: on)?(?: an?)? (?P<weekday>{'|'.join(WEEKDAYS)})\b", re.I)
_PLAIN_IS = re.compile(rf"(?:,|;|\bwhich|\bthe date|\bit)*(?:{_IS})? *\Z", re.I)
_CONDITION = re.compile(
    r"(?:If|Since|Because|As|Given that) (?P<condition>.+), (?:then|so|we know that|it means that) ", re.S
)


@dataclass(frozen=True, slots=True)
class Claim:
    """`mention` is said to be what `kind` says; [start, end) is the part of the line that says it.

    `move`: (n, unit) from today (`relative`) or from `base` (`move`); `numbers`: (n, weekday, year, month) of `nth`,
    (year, month) of `last_day`, (weekday,) of `weekday`.
    """

    kind: Kind
    mention: Mention
    start: int
    end: int
    move: tuple[int, str] | None = None
    base: Mention | None = None
    numbers: tuple[int, ...] = ()

    @property
    def date(self) -> date | None:
        return self.mention.date


def condition_end(body: str) -> int:
    """Where the `then` of `If ..., then ...` begins; 0 without one."""
    match = _CONDITION.match(body)
    return match.end() if match else 0


def read_claims(body: str) -> list[Claim]:
    """The claims of a line from left to right; those of its condition are left out."""
    start = condition_end(body)
    claims: list[Claim] = []
    base: tuple[Mention, tuple[int, str], int] | None = None
    previous: Mention | None = None
    left = start
    for mention in find_dates(body):
        if mention.start < start:
            continue
        lead = body[left : mention.start]
        if match := _BASE.search(lead):
            n = read_count(match["n"])
            back = match["way"].lower() in ("before", "earlier than", "prior to")
            base = mention, (-n if back else n, match["unit"].lower()), left + match.start()
        elif base is not None and _PLAIN_IS.fullmatch(lead):
            claims.append(Claim("move", mention, base[2], mention.end, base[1], base[0]))
            base = None
        else:
            claims.append(_claim(body, lead, left, mention, previous))
        previous, left = mention, mention.end
    return claims


def _claim(body: str, lead: str, left: int, mention: Mention, previous: Mention | None) -> Claim:
    def made(kind: Kind, match: re.Match[str], **more: object) -> Claim:
        return Claim(kind, mention, left + match.start(), mention.end, **more)  # type: ignore[arg-type]

    if previous is not None and (match := _SAME.search(lead)):
        return made("same", match, base=previous)
    if match := _NONE_OF.search(lead):
        return made("none_of", match)
    if match := _CLOSEST.search(lead):
        return made("closest", match)
    if match := _RELATIVE.search(lead):
        return made("relative", match, move=read_move(match["phrase"]))
    if match := _TODAY.search(lead):
        return made("today", match)
    if match := _NTH.search(lead):
        weekday = WEEKDAYS.index(match["weekday"].capitalize())
        numbers = (read_ordinal(match["n"]), weekday, int(match["year"]), month_number(match["month"]))
        return made("nth", match, numbers=numbers)
    if match := _LAST_DAY.search(lead):
        return made("last_day", match, numbers=(int(match["year"]), month_number(match["month"])))
    if match := _FIRST_AT_WORK.search(lead):
        return made("first_at_work", match)
    if match := _WEEKDAY.match(body, mention.end):
        weekday = WEEKDAYS.index(match["weekday"].capitalize())
        return Claim("weekday", mention, mention.start, match.end(), numbers=(weekday,))
    return Claim("other", mention, mention.start, mention.end)
