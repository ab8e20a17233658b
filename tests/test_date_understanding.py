"""Date understanding: calendar, grammar of stories, rationale, generator and loaders."""

import calendar
import json
import random
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.errors import DataError
from tripost_core.problems.calendar_dates import (
    COUNT,
    MONTHS,
    find_dates,
    long_date,
    nth_weekday,
    numeric_ordinal,
    ordinal,
    read_count,
    read_date,
    read_ordinal,
    shift,
    slash_date,
)
from tripost_core.problems.date_clues import read_clues
from tripost_core.problems.date_questions import read_move, read_question
from tripost_core.problems.date_understanding import TASK
from tripost_core.problems.options import LETTERS
from tripost_core.problems.partition import is_pretraining_question
from tripost_core.trajectory import FINAL, Attempt

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
DATES = st.dates(date(1000, 1, 1), date(9998, 12, 31))
OPTIONS = "\nOptions:\n(A) 01/28/2011\n(B) 01/29/2011\n(C) 01/29/2010\n(D) 02/28/2011"
PIZZAS = "Yesterday, Jan 21, 2011, Jane ate 2 pizzas. What is the date one week from today in MM/DD/YYYY?" + OPTIONS

# Stories of the published questions whose labels we hold to be wrong: (words of the story, today by the calendar).
WRONG_LABELS = {
    "their 5-year anniversary": date(1963, 1, 2),  # married on Jan 2, 1958; the labels count from 1961
    "US Thanksgiving of 2001": date(2001, 11, 22),  # the labels say 2002
    "US Thanksgiving of 2002": date(2002, 11, 28),  # November 1, 2002 is a Friday; the labels say the 22nd
    "coming in 36 hours": date(2014, 12, 30),  # noon of December 30 is 36 hours before the year; they say the 29th
}


def reference(name):
    path = REFERENCE / name
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    return path


# -- data that nobody here wrote ---------------------------------------------------------------------------------------


def test_big_bench_hard_is_read_and_solved():
    examples = json.loads(reference("bbh_date_understanding.json").read_text())["examples"]
    questions = [read_question(example["input"]) for example in examples]  # every one is understood
    other = [
        (question, example)
        for question, example in zip(questions, examples, strict=True)
        if f"({LETTERS[question.answer]})" != example["target"]
    ]
    assert len(other) <= 0.03 * len(examples)
    for question, example in zip(questions, examples, strict=True):
        told = next((words for words in WRONG_LABELS if words in example["input"]), None)
        if told:
            assert question.today == WRONG_LABELS[told]
        else:
            assert question.exact and f"({LETTERS[question.answer]})" == example["target"]
    assert all(any(words in example["input"] for words in WRONG_LABELS) for _, example in other)


def test_the_papers_questions_are_solved():
    rows = [json.loads(line) for line in reference("paper_date_understanding.jsonl").read_text().splitlines()]
    problems = TASK.load(REFERENCE / "paper_date_understanding.jsonl", "train")
    assert [p.answer for p in problems] == [row["answer"] for row in rows]
    same_kind = 0
    for problem, row in zip(problems, rows, strict=True):
        question = read_question(problem.question)
        if LETTERS[question.answer] != row["answer"]:
            assert any(words in row["question"] for words in WRONG_LABELS)
        steps = len(row["rationale"].strip().split("\n")) - 1
        same_kind += (steps <= 2) == problem.seen
    assert same_kind / len(rows) > 0.75  # seen and unseen as by the steps of the paper's own rationales


def test_a_file_keeps_its_label_and_questions_that_no_script_reads(tmp_path):
    path = tmp_path / "dates.jsonl"
    rows = [
        {"question": PIZZAS, "answer": "D"},
        {"question": f"It is the eve of the great fair. What is the date today?{OPTIONS}", "answer": "01/29/2010"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    problems = TASK.load(path)
    assert [(p.answer, p.subtask) for p in problems] == [("D", "steps2"), ("C", "other")]
    path.write_text(json.dumps({"question": PIZZAS, "answer": "H"}))
    with pytest.raises(DataError, match=r"line 1: the answer is 'H', which is none of the options"):
        TASK.load(path)


# -- stories -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "today"),
    [
        ("Today is Sep 9, 1909.", date(1909, 9, 9)),
        ("It is 4/19/1969 today.", date(1969, 4, 19)),
        ("The current local time is 3:02 pm of 5/4/2004.", date(2004, 5, 4)),
        ("Today, 8/3/1997, is a day that we will never forget.", date(1997, 8, 3)),
        ("Yesterday was 12/31/1929. Today could not be 12/32/1929.", date(1930, 1, 1)),
        ("The day before yesterday was 11/23/1933.", date(1933, 11, 25)),
        ("The day after tomorrow is March 1, 2020.", date(2020, 2, 28)),
        ("Today's meeting is rescheduled to 11 am tomorrow, 10/16/1924.", date(1924, 10, 15)),
        ("The deadline is Jun 1, 2021, which is 2 days away from now.", date(2021, 5, 30)),
        ("It was Sept. 1st, 2021 a week ago.", date(2021, 9, 8)),
        ("The exam was scheduled to be on 06/01/1943, but was delayed by one day to today.", date(1943, 6, 2)),
        ("The exam was planned for 06/01/1943, but was brought forward by two weeks to today.", date(1943, 5, 18)),
        ("This is the last day of 1899.", date(1899, 12, 31)),
        ("Today is the last day of the first quarter of 2008.", date(2008, 3, 31)),
        ("Today is the second day of the third month of 1966.", date(1966, 3, 2)),
        ("Jane is celebrating the last day of Feb 2012.", date(2012, 2, 29)),
        ("Today is Christmas Eve of 1937.", date(1937, 12, 24)),
        ("Today is Mother's Day of 2024.", date(2024, 5, 12)),
        ("Today is the third Friday of May 2014.", date(2014, 5, 16)),
        ("The first day of 2019 is a Tuesday, and today is the first Monday of 2019.", date(2019, 1, 7)),
        ("In the US, Thanksgiving is on a Thursday. Today is the US Thanksgiving of 2001.", date(2001, 11, 22)),
        ("Jane and John married on Jan 2, 1958. Today is their golden wedding anniversary.", date(2008, 1, 2)),
        ("Jane was born on the last day of Feburary in 2000. Today is her 16-year-old birthday.", date(2016, 2, 29)),
        ("Jane was born on the last day of February in 2000. Today is her 17-year-old birthday.", date(2017, 2, 28)),
        ("Jane got her job in 2016. Today is her 3-year work anniversary. She still remembers that on Dec 2, her "
         "second day at work, she fell.", date(2019, 12, 1)),
        ("On May 9th, 2017 Jane bought 40 eggs. She ate one per day. Today she ran out of eggs.", date(2017, 6, 18)),
        ("Jane quit her job on Mar 20, 2020. 176 days have passed since then.", date(2020, 9, 12)),
        ("Three weeks have passed since Mar 20, 2020.", date(2020, 4, 10)),
        ("2015 is coming in 36 hours.", date(2014, 12, 30)),
        ("2015 is coming in 24 hours.", date(2014, 12, 31)),
        ("May 6, 1992 is like yesterday to Jane, but that is actually ten years ago.", date(2002, 5, 6)),
        ("Jane goes there on the 16th of each month starting from the October of 2009. It is her 5th visit today.",
         date(2010, 2, 16)),
        ("In the UK, the day comes first. Therefore, today is 02/01/1987 to them.", date(1987, 1, 2)),
        ("Jane thinks today is 6/18/2019, but John thinks today is 6/19/2019. John is correct.", date(2019, 6, 19)),
        ("Jane thought today is 3/11/2002, but today is in fact Mar 12, which is 1 day later.", date(2002, 3, 12)),
        ("Today is the palindrome day of 2020, because the date reads the same backwards.", date(2020, 2, 2)),
        ("Today is 9/7. Jane is watching NFL 2003.", date(2003, 9, 7)),
        ("Today is 3/5, and it is Jane's second time in the year 1973 to see a comet.", date(1973, 3, 5)),
    ],
)  # fmt: skip
def test_stories_are_understood(story, today):
    steps = read_clues(story)
    assert steps is not None and steps[-1].date == today
    for step in steps:
        assert long_date(step.date) in step.body()


@pytest.mark.parametrize(
    "story",
    ["", "Nobody knows the day.", "Today is Feb 30, 2011.", "Jane thinks today is 1/2/2003.", "Today is 9/7.",
     "The party was on 1/2/2003.", "Today is the fifth Friday of February 2015."],
)  # fmt: skip
def test_stories_that_tell_nothing_of_today_are_not(story):
    assert read_clues(story) is None


@pytest.mark.parametrize(
    ("asked", "move"),
    [("today", (0, "day")), ("tomorrow", (1, "day")), ("24 hours later", (1, "day")), ("10 days ago", (-10, "day")),
     ("a month ago", (-1, "month")), ("one year ago from today", (-1, "year")), ("one week from today", (1, "week")),
     ("the day after tomorrow", (2, "day")), ("twelve weeks before today", (-12, "week")), ("in 36 hours", None),
     ("36 hours later", None), ("soon", None)],
)  # fmt: skip
def test_what_is_asked(asked, move):
    assert read_move(asked) == move


@pytest.mark.parametrize(
    "question",
    ["What is the date today?", "Today is 1/2/2003. What time is it?" + OPTIONS, PIZZAS.replace("week", "score"),
     PIZZAS.partition("\nOptions")[0], "Today is 1/2/2003. What is the date today?\nOptions:\n(A) soon\n(B) later",
     "Today is 1/2/9998. What is the date 2 years from today?\nOptions:\n(A) 01/02/9997", "x" * 5000],
)  # fmt: skip
def test_what_cannot_be_read_is_a_data_error(question):
    with pytest.raises(DataError):
        TASK.parse_question(question)


def test_where_no_option_fits_the_closest_is_taken_and_said():
    question = PIZZAS.replace("(B) 01/29/2011", "(B) 01/29/2012")
    assert TASK.rationale(question).split("\n")[2:] == [
        "(3) None of the options is 01/29/2011; the closest is 01/29/2012.",
        "(Final response) So the answer is (B).",
    ]


# -- calendar ----------------------------------------------------------------------------------------------------------


@given(DATES)
def test_dates_are_read_as_they_are_written(day):
    for text in (
        long_date(day),
        slash_date(day),
        f"{MONTHS[day.month - 1][:3]}. {numeric_ordinal(day.day)}, {day.year}",
    ):
        assert read_date(text) == day
        (mention,) = find_dates(f"On {text} it rained.")
        assert mention.date == day and f"On {text} it rained."[mention.start : mention.end].strip() == text


@given(DATES, st.integers(-400, 400))
def test_shifts(day, n):
    by_days = shift(day, n, "day")
    assert by_days is None or (by_days - day).days == n
    assert shift(day, n, "week") == shift(day, 7 * n, "day")
    moved = shift(day, n, "month")
    if moved:
        assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == n
        assert moved.day == min(day.day, calendar.monthrange(moved.year, moved.month)[1])
    assert shift(day, n, "year") == shift(day, 12 * n, "month")


@given(st.integers(1, 5), st.integers(0, 6), st.integers(1583, 2500), st.integers(1, 12))
def test_nth_weekdays(n, weekday, year, month):
    days = [
        date(year, month, 1) + timedelta(days=i)
        for i in range(calendar.monthrange(year, month)[1])
        if (date(year, month, 1) + timedelta(days=i)).weekday() == weekday
    ]
    assert nth_weekday(n, weekday, year, month) == (days[n - 1] if n <= len(days) else None)
    assert nth_weekday(-1, weekday, year, month) == days[-1]


def test_numbers_in_words():
    assert [read_count(word) for word in ("a", "An", "one", "twelve", "thirty", "176")] == [1, 1, 1, 12, 30, 176]
    assert [read_ordinal(word) for word in ("first", "12th", "last")] == [1, 12, -1]
    assert [ordinal(n) for n in (1, 12, 13, 21, -1)] == ["first", "twelfth", "13th", "21st", "last"]
    assert "thirty" in COUNT


# -- generator and task ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtask", [s.name for s in TASK.subtasks])
def test_generated_questions(subtask):
    problems = TASK.generate(subtask, 120, seed=3)
    assert problems == TASK.generate(subtask, 120, seed=3) != TASK.generate(subtask, 120, seed=4)
    for problem in problems:
        question = read_question(problem.question)
        assert TASK.parse_question(problem.question) == problem and problem.subtask == subtask
        assert question.exact and len(set(question.options)) == len(question.options) in (5, 6)
        rationale = TASK.rationale(problem.question)
        assert TASK.is_right(rationale, problem.answer) and TASK.is_consistent(rationale, problem.question)
        headers = [step.header for step in Attempt.parse(rationale).steps]
        assert headers == [*(str(i + 1) for i in range(len(question.steps))), FINAL]
        n = len(question.steps)
        assert n >= 4 if subtask == "steps4+" else subtask == f"steps{n}"
    letters = Counter(problem.answer for problem in problems)
    assert set("ABCDE") <= set(letters)


def test_no_story_is_told_twice_and_exclusion_is_obeyed():
    first = TASK.generate("steps2", 200, seed=1)
    told = [problem.question.partition(" What is")[0] for problem in first]
    assert len(set(told)) == len(told)
    again = TASK.generate("steps2", 200, seed=1, exclude=[problem.question for problem in first])
    assert not {p.question for p in first} & {p.question for p in again}


def test_a_story_stays_on_its_side_of_the_partition_whatever_is_asked():
    for problem in TASK.generate("steps2", 50, seed=9):
        story, _, _ = problem.question.partition(" What is the date ")
        other = f"{story} What is the date today in MM/DD/YYYY?\nOptions:\n(A) 01/01/2000"
        assert is_pretraining_question(other) == is_pretraining_question(problem.question)


def test_unknown_subtask():
    with pytest.raises(DataError, match="no subtask 'steps9'"):
        TASK.generate("steps9", 1, seed=0)


def test_consistency_is_between_the_letter_and_the_step_before():
    rationale = TASK.rationale(PIZZAS)
    assert rationale.endswith("(Final response) So the answer is (B).") and TASK.is_consistent(rationale, PIZZAS)
    assert not TASK.is_consistent(rationale.replace("(B)", "(A)"), PIZZAS)
    assert not TASK.is_consistent(rationale.replace("(B)", "(Z)"), PIZZAS)
    assert TASK.is_consistent(rationale.replace("(B)", "(A)"))  # without options nothing tells the letters apart
    assert not TASK.is_consistent("(Final response) So the answer is (B).", PIZZAS)


@given(st.text() | st.sampled_from([PIZZAS, TASK.rationale(PIZZAS)]), st.text())
@settings(max_examples=60)
def test_any_text_is_read(attempt, question):
    TASK.extract_answer(attempt)
    TASK.is_consistent(attempt, question)
    try:
        TASK.parse_question(question)
    except DataError:
        pass


def test_random_edits_of_questions_are_read_or_refused():
    rng = random.Random(2)
    for problem in TASK.generate("steps2", 60, seed=2) + TASK.generate("steps4+", 40, seed=2):
        text = list(problem.question)
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.choice("019/ ,.abcT(\n")
        try:
            TASK.rationale("".join(text))
        except DataError:
            pass
