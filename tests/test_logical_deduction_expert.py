"""FBK and IMP for logical deduction: planted mistakes are found where they are, valid routes are left alone, every
repair is right and keeps what stands before the error."""

import json
import random
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from expert_contract import Contract, lines_before
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.experts.mistakes.logical_deduction import ERROR_CLASSES, plant
from tripost_core.experts.scripted.logical_deduction import EXPERT
from tripost_core.problems.base import Problem
from tripost_core.problems.logical_deduction import TASK
from tripost_core.problems.logical_statements import read_story
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.trajectory import Attempt

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
SEEDS = st.integers(0, 2**32)
BOOKS = TASK.parse_question(
    "On a desk, there are five books: a gray book, a red book, a blue book, a tan book, and a pink book. The red book "
    "is to the left of the blue book. The tan book is the second from the left. The gray book is to the left of the "
    "tan book. The pink book is to the right of the blue book.\nOptions:\n(A) The gray book is the third from the left."
    "\n(B) The red book is the third from the left.\n(C) The blue book is the third from the left.\n(D) The tan book "
    "is the third from the left.\n(E) The pink book is the third from the left."
)
GOLD = """(1) The red book is to the left of the blue book: "(left) ?? red ?? blue ?? (right)".
(2) The tan book is the second from the left: "(left) ? tan ?? (right)".
(3) The gray book is to the left of the tan book: "(left) ?? gray ?? tan ?? (right)".
(4) The pink book is to the right of the blue book: "(left) ?? blue ?? pink ?? (right)".
(5) There are in total five books: a gray book, a red book, a blue book, a tan book, and a pink book.
(6) Combining (1) and (4) we get the following ordering: "(left) ?? red ?? blue ?? pink ?? (right)".
(7) Combining (2), (5) and (6) we get the following ordering: "(left) ? tan ?? blue ?? pink ?? (right)".
(8) Combining (3) and (7) we get the following ordering: "(left) gray tan ?? blue ?? pink ?? (right)".
(9) Combining (1) and (8) we get the following ordering: "(left) gray tan red blue pink (right)".
(10) According to this ordering, the book that is the third from the left is the red book.
(Final response) The red book is the third from the left. So the answer is (B)."""


@cache
def questions() -> list[Problem]:
    generated = [p for subtask in TASK.subtasks for p in TASK.generate(subtask.name, 30, seed=11)]
    return [*generated, BOOKS]


_JUNK = ['"', " ?? ", " ? ", "(1)", "(left)", "(", ")", "\n", "é", "\x00", "\u2028", "٣", "(Final response) ",
         "Combining ", "According to this ordering, ", ": ", ".", "(9.9.9) ", "Feedback: "]  # fmt: skip
CONTRACT = Contract(TASK, EXPERT, plant, ERROR_CLASSES, questions, _JUNK, 'abcxyz0123456789 "?<.')
judge, repaired = CONTRACT.judge, CONTRACT.repaired


# -- planted mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
@settings(max_examples=12)
@given(seed=SEEDS)
def test_planted_mistakes_are_found_and_repaired(error_class, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    planted = plant(problem, error_class, rng)
    if planted is None:
        return
    verdict = judge(problem, planted.attempt)
    assert (verdict.error_step, verdict.error_class) == (planted.error_step, error_class), planted.attempt
    improved = repaired(problem, planted.attempt)
    if error_class != "wrong_header":  # there the step's number names an earlier line as well
        assert improved.startswith(lines_before(planted.attempt, planted.error_step))


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_every_class_can_be_planted_in_most_long_stories(error_class):
    rng = random.Random(5)
    problems = TASK.generate("objects7", 12, seed=8)
    assert sum(plant(problem, error_class, rng) is not None for problem in problems) >= 7


def test_planted_attempts_are_wrong_but_for_lucky_ones():
    rng = random.Random(1)
    for problem in questions()[::6]:
        for error_class in ERROR_CLASSES:
            planted = plant(problem, error_class, rng)
            if planted:
                assert TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky")


# -- single errors, at their place -------------------------------------------------------------------------------------


def test_the_example_is_its_own_gold():
    assert TASK.rationale(BOOKS.question) == GOLD


@pytest.mark.parametrize(
    ("right", "wrong", "step", "segment", "error_class"),
    [
        ("?? red ?? blue ?? (right)\".", "?? blue ?? red ?? (right)\".", "1", "blue ?? red", "misread_statement"),
        ("(left) ? tan", "(left) ? ? tan", "2", "(left) ? ? tan", "misread_statement"),
        ("(left) ? tan", "(left) ?? tan", "2", "(left) ?? tan ?? (right)", "incomplete_pattern"),
        ("(2) The tan", "(2) The pink", "2", "The pink book is the second from the left", "miscopied_statement"),
        ("?? blue ?? pink ?? (right)", "?? blue pink ?? (right)", "4", "blue pink", "misread_statement"),
        ("(left) ?? gray", "(right) ?? gray", "3", "right", "wrong_label"),
        ("(left) ?? gray", "(green) ?? gray", "3", "green", "wrong_label"),
        ("(left) ?? gray", "(lest) ?? gray", "3", "lest", "wrong_label"),
        ("(left) ?? gray", "(oldest) ?? gray", "3", "oldest", "wrong_label"),
        ("?? gray ?? tan", "?? grey ?? tan", "3", "grey", "invented_object"),
        ("?? gray ?? tan", "?? tan ?? tan", "3", "tan ?? tan", "duplicated_object"),
        ("total five", "total four", "5", "four", "wrong_number"),
        ("a tan book, and", "and", "5", "a gray book, a red book, a blue book, and a pink book", "lost_object"),
        ("a tan book, and", "a mat book, and", "5", "a mat book", "invented_object"),
        ("a tan book, and", "a red book, and", "5", "a red book", "duplicated_object"),
        ("(6) Combining (1) and (4)", "(6) Combining (1) and (2)", "6", "(1) and (2)", "wrong_reference"),
        ("(6) Combining (1) and (4)", "(6) Combining (1) and (8)", "6", "(8)", "wrong_reference"),
        ("?? red ?? blue ?? pink", "?? red ?? pink ?? blue", "6", "pink ?? blue", "wrong_order"),
        ("(left) ? tan ?? blue", "(left) ? ? tan ?? blue", "7", "(left) ? ? tan", "wrong_place"),
        ("(left) ? tan ?? blue", "(left) ? tan blue", "7", "tan blue", "unsupported_step"),
        ("(left) ? tan ?? blue", "(left) ? tan ?? red ?? blue", "7", "(2), (5) and (6)",
         "wrong_reference"),
        ("gray tan ?? blue", "gray tan ? blue", "8", "(3) and (7)", "wrong_reference"),
        ("gray tan red blue pink", "gray tan red blue", "9", "(left) gray tan red blue (right)", "lost_object"),
        ("gray tan red blue pink", "gray tan ? red blue pink", "9", "(left) gray tan ? red blue pink (right)",
         "wrong_number"),
        ("is the red book.", "is the blue book.", "10", "the book that is the third from the left is the blue book",
         "misread_ordering"),
        ("third from the left is the red", "leftmost is the gray", "10",
         "the book that is the leftmost is the gray book", "wrong_question"),
        ("(8) Combining", "(9) Combining", "9", "(9)", "missing_step"),
        ("(8) Combining", "(7) Combining", "7", "(7)", "wrong_header"),
        ("(8) Combining", "(8) Mixing up", "8", None, "miscopied_statement"),
        (' (right)".\n(9)', " (right\n(9)", "8", '"(left) gray tan ?? blue ?? pink ?? (right', "unparsable_step"),
        ("The red book is the third from the left. So the answer is (B)", "The tan book is the third from the left. So "
         "the answer is (D)", "final", "The tan book is the third from the left", "inconsistent_final"),
        ("answer is (B)", "answer is (D)", "final", "the answer is (D)", "wrong_option"),
        ("answer is (B)", "answer is (Z)", "final", "the answer is (Z)", "wrong_option"),
        ("So the answer is (B).", "That was easy.", "final", None, "unparsable_step"),
    ],
)  # fmt: skip
def test_single_errors_at_their_place(right, wrong, step, segment, error_class):
    assert GOLD.count(right) >= 1
    attempt = GOLD.replace(right, wrong, 1)
    if step != "final":  # a wrong end, so that the class is not `lucky`
        attempt = attempt.replace("answer is (B)", "answer is (C)")
    verdict = judge(BOOKS, attempt)
    assert (verdict.error_step, verdict.error_class) == (step, error_class)
    assert segment is None or verdict.error_segment == segment
    assert repaired(BOOKS, attempt) == GOLD


# -- attempts that stop early, are empty, or go on ---------------------------------------------------------------------


@settings(max_examples=40)
@given(SEEDS)
def test_an_attempt_that_stops_early_lacks_the_next_step(seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    gold = Attempt.parse(TASK.rationale(problem.question)).steps
    stop = rng.randrange(len(gold))
    attempt = "\n".join(step.line for step in gold[:stop])
    verdict = judge(problem, attempt + rng.choice(["", "\n", "\n \n"]) * bool(stop))
    assert verdict.error_step == gold[stop].header
    assert verdict.error_segment == (gold[stop - 1].line if stop else None)
    assert verdict.error_class == "missing_step"
    assert repaired(problem, attempt) == "\n".join(step.line for step in gold)


@pytest.mark.parametrize("attempt", ["", "\n", "  \n\n", "Answer: Let's think step by step.\n"])
def test_empty_attempts(attempt):
    verdict = judge(BOOKS, attempt)
    assert (verdict.error_step, verdict.error_segment) == ("1", None)
    assert repaired(BOOKS, attempt).endswith(GOLD)


@pytest.mark.parametrize("header", [f"{TASK.answer_header}\n", "Updated Answer: Let's think.\n"])
def test_an_answer_header_is_tolerated(header):
    assert judge(BOOKS, header + GOLD).correct
    attempt = header + GOLD.replace("(left) ? tan ?? blue", "(left) ? ? tan ?? blue")
    assert judge(BOOKS, attempt).error_step == "7"
    assert repaired(BOOKS, attempt) == GOLD


def test_nothing_may_follow_the_final_response():
    attempt = GOLD + "\nFeedback: well done"
    verdict = judge(BOOKS, attempt)
    assert (verdict.error_step, verdict.error_class) == ("final", "lucky")
    assert repaired(BOOKS, attempt) == GOLD


def test_a_stray_line_belongs_to_the_step_before_it():
    lines = GOLD.split("\n")
    attempt = "\n".join([*lines[:4], "so far, so good", *lines[4:]])
    assert judge(BOOKS, attempt).error_step == "4"
    assert repaired(BOOKS, attempt) == GOLD


# -- valid routes ------------------------------------------------------------------------------------------------------


def test_gold_rationales_are_correct():
    for problem in questions():
        gold = TASK.rationale(problem.question)
        assert judge(problem, gold).correct
        assert judge(problem, gold + "\n").correct


def test_the_papers_rationales_are_judged_by_what_follows():
    """Its LLM erred in more than half of them, mostly in what a pattern says."""
    path = REFERENCE / "paper_logical_deduction.jsonl"
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    correct = 0
    for row in rows:
        problem = TASK.parse_question(f"{row['question']}\nOptions:\n{row['options']}")
        verdict = judge(problem, row["rationale"])
        correct += verdict.correct
        if not verdict.correct:
            improved = repaired(problem, row["rationale"])
            assert improved.startswith(lines_before(row["rationale"], verdict.error_step))
    assert 0.35 < correct / len(rows) < 0.6


def _other_ends(text: str, rng: random.Random) -> str:
    """Every pattern written from the other end."""

    def turn(match: re.Match[str]) -> str:
        first, inner, last = match[1], match[2], match[3]
        names = sorted({name for p in questions() for name in read_story(p.question).names}, key=len, reverse=True)
        tokens = re.findall("|".join([*map(re.escape, names), r"\?\??"]), inner)
        return f'"({last}) {" ".join(reversed(tokens))} ({first})"'

    return re.sub(r'"\(([^()]*)\) (.*) \(([^()]*)\)"', turn, text)


def _general_labels(text: str, rng: random.Random) -> str:
    """`left` and `right` where orderings are combined, as the paper's rationales have it."""
    return re.sub(r'(Combining .*)"\([^()]*\) (.*) \([^()]*\)"', r'\1"(left) \2 (right)"', text)


def _shuffled_statements(text: str, rng: random.Random) -> str:
    """The first lines in another order, and the references with them."""
    lines = text.split("\n")
    count = next(i for i, line in enumerate(lines) if "Combining" in line)
    order = rng.sample(range(count), count)
    number = {str(old + 1): str(new + 1) for new, old in enumerate(order)}
    renumbered = [f"({new + 1}) {lines[old].partition(') ')[2]}" for new, old in enumerate(order)]
    rest = [re.sub(r"\((\d+)\)(?= |,)", lambda m: f"({number.get(m[1], m[1])})", line) for line in lines[count:]]
    return "\n".join([*renumbered, *rest])


def _shuffled_references(text: str, rng: random.Random) -> str:
    def shuffle(match: re.Match[str]) -> str:
        headers = re.findall(r"\d+", match[1])
        rng.shuffle(headers)
        return "Combining " + " and ".join(f"({header})" for header in headers) + " we get"

    return re.sub(r"Combining (.*) we get", shuffle, text)


def _capital_the(text: str, rng: random.Random) -> str:
    return text.replace("So the answer", "So The answer")


def _letter_alone(text: str, rng: random.Random) -> str:
    return re.sub(r"\(Final response\) .*(So the answer)", r"(Final response) \1", text)


def _without_conclusion(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    return "\n".join([*lines[:-2], lines[-1]])


def _all_at_once(text: str, rng: random.Random) -> str:
    """One combination of all statements."""
    lines = text.split("\n")
    count = next(i for i, line in enumerate(lines) if "Combining" in line)
    named = ", ".join(f"({i})" for i in range(1, count)) + f" and ({count})"
    pattern = re.search('".*"', lines[-3])[0]
    body = f"({count + 1}) Combining {named} we get the following ordering: {pattern}."
    conclusion = f"({count + 2}) {lines[-2].partition(') ')[2]}"
    return "\n".join([*lines[:count], body, conclusion, lines[-1]])


def _said_again(text: str, rng: random.Random) -> str:
    """The last ordering as a list."""
    lines = text.split("\n")
    pattern = re.search(r'"\([^()]*\) (.*) \([^()]*\)"', lines[-3])[1]
    number = int(lines[-2][1 : lines[-2].index(")")])
    again = f'({number}) According to this ordering, the order is the following: "{pattern}".'
    return "\n".join([*lines[:-2], again, f"({number + 1}) {lines[-2].partition(') ')[2]}", lines[-1]])


def _other_conclusion(text: str, rng: random.Random) -> str:
    """`the quail is the leftmost` for `the bird that is the leftmost is the quail`."""
    return re.sub(
        r"the [\w ]+? (?:that|who) (.*) is ((?:the )?[\w ]+)\.\n", lambda m: f"{m[2]} {m[1]}.\n", text
    )  # fmt: skip


ROUTES = [
    _other_ends, _general_labels, _shuffled_statements, _shuffled_references, _capital_the, _letter_alone,
    _without_conclusion, _all_at_once, _said_again, _other_conclusion,
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=12)
@given(seed=SEEDS)
def test_other_valid_routes_are_not_flagged(route, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    gold = TASK.rationale(problem.question)
    attempt = route(gold, rng)
    verdict = judge(problem, attempt)
    assert verdict.correct, (verdict, attempt)


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=8)
@given(seed=SEEDS)
def test_errors_on_other_routes_are_repaired_on_that_route(route, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    lines = route(TASK.rationale(problem.question), rng).split("\n")
    wrong = rng.randrange(len(lines))
    lines[wrong] = lines[wrong][: len(lines[wrong]) // 3]
    attempt = "\n".join(lines)
    verdict = judge(problem, attempt)
    assert not verdict.correct
    assert repaired(problem, attempt).startswith("".join(line + "\n" for line in lines[:wrong]))


def test_statements_may_be_said_in_other_words_and_left_out_where_they_are_not_needed():
    attempt = GOLD.replace(
        "(1) The red book is to the left of the blue", "(1) The blue book is to the right of the red"
    )
    assert judge(BOOKS, attempt).correct
    cups = TASK.parse_question(
        "There are three cups: a red cup, a blue cup, and a tan cup. The red cup is the leftmost. The blue cup is the "
        "rightmost. The tan cup is to the left of the blue cup.\nOptions:\n(A) The red cup is the leftmost.\n"
        "(B) The tan cup is the leftmost."
    )
    attempt = """(1) The red cup is the leftmost: "(left) red ?? (right)".
(2) According to this ordering, the leftmost cup is the red cup.
(Final response) The red cup is the leftmost. So the answer is (A)."""
    assert judge(cups, attempt).error_class == "lucky"  # no ordering to read it off
    attempt = attempt.replace("(2) According", '(2) By (1) we get: "(left) red ?? (right)".\n(3) According')
    assert judge(cups, attempt).correct


@settings(max_examples=60)
@given(SEEDS)
def test_a_combination_passes_exactly_when_it_fits_every_order_that_its_premises_leave(seed):
    """Against brute force: random patterns after the statements of a question, judged by listing all orders."""
    rng = random.Random(seed)
    problem = rng.choice([p for p in questions() if p.subtask != "objects7"])
    story = read_story(problem.question)
    n = story.n
    lines = TASK.rationale(problem.question).split("\n")[: len(story.statements)]
    used = rng.sample(range(len(story.statements)), rng.randint(1, len(story.statements)))
    things = rng.sample(range(n), rng.randint(2, n))
    if rng.random() < 0.6:  # in the true order, or few would pass
        order = orders_of(n).permutations[story.orders.bit_length() - 1]
        things.sort(key=order.index)
    gaps = [rng.choice(["??", "??", "", "?"]) for _ in range(len(things) + 1)]
    inner = " ".join(
        " ".join(filter(None, pair)) for pair in zip(gaps, [*(story.names[t] for t in things), ""], strict=True)
    )
    named = " and ".join(f"({i + 1})" for i in used)
    first, last = story.labels
    line = f'({len(lines) + 1}) Combining {named} we get the following ordering: "({first}) {inner.strip()} ({last})".'
    verdict = judge(problem, "\n".join([*lines, line]))

    def fits(order):
        places = [-1, *(order.index(thing) for thing in things), n]
        found = [b - a - 1 for a, b in pairwise(places)]
        return all(count >= 0 if gap == "??" else count == len(gap) for gap, count in zip(gaps, found, strict=True))

    def holds(claim, order):
        places = [order.index(thing) for thing in claim.pattern.things]
        if len(places) == 2:
            return places[0] < places[1]
        start, end = claim.pattern.gaps
        return places[0] == start.least if end.open else n - 1 - places[0] == end.least

    left = [o for o in orders_of(n).permutations if all(holds(story.statements[i], o) for i in used)]
    follows = all(fits(order) for order in left)
    assert (verdict.error_class == "missing_step") == follows, (verdict, line)
    if follows:
        assert verdict.error_step == str(len(lines) + 2)


# -- robustness --------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(SEEDS)
def test_corrupted_attempts_are_judged_and_repaired(seed):
    CONTRACT.check_corrupted(seed)


@settings(max_examples=60)
@given(st.text(), st.text(), SEEDS)
def test_any_text_gets_a_verdict_and_a_repair(attempt, feedback, seed):
    CONTRACT.check_any_text(attempt, feedback, seed)


@settings(max_examples=80)
@given(st.lists(st.sampled_from([*_JUNK, *GOLD.split(" "), "\n(2) "]), max_size=60))
def test_any_mixture_of_pieces_gets_a_verdict_and_a_repair(pieces):
    attempt = " ".join(pieces)
    judge(BOOKS, attempt)
    repaired(BOOKS, attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        "(1) " + " " * 200_000 + "x", "(1) " + '"' * 200_000, "(1) Combining (1) " * 20_000,
        '(1) The red book is: "' + "? " * 1_500 + '".', '(1) x: "' + "red " * 900 + '".', "(1) " + "the red " * 450,
        "(1) There are in total: " + "a red book, " * 300, "(" + "1." * 50_000 + "1) x", "(" + "1" * 50_000 + ") x",
        "(1) Combining" + " and" * 900 + ' we get: "red".', "\n" * 20_000, "(Final response) " * 9_999,
        "(Final response) " + "So the answer is " * 200, GOLD.split("\n")[0] + "\n(2) by" + " " * 3_900 + ",",
        "(1) " + "(" * 3_900, "(1) the (" + "a" * 3_900,
    ],
)  # fmt: skip
def test_hostile_attempts_do_not_hang(attempt):
    CONTRACT.check_hostile(BOOKS, attempt)


# -- what the feedback tells IMP ---------------------------------------------------------------------------------------


def test_terminal_feedback_changes_nothing():
    for attempt in (GOLD, "nonsense", ""):
        told = "Step (1) to step (5) are correct. The final response is also correct."
        assert EXPERT.improve(BOOKS, attempt, told) == attempt


@pytest.mark.parametrize("feedback", ["", "Something is wrong.", 'In step (9.9) the part "x" is incorrect.'])
def test_feedback_that_names_no_step_there_is(feedback):
    attempt = GOLD.replace("(left) ? tan ?? blue", "(left) ? ? tan ?? blue")
    assert EXPERT.improve(BOOKS, attempt, feedback) == GOLD
    assert EXPERT.improve(BOOKS, GOLD, feedback) == GOLD


@settings(max_examples=40)
@given(SEEDS)
def test_the_step_that_the_feedback_names_decides_what_is_kept(seed):
    CONTRACT.check_named_step(seed)


def test_a_thousand_judgements_take_about_a_second():
    assert (
        CONTRACT.seconds_to_judge([p for subtask in TASK.subtasks for p in TASK.generate(subtask.name, 67, seed=4)])
        < 1.5
    )
