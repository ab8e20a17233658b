"""The phrases that the built-in student's tokenizer takes as one token: what every rationale of a task repeats.

None is a bare word of small letters: a list of words could hold it, and sorting has to see its letters.
"""

from __future__ import annotations

from collections.abc import Iterator

_STRUCTURE = (
    "\nFeedback:",
    "\n(Final response)",
    "\n(",
    "Q: ",
    " + ",
    " - ",
    " * ",
    " = ",
    " + -",
    " - -",
    " * -",
    " = -",
    "(-",
    " < ",
    " ? ",
)
_ARITHMETIC = (
    ') This equation can be written as "',
    '", where ',
    ") Let's calculate ",
    ") Then, the final equation is ",
    "\n(Final response) So the answer is ",
    " and ",
)
_WORDS = (
    "Q: Sort the following words alphabetically:\nList: ",
    ') The first letter: "',
    '"="',
    '" (',
    '), "',
    ").",
    ") We now have: (",
    ') "',
    ') ["',
    '" ? "',
    '"] < (',
    '" < (',
    '"].',
    '".',
    ') Now sort this subpart ["',
    '"] by looking at their ',
    ' letters: "',
    ') Hence, we have "',
    '" < "',
    "\n(Final response) So the answer is: ",
)
_ORDINALS = (
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_CHOICES = (
    "\nOptions:",
    "\n(Final response) So the answer is (",
    " So the answer is (",
    ") Combining (",
    ") and (",
    ") we get the following ordering: ",
    ") According to this ordering, the ",
    "(left) ",
    " (right)",
    " ?? ",
)
_FEEDBACK = (
    " Step (",
    ") to step (",
    ") is correct.",
    ") are correct.",
    " In step (",
    " In step (Final response",
    ') the part "',
    '" is incorrect. This is because ',
    " The final response is also correct.",
)

# Reasons as the scripted experts word them. None is a bare word, which a list of words could hold.
_REASONS = (
    ") is ",
    ", not ",
    "it has a number that ",
    " does not have",
    "a number of ",
    " is left out",
    "other brackets than in ",
    " change the order of the operations",
    "an operator of ",
    " is changed",
    "numbers of ",
    " have changed their places",
    "the sign changes from ",
    "a sign is wrong: ",
    "the sign is wrong: ",
    "the operations of ",
    " are done in the wrong order",
    " should be ",
    " as in the question",
    " is defined as ",
    "the steps before it give ",
    "with the definitions it gives ",
    ", which is not what the question asks for",
    "the equation to calculate is ",
    '" is a miscopied "',
    '" is not one of the words to be sorted',
    '" has already been listed in this step',
    "the first letter of ",
    " letter of ",
    '" is "',
    " letters of these words have not been looked at yet",
    " letters of these words have already been looked at",
    "the order of these words is already known",
    "this unknown subpart also has ",
    "these words are not together in one unknown subpart",
    "the letter ",
    '" has the number ',
    "the letter of ",
    '" is missing',
    '" of step (',
    ") got lost",
    '" got lost',
    "according to step (",
    ') the number of "',
    '" stands alone, so nothing is unknown about it',
    'it is not known that "',
    '" comes before "',
    ") is smaller than (",
    "), so it comes first",
    '" have the same number, so their order is still unknown',
    'the steps before put "',
    '" before "',
    'a conclusion must not leave the order of "',
    'no step has worked out yet which of "',
    '" comes first',
    'it leaves out "',
    '", which the step before it has here',
    'the step before it has "',
    '" here',
    '" and "',
)
_ENDS = (
    ("left", "right"),
    ("oldest", "newest"),
    ("cheapest", "most expensive"),
    ("above", "below"),
    ("before", "after"),
    ("first", "last"),
    ("shortest", "tallest"),
    ("lightest", "heaviest"),
)
"""Of the generated stories: how patterns label their ends."""
_GRADES = ("oldest", "newest", "shortest", "tallest", "lightest", "heaviest")
_PREDICATES = (
    " is the leftmost",
    " is the rightmost",
    *(f" is the {place} from the {side}" for side in ("left", "right") for place in ("second", "third")),
    *(f" is the {place}{grade}" for grade in _GRADES for place in ("", "second-", "third-")),
    *(f" are the {place}{end}" for end in ("cheapest", "most expensive") for place in ("", "second-", "third-")),
    *(f" {verb} {place}" for verb in ("finished", "arrived") for place in ("first", "second", "third", "last")),
    *(f" {verb} {place}-to-last" for verb in ("finished", "arrived") for place in ("second", "third")),
)
_ORDER_PIECES = (
    *(f"\n({letter}) " for letter in "ABCDEFG"),
    ") There are in total ",
    "\n(Final response) The ",
    ". The ",
    ") The ",
    ", a ",
    ", an ",
    ", and a ",
    ", and an ",
    ", and ",
    " is to the left of the ",
    " is to the right of the ",
    *(f" is {grade} than the " for grade in ("older", "newer", "shorter", "taller", "lighter", "heavier")),
    " are less expensive than the ",
    " are more expensive than the ",
    " finished above ",
    " finished below ",
    " arrived before ",
    " arrived after ",
)
_ORDER_REASONS = (
    "the answer is (",
    "the question does not say this, but that ",
    ") alone do not tell this, it takes step (",
    "this order has no end '",
    "', it goes from ",
    " comes before ",
    ", counted from ",
    "the question lists ",
    "by steps (",
    "in step (",
)
_DATE_PIECES = (
    "In the UK, the day is written before the month. Therefore, today is ",
    " to people there.",
    " to people who put the day before the month",
    ", then today's date is ",
    ", that is ",
    ") If ",
    *(f"{opening}oday is " for opening in ("T", ") If t")),
    *(f"{opening}omorrow is " for opening in ("T", ") If t")),
    *(f"{opening}esterday was " for opening in ("Y", ") If y")),
    *(f"{opening}he day after tomorrow is " for opening in ("T", ") If t")),
    *(f"{opening}he day before yesterday was " for opening in ("T", ") If t")),
    *(f"{opening} is the {place} day of " for opening in ("Today", ") If today") for place in ("first", "last")),
    *(f"{opening} is the last day of " for opening in ("This", ") If this")),
    *(f"{opening} {verb} " for opening in ("It", ") If it") for verb in ("was", "is")),
    *(f"{opening}he current date is " for opening in ("T", ") If t")),
    *(f"{opening}oday, " for opening in ("T", ") If t")),
    *(f"{opening}esterday, " for opening in ("Y", ") If y")),
    " has booked a train for tomorrow, ",
    " has a dentist appointment for tomorrow, ",
    " reserved a table for tomorrow, ",
    " theatre tickets for tomorrow, ",
    " am tomorrow, ",
    " for the first time in ",
    " day of the ",
    " month of ",
    " quarter of ",
    " is celebrating the last day of ",
    " married on ",
    " was born on ",
    ". It is their ",
    " and it is their ",
    ". Today is their ",
    " and today is their ",
    " and today is the ",
    ". Today is the ",
    "-year anniversary today",
    " wedding anniversary",
    "-year-old birthday",
    " thinks today is ",
    " thought today is ",
    ", but today is in fact ",
    ", which is ",
    " is correct",
    " is like yesterday to ",
    ", but that is actually ",
    " days away from now",
    " days later",
    " years ago",
    " days to today",
    ", but was delayed by ",
    ", but was brought forward by ",
    " was scheduled to be on ",
    " was planned for ",
    ", is a day that ",
    " will remember",
    " is on holiday.",
    "st, ",
    "nd, ",
    "rd, ",
    "th, ",
    # reasons
    "this says nothing about a date",
    "there is no such day",
    "the question does not have this date",
    "the question asks for the date ",
    "today's date is ",
    "option (",
    ", and ",
    " has not been worked out",
    "this should be step (",
    " days before ",
    " days after ",
)


def phrases() -> tuple[str, ...]:
    """Every text that is one token, in the order of their ids: answer headers of the tasks, then templates."""
    from tripost_core.problems import TASKS, load_task

    headers = [load_task(name).answer_header for name in TASKS]
    ordered = [*(f"\nUpdated {header}" for header in headers), *(f"\n{header}" for header in headers)]
    ordered += [*_STRUCTURE, *_ARITHMETIC, *_WORDS, *_FEEDBACK]
    ordered += [f'"] by looking at their {ordinal} letters: "' for ordinal in _ORDINALS]
    ordered += [*_CHOICES, *_REASONS, *_orders(), *_dates()]
    return tuple(dict.fromkeys(ordered))


def _orders() -> Iterator[str]:
    """Logical deduction: preambles, the ends and gaps of patterns, places and relations."""
    from tripost_core.problems.logical_stories import THEMES

    for number in ("three", "five", "seven"):
        yield (
            f"Q: The following paragraphs each describe a set of {number} objects arranged in a fixed order. "
            "The statements are logically consistent within each paragraph. "
        )
        for theme in THEMES:
            yield f"{number}{theme.intro.split('{}')[1]}: "
    for theme in THEMES:
        yield theme.intro.split("{}")[0]
    for first, last in _ENDS:
        for opening in (': "', ') we get the following ordering: "'):
            yield f"{opening}({first}) "
            yield f"{opening}({first}) ?? "
        yield f' ({last})".'
        yield f' ?? ({last})".'
    for predicate in _PREDICATES:
        yield predicate
        yield f" that{predicate} is the "
        yield f" who{predicate} is "
    yield from _ORDER_PIECES
    yield from _ORDER_REASONS


def _dates() -> Iterator[str]:
    """Date understanding: what is asked, what is told of today, months and weekdays."""
    from tripost_core.problems.calendar_dates import MONTHS, WEEKDAYS
    from tripost_core.problems.date_stories import ASKED, NAMES

    for asked in ASKED:
        yield f" What is the date {asked} in MM/DD/YYYY?\nOptions:"
        yield f") The date {asked} is "
    for month in MONTHS:
        yield f"{month} "
        yield f"{month[:3]} "
    yield from WEEKDAYS
    yield from NAMES
    yield from _DATE_PIECES
