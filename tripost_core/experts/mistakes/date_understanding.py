"""Planted mistakes in date understanding: a student that reasons as the gold rationale does, but errs once.

What follows the mistake goes astray with it, by the same distance, and ends with another option. `lucky` is the
exception: there the rest of the rationale stays right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

from tripost_core.experts.base import Planted
from tripost_core.problems.base import Problem
from tripost_core.problems.calendar_dates import (
    MONTHS,
    WEEKDAYS,
    find_dates,
    last_day,
    long_date,
    make_date,
    shift,
    slash_date,
)
from tripost_core.problems.date_questions import DateQuestion, read_move, read_question
from tripost_core.problems.date_steps import DateStep
from tripost_core.problems.date_stories import ASKED
from tripost_core.problems.date_understanding import TASK
from tripost_core.problems.options import LETTERS
from tripost_core.trajectory import FINAL

_TRIES = 12
"""Random places and mistakes that are tried before a problem counts as having no place for a class."""
_FILLERS = ("Let me think about this.", "The date has to be worked out.", "Now the calendar is needed.", "...")

Steps = list[DateStep]


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` at a random place; None where none was found. Raises KeyError for a class that
    is not in `ERROR_CLASSES`."""
    planting, question = _PLANTINGS[error_class], read_question(problem.question)
    if not question.exact:
        return None
    for _ in range(_TRIES):
        planted = planting(question, rng)
        if planted and TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky"):
            return planted
    return None


def _numbered(steps: Steps) -> list[str]:
    return [f"({number}) {step.body()}" for number, step in enumerate(steps, 1)]


def _whole(question: DateQuestion, steps: Steps, rng: random.Random, believed: date | None = None) -> str:
    """The steps and the final response of one who believes that the last date, or `believed`, is asked for."""
    wanted = believed or steps[-1].date
    named = [i for i, day in enumerate(question.options) if day == wanted and i != question.answer]
    option = named[0] if named else _other_option(question, rng)
    return "\n".join([*_numbered(steps), question.final_line(option)])


def _other_option(question: DateQuestion, rng: random.Random) -> int:
    return rng.choice([i for i in range(len(question.options)) if i != question.answer])


def _astray(question: DateQuestion, index: int, wrong: DateStep) -> Steps | None:
    """The gold steps with another one at `index`, and what follows moved along; None out of range."""
    steps: Steps = [*question.steps[:index], wrong]
    moved = wrong.date - question.steps[index].date
    for step in question.steps[index + 1 :]:
        base = steps[-1].date if step.follows else step.base
        if step.follows and step.move:
            day = shift(steps[-1].date, *step.move)
        else:
            day = _plus(step.date, moved)
        if day is None:
            return None
        steps.append(replace(step, date=day, base=base))
    return steps


def _plus(day: date, distance: timedelta) -> date | None:
    try:
        moved = day + distance
    except OverflowError:
        return None
    return make_date(moved.year, moved.month, moved.day)


def _wrong_date(right: date, rng: random.Random) -> date | None:
    """A date that one who miscounts may find."""
    n = rng.choice((-1, 1)) * rng.choice((1, 1, 1, 2, 3, 7, 10))
    return shift(
        right, n if rng.random() < 0.7 else rng.choice((-1, 1)), rng.choice(("day", "day", "day", "month", "year"))
    )


def _plant_date(kinds: tuple[str, ...], error_class: str) -> Callable[[DateQuestion, random.Random], Planted | None]:
    def planting(question: DateQuestion, rng: random.Random) -> Planted | None:
        places = [i for i, step in enumerate(question.steps) if step.kind in kinds]
        if not places:
            return None
        index = rng.choice(places)
        day = _wrong_date(question.steps[index].date, rng)
        steps = day and _astray(question, index, replace(question.steps[index], date=day))
        if not steps:
            return None
        return Planted(_whole(question, steps, rng), str(index + 1), error_class)

    return planting


def _plant_weekday(question: DateQuestion, rng: random.Random) -> Planted | None:
    places = [i for i, step in enumerate(question.steps) if step.kind == "weekday"]
    if not places:
        return None
    index, step = places[0], question.steps[places[0]]
    off = rng.randint(1, 6)
    name = WEEKDAYS[(step.date.weekday() + off) % 7]
    wrong = replace(step, form=step.form.replace("{weekday}", name))
    later = question.steps[index + 1].date
    moved = -off if (later.day - 1) % 7 >= off else 7 - off
    day = make_date(later.year, later.month, 1) if later.day + moved < 1 else _plus(later, timedelta(days=moved))
    rest = day and _astray(question, index + 1, replace(question.steps[index + 1], date=day))
    if not rest:
        return None
    return Planted(_whole(question, [*rest[:index], wrong, *rest[index + 1 :]], rng), str(index + 1), "wrong_weekday")


def _plant_clue(question: DateQuestion, rng: random.Random) -> Planted | None:
    """A date of the story copied wrongly, and today moved along with it."""
    index = question.today_index
    step = question.steps[index]
    condition = step.form.partition(", then today's date is")[0]
    mentions = [m for m in find_dates(condition) if m.date is not None]
    if not mentions:
        return None
    mention = rng.choice(mentions)
    assert mention.date is not None
    wrong = shift(mention.date, rng.choice((-1, 1)) * rng.randint(1, 9), rng.choice(("day", "month", "year")))
    if wrong is None or wrong in {m.date for m in find_dates(question.text)} | {s.date for s in question.steps}:
        return None
    written = (
        f"{wrong.month}/{wrong.day}/{wrong.year}" if "/" in condition[mention.start : mention.end] else long_date(wrong)
    )
    day = _plus(step.date, wrong - mention.date)
    if day is None:
        return None
    form = condition[: mention.start] + written + condition[mention.end :] + step.form[len(condition) :]
    steps = _astray(question, index, replace(step, form=form, date=day))
    return Planted(_whole(question, steps, rng), str(index + 1), "miscopied_clue") if steps else None


def _misformatted(day: date, rng: random.Random) -> str:
    """MM/DD/YYYY of a date, wrongly."""
    swapped = f"{day.day:02}/{day.month:02}/{day.year}"
    if day.day <= 12 and day.day != day.month and rng.random() < 0.5:
        return swapped
    other = shift(day, rng.choice((-1, 1)), rng.choice(("day", "month", "year")))
    return slash_date(other or day)


def _plant_format(question: DateQuestion, rng: random.Random) -> Planted | None:
    last = question.steps[-1]
    if "{slash}" not in last.form:
        return None
    slash = _misformatted(last.date, rng)
    wrong = replace(last, form=last.form.replace("{slash}", slash))
    believed = next(iter(find_dates(slash))).date
    if slash == slash_date(last.date):
        return None
    attempt = _whole(question, [*question.steps[:-1], wrong], rng, believed)
    return Planted(attempt, str(len(question.steps)), "wrong_format")


def _plant_question(question: DateQuestion, rng: random.Random) -> Planted | None:
    """The right calculation of a date that is not asked for."""
    last = question.steps[-1]
    if last.kind != "asked":
        return None
    asked = rng.choice([phrase for phrase in ASKED if phrase != "today"])
    move = read_move(asked)
    day = move and shift(question.today, *move)
    if not day or day == question.wanted:
        return None
    wrong = replace(last, form=f"The date {asked} is {{date}}, that is {{slash}}.", date=day)
    return Planted(_whole(question, [*question.steps[:-1], wrong], rng), str(len(question.steps)), "wrong_question")


def _plant_impossible(question: DateQuestion, rng: random.Random) -> Planted | None:
    index = rng.choice([i for i, step in enumerate(question.steps) if step.kind in ("today", "asked", "move")])
    step = question.steps[index]
    end = last_day(step.date.year, step.date.month)
    if end is None:
        return None
    wrong_day = end.day + rng.randint(1, 3)
    name = f"{MONTHS[step.date.month - 1]} {wrong_day}, {step.date.year}"
    slash = f"{step.date.month:02}/{wrong_day:02}/{step.date.year}"
    wrong = replace(step, form=step.form.replace("{date}", name).replace("{slash}", slash))
    day = _plus(end, timedelta(days=wrong_day - end.day))
    steps = day and _astray(question, index, replace(wrong, date=day))
    if not steps:
        return None
    return Planted(_whole(question, steps, rng), str(index + 1), "impossible_date")


def _plant_option(question: DateQuestion, rng: random.Random) -> Planted | None:
    lines = [*_numbered(list(question.steps)), question.final_line(_other_option(question, rng))]
    return Planted("\n".join(lines), FINAL, "wrong_option")


def _plant_missing(question: DateQuestion, rng: random.Random) -> Planted | None:
    """The attempt stops early, a number is left out, or the last date is not worked out."""
    lines = [*_numbered(list(question.steps)), question.final_line(_other_option(question, rng))]
    kind = rng.randrange(3)
    if kind == 0:
        stop = rng.randrange(len(lines))
        header = str(stop + 1) if stop < len(question.steps) else FINAL
        return Planted("\n".join(lines[:stop]), header, "missing_step")
    if len(question.steps) < 2:
        return None
    if kind == 1:
        left_out = rng.randrange(len(question.steps) - 1)
        return Planted("\n".join([*lines[:left_out], *lines[left_out + 1 :]]), str(left_out + 2), "missing_step")
    return Planted("\n".join([*lines[:-2], lines[-1]]), FINAL, "missing_step")


def _plant_unparsable(question: DateQuestion, rng: random.Random) -> Planted | None:
    """A step that says nothing, before a wrong end, or one that breaks off before its date."""
    lines = [*_numbered(list(question.steps)), question.final_line(_other_option(question, rng))]
    index = rng.randrange(len(question.steps))
    if rng.random() < 0.5:
        lines[index] = f"({index + 1}) {rng.choice(_FILLERS)}"
        return Planted("\n".join(lines), str(index + 1), "unparsable_step")
    words = question.steps[index].body().partition(" is ")[0].split(" ")
    if list(find_dates(" ".join(words))) or len(words) < 3 or question.steps[index].kind == "today":
        return None
    return Planted("\n".join([*lines[:index], f"({index + 1}) {' '.join(words)}"]), str(index + 1), "unparsable_step")


def _plant_header(question: DateQuestion, rng: random.Random) -> Planted | None:
    """A step that is said again and again until the output ends."""
    lines = _numbered(list(question.steps))
    index = rng.randrange(len(lines))
    return Planted(
        "\n".join([*lines[: index + 1], *[lines[index]] * rng.randint(1, 3)]), str(index + 1), "wrong_header"
    )


def _plant_lucky(question: DateQuestion, rng: random.Random) -> Planted | None:
    """One wrong date, and the rest as it should be."""
    index = rng.randrange(len(question.steps))
    day = _wrong_date(question.steps[index].date, rng)
    if day is None or question.steps[index].kind == "weekday":
        return None
    steps = [*question.steps[:index], replace(question.steps[index], date=day), *question.steps[index + 1 :]]
    attempt = "\n".join([*_numbered(steps), f"(Final response) So the answer is ({LETTERS[question.answer]})."])
    return Planted(attempt, str(index + 1), "lucky")


_PLANTINGS: dict[str, Callable[[DateQuestion, random.Random], Planted | None]] = {
    "wrong_today": _plant_date(("today",), "wrong_today"),
    "wrong_calculation": _plant_date(("asked", "move", "nth", "said"), "wrong_calculation"),
    "wrong_weekday": _plant_weekday,
    "miscopied_clue": _plant_clue,
    "wrong_format": _plant_format,
    "wrong_question": _plant_question,
    "impossible_date": _plant_impossible,
    "wrong_option": _plant_option,
    "missing_step": _plant_missing,
    "unparsable_step": _plant_unparsable,
    "wrong_header": _plant_header,
    "lucky": _plant_lucky,
}
ERROR_CLASSES = tuple(_PLANTINGS)
"""The classes that `plant` knows, named as FBK names them."""
