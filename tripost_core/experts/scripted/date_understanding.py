"""FBK and IMP for date understanding, by script (paper section 2.2; the contract is `experts.base.Expert`).

FBK follows an attempt line by line, compares what each line claims about dates (`date_understanding_claims`) with the
calendar and with what the question tells of today (`problems.date_questions`), and stops at the first line that is
wrong. IMP keeps the lines before it and continues from what they have established.

Error classes: wrong_today, miscopied_clue, wrong_calculation, wrong_weekday, wrong_format, wrong_question,
impossible_date, wrong_option, missing_step, unparsable_step, wrong_header; `lucky` for any of them where the final
response is right all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from tripost_core.experts.scripted.date_understanding_claims import Claim, condition_end, read_claims
from tripost_core.experts.scripted.line_by_line import MAX_SEGMENT, Complaint, LineByLine, Walk, clip
from tripost_core.problems.base import Problem
from tripost_core.problems.calendar_dates import (
    WEEKDAYS,
    Mention,
    find_dates,
    last_day,
    long_date,
    nth_weekday,
    shift,
    slash_date,
)
from tripost_core.problems.date_questions import DateQuestion, read_question
from tripost_core.problems.date_understanding import ANSWER, MAX_LINE_CHARS, TASK
from tripost_core.problems.options import LETTERS
from tripost_core.trajectory import FINAL, Step

_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"\w+")
_RELATIONS = frozenset(
    [
        "yesterday",
        "tomorrow",
        "before",
        "after",
        "ago",
        "earlier",
        "later",
        "first",
        "last",
        "second",
        "third",
        "fourth",
    ]
)
"""Words of a condition that the question has to have too."""
_MAX_BODY = 4_000


class DateWalk(Walk):
    """Follows an attempt's lines. Lines with an error establish nothing."""

    def __init__(self, question: DateQuestion) -> None:
        self.question = question
        self.number = 0
        self.progress = 0
        """Gold steps that need not be taken any more."""
        self._finished = False
        self.known = {m.date for m in find_dates(question.text)} | {step.base for step in question.steps}
        told = f"{question.question} " + " ".join(step.body() for step in question.steps)
        self._told = ". " + " ".join(question.text.lower().split()).rstrip(".") + "."
        self._numbers = {int(digits) for digits in _DIGITS.findall(told)}
        self._words = {word.lower() for word in _WORD.findall(told)}
        self._mentions = {(m.month, m.day, m.year) for m in find_dates(question.text)}

    @property
    def concluded(self) -> bool:
        """Whether the date asked for is known, and the option that stands for it."""
        return self.progress == len(self.question.steps)

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def expected(self) -> str:
        return FINAL if self.concluded else self._next_header

    @property
    def _next_header(self) -> str:
        return str(self.number + 1)

    def take(self, step: Step, before_final: bool) -> Complaint | None:
        header, body = step.header, step.body
        assert header is not None
        if header == FINAL:
            self._finished = True
            return self._final(body)
        if _NUMBER.fullmatch(header) is None:
            return Complaint("wrong_header", 0, 0, "this is no number of a step")
        expected, seen = self._next_header, int(header) <= self.number
        if not seen:
            self.number = int(header)
        if header != expected:
            return Complaint("wrong_header" if seen else "missing_step", 0, 0, f"this should be step ({expected})")
        return self._line(body, before_final)

    def remaining(self) -> Iterator[str]:
        for step in self.question.steps[self.progress :]:
            self.number += 1
            yield f"({self.number}) {step.body()}"
        yield self.question.final_line(self.question.answer)

    # -- one line ------------------------------------------------------------------------------------------------------

    def _line(self, body: str, before_final: bool) -> Complaint | None:
        if len(body) > _MAX_BODY:
            return Complaint("unparsable_step", 0, MAX_SEGMENT, "this is too long to be a step")
        said = " ".join(body.lower().split()).strip(" .")
        if said and f". {said}." in self._told:
            return None  # a sentence of the question
        claims = read_claims(body)
        for mention in find_dates(body):
            if not mention.possible and body[mention.start : mention.end] not in self.question.text:
                return Complaint("impossible_date", mention.start, mention.end, "there is no such day")
        condition = condition_end(body)
        if complaint := self._condition(body, condition):
            return complaint
        if not claims:
            start, end = clip(body, condition)
            return Complaint("unparsable_step", start if start < end else 0, end, "this says nothing about a date")
        for claim in claims:
            if complaint := self._check(claim, claims):
                return complaint
        unknown = next((c for c in claims if c.kind == "other" and not self._is_known(c.mention)), None)
        if unknown is not None:
            return Complaint("unparsable_step", unknown.start, unknown.end, "nothing tells what this date is")
        other = next((c for c in claims if c.kind == "relative" and c.date != self.question.wanted), None)
        if before_final and other is not None and not self.concluded and not self._reaches(claims):
            reason = f"the question asks for the date {self.question.asked}"
            return Complaint("wrong_question", other.start, other.end, reason)
        self._establish(claims)
        return None

    def _condition(self, body: str, end: int) -> Complaint | None:
        """A condition repeats what the question or a step says: its dates, numbers and order words stand there."""
        condition = body[:end]
        inside: list[tuple[int, int]] = []
        for mention in find_dates(condition):
            inside.append((mention.start, mention.end))
            if not self._is_known(mention):
                return Complaint("miscopied_clue", mention.start, mention.end, "the question does not have this date")
        for number in _DIGITS.finditer(condition):
            within = any(a <= number.start() < b for a, b in inside)
            if not within and len(number[0]) < 9 and int(number[0]) not in self._numbers:
                return Complaint(
                    "miscopied_clue", number.start(), number.end(), "the question does not have this number"
                )
        for word in _WORD.finditer(condition):
            if word[0].lower() in _RELATIONS and word[0].lower() not in self._words:
                return Complaint("miscopied_clue", word.start(), word.end(), "the question does not say this")
        return None

    def _is_known(self, mention: Mention) -> bool:
        """A date of the question, or one that a step has found or may find; one without its year fits any of them."""
        if (mention.month, mention.day, mention.year) in self._mentions:
            return True
        if (mention.month, mention.day, None) in self._mentions and mention.year in self._numbers:
            return True
        days = {step.date for step in self.question.steps} | (self.known - {None})
        if mention.year is not None:
            return mention.date in days
        return any(day is not None and (day.month, day.day) == (mention.month, mention.day) for day in days)

    def _check(self, claim: Claim, claims: Sequence[Claim]) -> Complaint | None:
        question, said = self.question, claim.date

        def wrong(error_class: str, right: date | None, subject: str) -> Complaint | None:
            if said == right or (said is None and right is not None and _same_day(claim.mention, right)):
                return None
            told = f"{subject} {long_date(right)}" if right else "there is no such date"
            return Complaint(error_class, claim.start, claim.end, told)

        match claim.kind:
            case "today":
                return wrong("wrong_today", question.today, "today's date is")
            case "relative":
                if claim.move is None:  # hours that are not whole days; no question that can be read asks for such
                    reason = "the question does not ask for this time"
                    return Complaint("miscopied_clue", claim.start, claim.end, reason)
                n, unit = claim.move
                distance = (
                    "today's date is"
                    if not n
                    else f"{abs(n)} {unit}{'s' * (abs(n) > 1)} {'before' if n < 0 else 'after'} "
                )
                subject = distance if not n else f"{distance}{long_date(question.today)} is"
                return wrong("wrong_calculation", shift(question.today, n, unit), subject)
            case "move":
                assert claim.move is not None and claim.base is not None
                if not self._is_known(claim.base):
                    reason = "neither the question nor a step has this date"
                    return Complaint("miscopied_clue", claim.base.start, claim.base.end, reason)
                base = claim.base.date
                if base is None:
                    return None
                n, unit = claim.move
                words = f"{abs(n)} {unit}{'s' * (abs(n) > 1)} {'before' if n < 0 else 'after'} {long_date(base)} is"
                return wrong("wrong_calculation", shift(base, n, unit), words)
            case "nth":
                return wrong("wrong_calculation", nth_weekday(*claim.numbers), "it is")
            case "last_day":
                year, month = claim.numbers
                return wrong("wrong_calculation", last_day(year, month), "it is")
            case "first_at_work":
                first = next((step.date for step in question.steps if step.kind == "said"), None)
                return wrong("wrong_calculation", first, "the first day at work was")
            case "weekday":
                if said is None or said.weekday() == claim.numbers[0]:
                    return None
                reason = f"{long_date(said)} is a {WEEKDAYS[said.weekday()]}"
                return Complaint("wrong_weekday", claim.start, claim.end, reason)
            case "same":
                assert claim.base is not None
                other = claim.base.date
                if other is None or said == other:
                    return None
                reason = f"{long_date(other)} is {slash_date(other)}"
                return Complaint("wrong_format", claim.start, claim.end, reason)
            case "none_of":
                if said is None or said not in question.options:
                    return None
                letter = LETTERS[question.options.index(said)]
                return Complaint("wrong_option", claim.start, claim.end, f"option ({letter}) is this date")
            case "closest":
                right = question.options[question.answer]
                return wrong("wrong_option", right, "the closest is")
        return None

    def _reaches(self, claims: Sequence[Claim]) -> bool:
        """Whether a claim says the date asked for; its year may be understood."""
        wanted = self.question.wanted
        return any(claim.date == wanted or _same_day(claim.mention, wanted) for claim in claims)

    def _establish(self, claims: Sequence[Claim]) -> None:
        self.known |= {claim.date for claim in claims}
        kinds = {"today": ("today",), "asked": ("relative",), "closest": ("closest",)}
        for i, step in enumerate(self.question.steps):
            for claim in claims:
                fits = claim.kind in kinds.get(step.kind, ("move", "nth", "last_day", "first_at_work", "weekday"))
                if fits and (claim.date == step.date or _same_day(claim.mention, step.date)):
                    self.progress = max(self.progress, i + 1)

    def _final(self, body: str) -> Complaint | None:
        match = ANSWER.search(body) if len(body) <= MAX_LINE_CHARS else None
        if match is None:
            start, end = clip(body, 0)
            return Complaint("unparsable_step", start, end, "this names no option")
        options, right = self.question.options, self.question.answer
        chosen = LETTERS.index(match["letter"].upper())
        if chosen >= len(options):
            return Complaint("wrong_option", match.start(), match.end(), "there is no such option")
        if not self.concluded:
            reason = f"the date {self.question.asked} has not been worked out"
            return Complaint("missing_step", match.start(), match.end(), reason)
        found = options[chosen]
        if chosen == right or (found is not None and found == options[right]):
            return None
        wanted = options[right]
        assert wanted is not None
        what = (
            f"option ({LETTERS[chosen]}) is {slash_date(found)}" if found else f"option ({LETTERS[chosen]}) is no date"
        )
        return Complaint(
            "wrong_option", match.start(), match.end(), f"{what}, and {slash_date(wanted)} is ({LETTERS[right]})"
        )


def _same_day(mention: Mention, day: date) -> bool:
    """A date written without its year."""
    return mention.year is None and (mention.month, mention.day) == (day.month, day.day)


class DateUnderstandingExpert(LineByLine):
    def walk(self, problem: Problem) -> DateWalk:
        return DateWalk(read_question(problem.question))


EXPERT = DateUnderstandingExpert(TASK)
