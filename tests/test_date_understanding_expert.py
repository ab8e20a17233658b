"""FBK and IMP for date understanding: planted mistakes are found where they are, valid routes are left alone, every
repair is right and keeps what stands before the error."""

import random
import re
from functools import cache

import pytest
from expert_contract import Contract, lines_before
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.experts.mistakes.date_understanding import ERROR_CLASSES, plant
from tripost_core.experts.scripted.date_understanding import EXPERT
from tripost_core.problems.base import Problem
from tripost_core.problems.date_understanding import TASK

SEEDS = st.integers(0, 2**32)
PIZZAS = TASK.parse_question(
    "Yesterday, Jan 21, 2011, Jane ate 2 pizzas and 5 wings. What is the date one week from today in MM/DD/YYYY?\n"
    "Options:\n(A) 01/28/2011\n(B) 01/29/2011\n(C) 01/29/2010\n(D) 02/28/2011\n(E) 01/22/2011"
)
GOLD = """(1) If yesterday, Jan 21, 2011, Jane ate 2 pizzas and 5 wings, then today's date is January 22, 2011.
(2) The date one week from today is January 29, 2011, that is 01/29/2011.
(Final response) So the answer is (B)."""


@cache
def questions() -> list[Problem]:
    return [PIZZAS, *(p for subtask in TASK.subtasks for p in TASK.generate(subtask.name, 40, seed=11))]


_JUNK = ["/", "1/2/2003", " is ", "(1)", "Feb 30, 2011", "(", ")", "\n", "é", "\x00", "\u2028", "٣", "today",
         "(Final response) ", "If ", ", then ", ".", "(9.9.9) ", "Feedback: ", "99999999999 days after "]  # fmt: skip
CONTRACT = Contract(TASK, EXPERT, plant, ERROR_CLASSES, questions, _JUNK, "abcxyz0123456789 /,.(")
judge, repaired = CONTRACT.judge, CONTRACT.repaired


# -- planted mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
@settings(max_examples=40)
@given(seed=SEEDS)
def test_planted_mistakes_are_found_and_repaired(error_class, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    planted = plant(problem, error_class, rng)
    if planted is None:
        return
    assert TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky")
    verdict = judge(problem, planted.attempt)
    assert (verdict.error_step, verdict.error_class) == (planted.error_step, error_class), planted.attempt
    improved = repaired(problem, planted.attempt)
    assert TASK.is_consistent(improved, problem.question)
    if error_class != "wrong_header":  # there the step's number names an earlier line as well
        assert improved.startswith(lines_before(planted.attempt, planted.error_step))


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_every_class_can_be_planted(error_class):
    rng = random.Random(5)
    least = 1 if error_class == "wrong_weekday" else 7  # weekdays are in few stories
    problems = TASK.generate("steps4+", 16, seed=8) + TASK.generate("steps2", 16, seed=8)
    assert sum(plant(problem, error_class, rng) is not None for problem in problems) >= least


# -- single errors, at their place -------------------------------------------------------------------------------------


def test_the_example_is_its_own_gold():
    assert TASK.rationale(PIZZAS.question) == GOLD
    assert judge(PIZZAS, GOLD).correct


@pytest.mark.parametrize(
    ("right", "wrong", "step", "segment", "error_class"),
    [
        ("date is January 22", "date is January 20", "1", "today's date is January 20, 2011", "wrong_today"),
        ("Jan 21", "Jan 12", "1", "Jan 12, 2011", "miscopied_clue"),
        ("2 pizzas", "3 pizzas", "1", "3", "miscopied_clue"),
        ("If yesterday", "If tomorrow", "1", "tomorrow", "miscopied_clue"),
        ("is January 29", "is January 28", "2", "The date one week from today is January 28, 2011",
         "wrong_calculation"),
        ("date one week from today", "date 27 hours later", "2", "The date 27 hours later is January 29, 2011",
         "miscopied_clue"),
        ("01/29/2011", "29/01/2011", "2", "29/01/2011", "impossible_date"),
        ("01/29/2011", "01/29/2010", "2", "that is 01/29/2010", "wrong_format"),
        ("January 29, 2011", "January 32, 2011", "2", "January 32, 2011", "impossible_date"),
        ("one week from today is January 29, 2011, that is 01/29/2011", "tomorrow is January 23, 2011", "2",
         "The date tomorrow is January 23, 2011", "wrong_question"),
        ("is (B)", "is (A)", "final", "answer is (A)", "wrong_option"),
        ("is (B)", "is (Q)", "final", "answer is (Q)", "wrong_option"),
        ("So the answer is (B).", "So it is done.", "final", "So it is done.", "unparsable_step"),
        ("(2) The", "(3) The", "3", "(3)", "missing_step"),
        ("(2) The", "(1) The", "1", "(1)", "wrong_header"),
        ("(2) The date one week from today is January 29, 2011, that is 01/29/2011.", "(2) It is a nice day.", "2",
         "It is a nice day.", "unparsable_step"),
    ],
)  # fmt: skip
def test_single_errors(right, wrong, step, segment, error_class):
    assert right in GOLD
    attempt = GOLD.replace(right, wrong, 1)
    if error_class not in ("wrong_option", "missing_step", "unparsable_step") or step != "final":
        attempt = attempt.replace("(B)", "(A)")
    verdict = judge(PIZZAS, attempt)
    assert (verdict.error_step, verdict.error_segment, verdict.error_class) == (step, segment, error_class)
    assert repaired(PIZZAS, attempt) == (GOLD if step != "3" else repaired(PIZZAS, attempt))


def test_an_answer_before_its_date_is_worked_out():
    first, _, final = GOLD.split("\n")
    verdict = judge(PIZZAS, f"{first}\n{final}")
    assert (verdict.error_step, verdict.error_class) == ("final", "lucky")
    assert repaired(PIZZAS, f"{first}\n{final}") == GOLD
    verdict = judge(PIZZAS, first)
    assert (verdict.error_step, verdict.error_segment, verdict.error_class) == ("2", first, "missing_step")
    assert judge(PIZZAS, GOLD.rpartition("\n")[0]).error_step == "final"
    assert judge(PIZZAS, "").error_step == "1"
    assert repaired(PIZZAS, "") == GOLD


# -- other valid routes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        "(1) Yesterday, Jan 21, 2011, Jane ate 2 pizzas and 5 wings.\n(2) If yesterday was Jan 21, 2011, then today is "
        "Jan 22, 2011.\n(3) The date one week from today is Jan 29, 2011.",
        "(1) Today is 1/22/2011.\n(2) One week from today is 1/29/2011.",
        "(1) The date today is January 22nd, 2011.\n(2) 7 days later is 01/29/2011, which is 01/29/2011.",
        "(1) If today is Jan 22, 2011, then the date one week from today is Jan 29, 2011, that is 01/29/2011.",
        "(1) Yesterday was 01/21/2011.\n(2) Tomorrow is 01/23/2011.\n(3) One week from today is 01/29/2011.",
        "(1) Today's date is Jan 22, 2011.\n(2) 7 days after Jan 22, 2011 is Jan 29, 2011.\n(3) The date one week from "
        "today is Jan 29, 2011.",
        "(1) January 22, 2011 is a Saturday, and today is January 22, 2011.\n(2) A week from today is "
        "January 29, 2011.",
    ],
)  # fmt: skip
def test_other_valid_routes_are_not_flagged(steps):
    attempt = f"{steps}\n(Final response) So the answer is (B)."
    verdict = judge(PIZZAS, attempt)
    assert verdict.correct, verdict
    lines = attempt.split("\n")
    for wrong in range(len(lines)):  # and an error on that route is repaired on it
        broken = "\n".join([*lines[:wrong], lines[wrong][: len(lines[wrong]) // 3]])
        assert not judge(PIZZAS, broken).correct
        assert repaired(PIZZAS, broken).startswith("".join(line + "\n" for line in lines[:wrong]))


def _short_months(text: str, rng: random.Random) -> str:
    return re.sub(r"\b(Jan|Feb|Aug|Sep|Oct|Nov|Dec)[a-z]+ (\d)", r"\1 \2", text)


def _slashes(text: str, rng: random.Random) -> str:
    return re.sub(r"is [A-Z]\w+ \d+, \d+, that is (\S+)\.", r"is \1.", text)


def _today_is(text: str, rng: random.Random) -> str:
    return text.replace("today's date is", "today is")


def _without_format(text: str, rng: random.Random) -> str:
    return re.sub(r", that is \S+\.", ".", text)


def _without_condition(text: str, rng: random.Random) -> str:
    return re.sub(r"If .*, then today's date", "Today's date", text)


@pytest.mark.parametrize("route", [_short_months, _slashes, _today_is, _without_format, _without_condition])
@settings(max_examples=40)
@given(seed=SEEDS)
def test_other_wordings_are_not_flagged(route, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    attempt = route(TASK.rationale(problem.question), rng)
    verdict = judge(problem, attempt)
    assert verdict.correct, (verdict, attempt)


# -- robustness --------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(SEEDS)
def test_corrupted_attempts_are_judged_and_repaired(seed):
    CONTRACT.check_corrupted(seed)


@settings(max_examples=80)
@given(st.text(), st.text(), SEEDS)
def test_any_text_gets_a_verdict_and_a_repair(attempt, feedback, seed):
    CONTRACT.check_any_text(attempt, feedback, seed)


@settings(max_examples=120)
@given(st.lists(st.sampled_from([*_JUNK, *GOLD.split(" "), "\n(2) "]), max_size=60))
def test_any_mixture_of_pieces_gets_a_verdict_and_a_repair(pieces):
    attempt = " ".join(pieces)
    judge(PIZZAS, attempt)
    repaired(PIZZAS, attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        "(1) " + " " * 200_000 + "x", "(1) " + "1/2/2003 " * 20_000, "(1) If " * 20_000, "(1) " + "today is " * 440,
        "(1) " + "1 day after " * 330, "(1) " + "Jan 1, 2000 is " * 260, "(" + "1." * 50_000 + "1) x",
        "(" + "1" * 50_000 + ") x", "(1) If" + " a, then" * 480, "\n" * 20_000, "(Final response) " * 9_999,
        "(Final response) " + "So the answer is " * 200, "(1) the " + "first " * 600, "(1) " + "9" * 3_900,
    ],
)  # fmt: skip
def test_hostile_attempts_do_not_hang(attempt):
    CONTRACT.check_hostile(PIZZAS, attempt)


# -- what the feedback tells IMP ---------------------------------------------------------------------------------------


def test_terminal_feedback_changes_nothing():
    for attempt in (GOLD, "nonsense", ""):
        told = "Step (1) to step (2) are correct. The final response is also correct."
        assert EXPERT.improve(PIZZAS, attempt, told) == attempt


@pytest.mark.parametrize("feedback", ["", "Something is wrong.", 'In step (9.9) the part "x" is incorrect.'])
def test_feedback_that_names_no_step_there_is(feedback):
    attempt = GOLD.replace("January 29", "January 28")
    assert EXPERT.improve(PIZZAS, attempt, feedback) == GOLD
    assert EXPERT.improve(PIZZAS, GOLD, feedback) == GOLD


@settings(max_examples=40)
@given(SEEDS)
def test_the_step_that_the_feedback_names_decides_what_is_kept(seed):
    CONTRACT.check_named_step(seed)


def test_a_thousand_judgements_take_about_a_second():
    assert CONTRACT.seconds_to_judge(questions()) < 1.5
