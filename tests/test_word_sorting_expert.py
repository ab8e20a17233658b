"""FBK and IMP for word sorting: planted mistakes are found where they are, valid routes are left alone, every repair
is right and keeps what stands before the error."""

import json
import random
import re
from functools import cache
from pathlib import Path

import pytest
from expert_contract import Contract, lines_before
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.experts.mistakes.word_sorting import ERROR_CLASSES, plant
from tripost_core.experts.scripted.word_sorting import EXPERT
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import TASK
from tripost_core.trajectory import Attempt

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
SEEDS = st.integers(0, 2**32)


@cache
def questions() -> list[Problem]:
    """Generated lists of every length, and lists that try the rules: prefixes, copies, signs, capitals."""
    unusual = [
        "can canoe you'd you can apple can apple", "a a", "x", "x x x", "ab abc abcd abcde abce aa",
        "Zed zed a.b & a b hence thence [x ? <y>", "sandwich sandstone sandy sand sandals scar scarf",
    ]  # fmt: skip
    generated = [p for subtask in TASK.subtasks for p in TASK.generate(subtask.name, 25, seed=11)]
    return generated + [TASK.parse_question(f"List: {words}") for words in unusual]


_JUNK = ['"', " ? ", " < ", "(1)", "(3.1)", "[", "]", "\n", "é", "\x00", "\u2028", "٣", "(Final response) ",
         "Hence, we have ", "We now have: ", " letters:", ".", "(9.9.9) ", "Feedback: "]  # fmt: skip
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
def test_every_class_can_be_planted_in_most_long_lists(error_class):
    rng = random.Random(5)
    problems = TASK.generate("11-15", 12, seed=8)
    assert sum(plant(problem, error_class, rng) is not None for problem in problems) >= 8


def test_mistakes_are_planted_in_different_steps():
    problem = TASK.generate("11-15", 1, seed=2)[0]
    for error_class in ("lost_word", "copy_error", "wrong_letter", "lucky", "missing_step"):
        rng = random.Random(0)
        steps = {p.error_step for _ in range(40) if (p := plant(problem, error_class, rng))}
        assert len(steps) >= 3, error_class


SEVEN = TASK.parse_question("List: canal bed cat bad car band dog bead")
GOLD = TASK.rationale(SEVEN.question)


@pytest.mark.parametrize(
    ("right", "wrong", "step", "segment", "error_class"),
    [
        ('"cat"="c" (3)', '"cat"="k" (11)', "1", '"cat"="k" (11)', "wrong_letter"),
        ('"dog"="d" (4)', '"dog"="d" (5)', "1", '"dog"="d" (5)', "wrong_number"),
        (', "dog"="d" (4)', "", "1", '"band"="b" (2), "bead"="b" (2)', "lost_word"),
        ('"dog"="d"', '"dig"="d"', "1", '"dig"="d" (4)', "invented_word"),
        ('"canal"="c"', '"cannal"="c"', "1", '"cannal"="c" (3)', "copy_error"),
        ("The first letter", "The second letter", "1", "The second letter", "skipped_letter"),
        ('< (4) "dog"', '< (5) "dog"', "2", '(5) "dog"', "wrong_number"),
        ('(2) ["bed"', '(3) ["bed"', "2", '(3) ["bed" ? "bad" ? "band" ? "bead"]', "wrong_group"),
        (' ? "car"] < (4) "dog"', '] < (4) ["dog" ? "car"]', "2", '(4) ["dog" ? "car"]', "wrong_group"),
        ('(4) "dog"', '(4) ["dog"]', "2", '(4) ["dog"]', "wrong_group"),
        ('(4) "bad" < (14) "band"', '(14) "band" < (4) "bad"', "3.2.1", '(14) "band" < (4) "bad"', "wrong_order"),
        ('(1) ["bad" ? "band"] <', '(1) "bad" < (1) "band" <', "3.1", '(1) "bad" < (1) "band"', "wrong_group"),
        ('(1) ["bad" ? "band"] <', '(1) ["band" < "bad"] <', "3.1", '(1) ["band" < "bad"]', "wrong_order"),
        ('(3.2) Now sort this subpart ["bad"', '(3.2) Now sort this subpart ["bed"', "3.2", '["bed" ? "band"]',
         "wrong_subpart"),
        ('sort this subpart ["canal" ? "cat"', 'sort this subpart ["canal"', "4", '["canal" ? "car"]', "lost_word"),
        ('["bad" ? "band"] by looking at their third', '["bad" ? "band"] by looking at their fourth', "3.2",
         "by looking at their fourth letters", "skipped_letter"),
        ('["bad" ? "band"] by looking at their third', '["bad" ? "band"] by looking at their second', "3.2",
         "by looking at their second letters", "repeated_letter"),
        ('have "bad" < "band" < "bead" < "bed".', 'have ["bad" ? "band"] < "bead" < "bed".', "3.4",
         '"bad" ? "band"', "incomplete_sort"),
        ('"canal" < "car" < "cat" < "dog"', '"canal" < "car" < "dog"', "5", '"car" < "dog"', "lost_word"),
        ('"canal" < "car" < "cat".', '"canal" > "car" < "cat".', "4.4", '"canal" > "car"', "wrong_order"),
        ('"car" < "cat" < "dog"', '"car" < "cat" < "cat" < "dog"', "5", '"cat" < "cat"', "duplicated_word"),
        ("canal car cat dog.", "canal cat car dog.", "final", "canal cat car", "inconsistent_final"),
        ("(4.1) We now have", "(4.3) We now have", "4.3", "We now have:", "missing_step"),
        ("(4.1) We now have", "(3.1) We now have", "3.1", "We now have:", "wrong_header"),
        ("(4.1) We now have", "(4.1) We naw hove", "4.1", 'We naw hove: (1) ["canal" ? "cat" ? "car"].',
         "unparsable_step"),
        ("(4.1) We now have: ", "We now have: ", "4.1", 'We now have: (1) ["canal" ? "cat" ? "car"].',
         "unparsable_step"),
        ("(4.1) We now have: (1)", "(4.1) We now have: 1", "4.1", '1 ["canal" ? "cat" ? "car"].',
         "unparsable_step"),
    ],
)  # fmt: skip
def test_single_errors_at_their_place(right, wrong, step, segment, error_class):
    assert GOLD.count(right) >= 1
    attempt = GOLD.replace(right, wrong, 1)
    if step != "final":  # a wrong end, so that the class is not `lucky`
        attempt = attempt.replace("bad band bead bed", "band bad bead bed")
    verdict = judge(SEVEN, attempt)
    assert (verdict.error_step, verdict.error_segment, verdict.error_class) == (step, segment, error_class)
    assert repaired(SEVEN, attempt) == GOLD


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
    verdict = judge(SEVEN, attempt)
    assert (verdict.error_step, verdict.error_segment) == ("1", None)
    assert repaired(SEVEN, attempt).endswith(GOLD)


@pytest.mark.parametrize("header", ["Answer: Let's think step by step.\n", "Updated Answer: Let's think.\n"])
def test_an_answer_header_is_tolerated(header):
    assert judge(SEVEN, header + GOLD).correct
    attempt = header + GOLD.replace('"car"="r" (18)', '"car"="r" (19)')
    assert judge(SEVEN, attempt).error_step == "4.2"
    assert repaired(SEVEN, attempt) == GOLD


def test_nothing_may_follow_the_final_response():
    attempt = GOLD + "\nFeedback: well done"
    verdict = judge(SEVEN, attempt)
    assert (verdict.error_step, verdict.error_class) == ("final", "lucky")
    assert repaired(SEVEN, attempt) == GOLD


def test_a_stray_line_belongs_to_the_step_before_it():
    lines = GOLD.split("\n")
    attempt = "\n".join([*lines[:4], "so far, so good", *lines[4:]])
    verdict = judge(SEVEN, attempt)
    assert verdict.error_step == "3.1"
    assert repaired(SEVEN, attempt) == GOLD


# -- valid routes ------------------------------------------------------------------------------------------------------


def test_published_rationales_are_correct():
    path = REFERENCE / "paper_word_sorting.jsonl"
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    for row in map(json.loads, path.read_text().splitlines()):
        assert EXPERT.feedback(TASK.parse_question(row["question"]), row["rationale"]).correct


def test_gold_rationales_are_correct_also_when_followed_line_by_line():
    for problem in questions():
        gold = TASK.rationale(problem.question)
        assert judge(problem, gold).correct
        assert judge(problem, gold + "\n").correct


def _shuffled_brackets(text: str, rng: random.Random) -> str:
    def shuffle(match: re.Match[str]) -> str:
        words = match[1].split(" ? ")
        rng.shuffle(words)
        return "[" + " ? ".join(words) + "]"

    def shuffle_items(match: re.Match[str]) -> str:
        items = match[2].split(", ")
        rng.shuffle(items)
        return match[1] + ", ".join(items) + "."

    text = re.sub(r'\[("[^"]*"(?: \? "[^"]*")*)\]', shuffle, text)
    return re.sub(r"(letters?: )(.*)\.$", shuffle_items, text, flags=re.MULTILINE)


def _flat_numbers(text: str, rng: random.Random) -> str:
    *steps, final = Attempt.parse(text).steps
    return "\n".join([*(f"({n}) {step.body}" for n, step in enumerate(steps, start=1)), final.line])


def _older_dialect(text: str, rng: random.Random) -> str:
    return re.sub(
        r"Now sort this subpart (\[.*?\]) by",
        lambda m: rng.choice((f"Now let's sort this subpart {m[1]} by", f"Sort {m[1]} again by")),
        text,
    )


def _blocks(text: str) -> tuple[list[str], list[list[str]], list[str]]:
    """The lines of steps (1) and (2), of each top-level subpart, and of the end."""
    lines = text.split("\n")
    blocks: list[list[str]] = []
    for line in lines[2:-2]:
        if re.match(r"\(\d+\) ", line):
            blocks.append([])
        blocks[-1].append(line)
    return lines[:2], blocks, lines[-2:]


def _swapped_siblings(text: str, rng: random.Random) -> str:
    """The top-level subparts in another order, each with the number it had."""
    start, blocks, end = _blocks(text)
    rng.shuffle(blocks)
    return "\n".join([*start, *(line for block in blocks for line in block), *end])


def _renumbered_siblings(text: str, rng: random.Random) -> str:
    """The top-level subparts in another order, with new numbers."""
    start, blocks, end = _blocks(text)
    rng.shuffle(blocks)
    renumbered = [
        re.sub(r"^\(\d+", f"({number}", line) for number, block in enumerate(blocks, start=3) for line in block
    ]
    return "\n".join([*start, *renumbered, *end])


def _repeated_sibling_headers(text: str, rng: random.Random) -> str:
    """The habit of the published data: all siblings within a subpart have the header of the first."""
    lines = text.split("\n")
    first: dict[str, int] = {}
    for i, line in enumerate(lines):
        match = re.match(r"\((\d+\.(\d+)((?:\.\d+)*))\) ", line)
        if not match:
            first.clear()
            continue
        number = int(match[2])
        if "Now sort" in line and not match[3] and "We now have" in lines[i + 1] and lines[i + 1].startswith(
            f"({match[1]}.1)"
        ):  # fmt: skip
            first.setdefault("number", number)
        if "number" in first and number >= first["number"] and not (not match[3] and "Hence" in line):
            top = match[1].split(".")[0]
            lines[i] = f"({top}.{first['number']}{match[3]}) {line[match.end() :]}"
    return "\n".join(lines)


def _without_conclusions_of_subparts(text: str, rng: random.Random) -> str:
    """The order of a subpart is known without saying it again; only top-level ones, whose numbers stay in order."""
    start, blocks, end = _blocks(text)
    return "\n".join([*start, *(line for block in blocks for line in block[:-1]), *end])


def _with_everything_said_again(text: str, rng: random.Random) -> str:
    """One more grouping by first letters, now in order, before the last conclusion."""
    *start, conclusion, final = text.split("\n")
    number = int(conclusion[1 : conclusion.index(")")])
    words = re.findall(r'"([^"]*)"', conclusion)
    letters = dict(re.findall(r'"([^"]*)"="[^"]*" \((-?\d+)\)', start[0]))
    again = " < ".join(f'({letters[word]}) "{word}"' for word in words)
    after = conclusion[conclusion.index(")") + 1 :]
    return "\n".join([*start, f"({number}) We now have: {again}.", f"({number + 1}){after}", final])


ROUTES = [
    _shuffled_brackets, _flat_numbers, _older_dialect, _swapped_siblings, _renumbered_siblings,
    _repeated_sibling_headers, _without_conclusions_of_subparts, _with_everything_said_again,
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=12)
@given(seed=SEEDS)
def test_other_valid_routes_are_not_flagged(route, seed):
    rng = random.Random(seed)
    problem = rng.choice(questions())
    attempt = route(TASK.rationale(problem.question), rng)
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
    lines[wrong] = lines[wrong][: len(lines[wrong]) // 2]
    attempt = "\n".join(lines)
    verdict = judge(problem, attempt)
    assert not verdict.correct
    assert repaired(problem, attempt).startswith("".join(line + "\n" for line in lines[:wrong]))


def test_groupings_may_be_left_out_where_the_numbers_say_so():
    attempt = """(1) The first letter: "cat"="c" (3), "car"="c" (3).
(2) Now sort this subpart ["cat" ? "car"] by looking at their second letters: "cat"="a" (1), "car"="a" (1).
(2.1) Now sort this subpart ["car" ? "cat"] by looking at their third letters: "cat"="t" (20), "car"="r" (18).
(2.2) Hence, we have "car" < "cat".
(3) Hence, we have "car" < "cat".
(Final response) So the answer is: car cat."""
    assert judge(TASK.parse_question("List: cat car"), attempt).correct


def test_conclusions_may_be_nested():
    attempt = GOLD.replace('(5) Hence, we have "bad" < "band" <', '(5) Hence, we have ["bad" < "band"] <')
    assert judge(SEVEN, attempt).correct


# -- robustness --------------------------------------------------------------------------------------------------------


@settings(max_examples=120)
@given(SEEDS)
def test_corrupted_attempts_are_judged_and_repaired(seed):
    CONTRACT.check_corrupted(seed)


@settings(max_examples=60)
@given(st.text(), st.text(), SEEDS)
def test_any_text_gets_a_verdict_and_a_repair(attempt, feedback, seed):
    CONTRACT.check_any_text(attempt, feedback, seed)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([*_JUNK, *GOLD.split(" "), "Now sort this subpart ", "\n(2) "]), max_size=60))
def test_any_mixture_of_pieces_gets_a_verdict_and_a_repair(pieces):
    attempt = "".join(pieces)
    judge(SEVEN, attempt)
    repaired(SEVEN, attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        "(1) " + " " * 200_000 + "x", "(1) " + '"' * 200_000, "(1) Now sort [" * 20_000,
        '(1) We now have: (1) "' + 'a" < (1) "' * 20_000, "(1) first letters " * 10_000, "(" + "1." * 50_000 + "1) x",
        "(" + "1" * 50_000 + ") x", "(1) Hence, we have " + '["a" < ' * 20_000, "\n" * 20_000,
        "(Final response) " * 9_999,
        '(1) The first letter: "' + "a" * 100_000 + '"="a" (1).', GOLD.split("\n")[0] + "\n(2) hence" + " " * 200_000,
    ],
)  # fmt: skip
def test_hostile_attempts_do_not_hang(attempt):
    CONTRACT.check_hostile(SEVEN, attempt)


def test_deeply_nested_groups():
    problem = TASK.parse_question("List: " + " ".join("a" * n for n in range(1, 65)))
    gold = TASK.rationale(problem.question)
    assert judge(problem, gold).correct
    half = "\n".join(gold.split("\n")[:70])
    assert repaired(problem, half) == gold


# -- what the feedback tells IMP ---------------------------------------------------------------------------------------


def test_terminal_feedback_changes_nothing():
    for attempt in (GOLD, "nonsense", ""):
        told = "Step (1) to step (5) are correct. The final response is also correct."
        assert EXPERT.improve(SEVEN, attempt, told) == attempt


@pytest.mark.parametrize("feedback", ["", "Something is wrong.", 'In step (9.9) the part "x" is incorrect.'])
def test_feedback_that_names_no_step_there_is(feedback):
    attempt = GOLD.replace('"car"="r" (18)', '"car"="r" (19)')
    assert EXPERT.improve(SEVEN, attempt, feedback) == GOLD
    assert EXPERT.improve(SEVEN, GOLD, feedback) == GOLD


@settings(max_examples=40)
@given(SEEDS)
def test_the_step_that_the_feedback_names_decides_what_is_kept(seed):
    CONTRACT.check_named_step(seed)


def test_a_thousand_judgements_take_less_than_a_second():
    assert CONTRACT.seconds_to_judge([p for s in ("2-3", "4-7") for p in TASK.generate(s, 100, seed=4)]) < 1
