"""FBK and IMP of multistep arithmetic: every planted mistake is found where it was planted, no valid route is
flagged, every repair is right and keeps what came before, and nothing that is fed in raises or takes long."""

import json
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.experts.base import Verdict
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems.multistep_arithmetic import TASK
from tripost_core.trajectory import Attempt, Feedback

EXPERT = load_scripted_expert("multistep_arithmetic")
REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference" / "paper_multistep_arithmetic.jsonl"
PROBLEMS = [p for subtask in TASK.subtasks for p in TASK.generate(subtask.name, 6, seed=11)]
ODD_QUESTIONS = [
    "(1 + 2)",
    "(1 + 2) * 3",
    "((5) - -(2 - 3))",
    "((0 * 3 - 4) * (0 * 2))",
    "(((1 + 2) * 3) - (4 * 5))",
]
ODD_QUESTIONS += ["((1 + 2 - 3) * (1 + 2 - 3))", "(-(3 + 4) - -(1 - 9))"]
ANY_PROBLEM = st.sampled_from(PROBLEMS + [TASK.parse_question(question) for question in ODD_QUESTIONS])
SEEDS = st.integers(0, 2**32)

PROBLEM = TASK.parse_question("((-2 - -3 * -7) - (-5 * -4 - 2)) =")
GOLD = TASK.rationale(PROBLEM.question)
PARTITION, CALCULATE_A, CALCULATE_B, EQUATION, FINAL_LINE = GOLD.split("\n")


def check_verdict(problem, attempt) -> Verdict:
    """The verdict, after everything that must hold of any verdict and of the repair that follows it."""
    verdict = EXPERT.feedback(problem, attempt)
    sentence = verdict.sentence(attempt)
    parsed = Feedback.parse(sentence)
    improved = EXPERT.improve(problem, attempt, sentence)
    if verdict.correct:
        assert parsed.terminal and TASK.is_right(attempt, problem.answer) and improved == attempt
        return verdict
    assert (parsed.error_step, parsed.error_segment or None) == (verdict.error_step, verdict.error_segment)
    assert parsed.reason == verdict.reason
    assert re.fullmatch("[a-z_]+", verdict.error_class)
    lines = attempt.split("\n")
    if verdict.error_segment is None:
        assert verdict.error_step == "1" and not attempt.removeprefix(TASK.answer_header).strip()
    else:
        assert verdict.error_segment.strip() == verdict.error_segment != ""
        assert any(verdict.error_segment in line for line in lines)
    assert EXPERT.feedback(problem, improved).correct, improved
    assert TASK.is_right(improved, problem.answer)
    return verdict


# What is right.


def test_gold_rationales_are_correct():
    for problem in PROBLEMS:
        assert check_verdict(problem, TASK.rationale(problem.question)).correct


def test_reference_rationales_are_correct():
    if not REFERENCE.exists():
        pytest.skip("the reference data folder (shared/reference) is not here")
    for line in REFERENCE.read_text().splitlines()[::2]:
        row = json.loads(line)
        assert EXPERT.feedback(TASK.parse_question(row["question"]), row["rationale"]).correct


def chain(letter, links):
    return f"Let's calculate {letter} = {' = '.join(links)}."


def numbered(bodies, answer):
    lines = [f"({number}) {body}" for number, body in enumerate(bodies, start=1)]
    return "\n".join([*lines, f"(Final response) So the answer is {answer}."])


@given(ANY_PROBLEM, SEEDS)
@settings(max_examples=60, deadline=None)
def test_other_names_orders_and_lengths_of_chains_are_valid(problem, seed):
    """Letters renamed, calculated in any order, links left out or said twice, brackets and spaces added."""
    rng = random.Random(seed)
    steps = [step.body for step in Attempt.parse(TASK.rationale(problem.question)).steps]
    rename = dict(zip("ABCDEFGH", rng.sample("ABCDEFGHKXYZ", 8), strict=True))
    steps = [re.sub(r"\b[A-H]\b", lambda m: rename[m[0]], step) for step in steps]
    calculations = steps[1:-2]
    rng.shuffle(calculations)

    def vary(step):
        head, *links, last = step.removesuffix(".").split(" = ")
        kept = [link for link in links if rng.random() < 0.6]
        if "equation" in head:  # the symbolic form is part of the head
            kept = [link for link in kept if not re.search("[A-Z]", link)]
        kept = [link for link in kept for _ in range(rng.choice([1, 1, 1, 2]))]
        kept = [f"({link})" if rng.random() < 0.1 else link for link in kept]
        kept = [link.replace(" ", rng.choice(["", " ", "  "])) if rng.random() < 0.1 else link for link in kept]
        return " = ".join([head, *kept, rng.choice([last, last, f"({last})"])]) + "."

    attempt = numbered([steps[0], *map(vary, calculations), vary(steps[-2])], problem.answer)
    verdict = check_verdict(problem, attempt)
    assert verdict.correct, (attempt, verdict)


VALID = {
    "no links": f"{PARTITION}\n(2) A = -23\n(3) So B = 18.\n(4) Then, the final equation is -41.\n{FINAL_LINE}",
    "one letter": numbered(
        [
            'This equation can be written as "A", where A = ((-2 - -3 * -7) - (-5 * -4 - 2)).',
            "Let's calculate A = ((-2 - -3 * -7) - (-5 * -4 - 2)) = (-23 - 18) = -41.",
        ],
        -41,
    ),
    "more letters": numbered(
        [
            'This equation can be written as "(A - (B - C))", where A = (-2 - -3 * -7), B = -5 * -4 and C = 2.',
            "B = 20.",
            "B - C = 20 - 2 = 18.",
            "Let's calculate A = -2 - 21 = -23.",
            "Then, the final equation is A - (B - C) = -23 - 18 = -41.",
        ],
        -41,
    ),
    "letters made of letters": numbered(
        [
            'This equation can be written as "E", where E = (A - B), A = (-2 - -3 * -7) and B = (-5 * -4 - 2).',
            "Let's calculate A = -23.",
            "Let's calculate B = (20 - 2) = 18.",
            "Let's calculate E = (A - B) = (-23 - 18) = -41.",
        ],
        -41,
    ),
    "a new letter on the way": "\n".join(
        [
            PARTITION,
            CALCULATE_A,
            CALCULATE_B,
            "(4) Let's calculate C = (A - B) = (-23 - 18) = -41.",
            "(5) Then, the final equation is C = -41.",
            FINAL_LINE,
        ]
    ),
    "no letters": numbered(
        [
            "Let's calculate (-2 - -3 * -7) = (-2 - 21) = -23.",
            "Let's calculate (-5 * -4 - 2) = 18.",
            "Then, the final equation is (-23 - 18) = -41.",
        ],
        -41,
    ),
    "one operation a step": numbered(
        ["-3 * -7 = 21", "-2 - 21 = -23", "-5 * -4 = 20", "20 - 2 = 18", "-23 - 18 = -41"], -41
    ),
    "a definition in the final equation": "\n".join(
        [
            PARTITION,
            CALCULATE_A,
            "(3) Then, the final equation is (A - B) = (-23 - (-5 * -4 - 2)) = (-23 - 18) = -41.",
            FINAL_LINE,
        ]
    ),
    "the final equation in two steps": "\n".join(
        [
            PARTITION,
            CALCULATE_A,
            CALCULATE_B,
            "(4) Then, the final equation is (A - B) = (-23 - 18).",
            "(5) (-23 - 18) = -41.",
            FINAL_LINE,
        ]
    ),
    "a letter in two steps": "\n".join(
        [
            PARTITION,
            "(2) Let's calculate A = (-2 - 21).",
            "(3) Let's calculate A = (-2 - 21) = -23.",
            CALCULATE_B.replace("(3)", "(4)", 1),
            EQUATION.replace("(4)", "(5)", 1),
            FINAL_LINE,
        ]
    ),
    "a letter at a time": GOLD.replace("(-23 - 18)", "(-23 - B) = (-23 - 18)"),
    "signs resolved": GOLD.replace("(-2 - 21) = ", "-(2 + 21) = ").replace("(-23 - 18) =", "(-18 + -23) ="),
    "final equation commuted": GOLD.replace("is (A - B) =", "is (-B + A) ="),
    "answer header": f"{TASK.answer_header}\n{GOLD}",
    "updated header and blank lines": f"Updated {TASK.answer_header}\n\n{GOLD}\n",
    "windows line ends": GOLD.replace("\n", "\r\n"),
    "typographic signs": GOLD.replace('"', "”").replace("'", "’").replace("-", "−").replace("*", "×"),
    "no full stops": GOLD.replace(".\n", "\n").removesuffix("."),
}


@pytest.mark.parametrize("route", VALID)
def test_valid_routes_are_not_flagged(route):
    verdict = EXPERT.feedback(PROBLEM, VALID[route])
    assert verdict.correct, verdict
    assert EXPERT.improve(PROBLEM, VALID[route], verdict.sentence(VALID[route])) == VALID[route]


# What is wrong.


@pytest.mark.parametrize("error_class", error_classes("multistep_arithmetic"))
def test_planted_mistakes_are_found_where_they_were_planted(error_class):
    steps = set()
    for number, problem in enumerate(PROBLEMS):
        planted = plant(problem, error_class, random.Random(number))
        assert planted is not None and planted.error_class == error_class
        verdict = check_verdict(problem, planted.attempt)
        assert (verdict.error_step, verdict.error_class) == (planted.error_step, error_class), planted
        attempt = Attempt.parse(planted.attempt)
        index = attempt.index_of(planted.error_step)
        assert verdict.error_segment in attempt.steps[-1 if index is None else index].line
        kept = [step.line for step in attempt.before(planted.error_step)]
        improved = EXPERT.improve(problem, planted.attempt, verdict.sentence(planted.attempt)).split("\n")
        assert improved[: len(kept)] == kept
        assert (
            TASK.is_right(planted.attempt, problem.answer) == (verdict.error_class == "lucky")
            or index is None
            or (error_class not in {"calculation", "copy", "algebraic", "wrong_order", "wrong_substitution"})
        )
        steps.add(planted.error_step)
    only_one = {"wrong_partition": {"1"}, "inconsistent_final": {"final"}}
    assert steps == only_one.get(error_class, steps) and (len(steps) > 1 or error_class in only_one)


def test_planting_is_deterministic_and_has_no_place_where_there_is_none():
    first, second = (plant(PROBLEMS[0], "copy", random.Random(3)) for _ in range(2))
    assert first == second and first != plant(PROBLEMS[0], "copy", random.Random(4))
    assert plant(TASK.parse_question("((5) - (2)) ="), "missing_term", random.Random(0)) is None


WRONG = {
    # name: (attempt, step, segment, class)
    "empty": ("", "1", None, "missing_step"),
    "only a header": (TASK.answer_header, "1", None, "missing_step"),
    "stops after step 1": (PARTITION, "2", PARTITION, "missing_step"),
    "stops before the equation": ("\n".join([PARTITION, CALCULATE_A, CALCULATE_B]), "4", CALCULATE_B, "missing_step"),
    "stops before the answer": (GOLD.removesuffix(f"\n{FINAL_LINE}"), "final", EQUATION, "missing_step"),
    "no final equation": (GOLD.replace(f"{EQUATION}\n", ""), "final", "the answer is -41", "missing_step"),
    "no partition": (GOLD.replace(f"{PARTITION}\n", ""), "2", "(2)", "missing_step"),
    "answer in the middle of a link": (
        GOLD[: GOLD.index(" 2) = 18")],
        "3",
        "((-5 * -4) - 2) = (20 -",
        "unparsable_step",
    ),
    "wrong sum": (GOLD.replace("(20 - 2) = 18", "(20 - 2) = 17"), "3", "(20 - 2) = 17", "lucky"),
    "copied wrongly, product with zero": (
        numbered(
            [
                'This equation can be written as "(A + B)", where A = (5 * 0 * 7) and B = (1 + 1 + 1).',
                "Let's calculate A = (5 * 0 * 3) = ((5 * 0) * 3) = (0 * 3) = 0.",
                "Let's calculate B = 3.",
                "Then, the final equation is (A + B) = (0 + 3) = 3.",
            ],
            3,
        ),
        "2",
        "A = (5 * 0 * 3)",
        "lucky",
    ),
    "partition of the same value": (
        numbered(
            ['This equation can be written as "(A * B)", where A = (5 * 0 * 7) and B = (1 + 1 + 1).'] * 2, 3
        ),
        "1",
        "(A * B)",
        "lucky",
    ),
    "partition commuted": (GOLD.replace("(-5 * -4 - 2).\n", "(-4 * -5 - 2).\n"), "1", "B = (-4 * -5 - 2)", "lucky"),
    "letter from nowhere": (GOLD.replace("calculate B", "calculate Z"), "3", "Z = (-5 * -4 - 2)", "unknown_letter"),
    "part that nobody asked for": (
        GOLD.replace(" and B = (-5 * -4 - 2).", ", B = (-5 * -4 - 2) and C = (1 + 1)."),
        "1",
        "C = (1 + 1)",
        "lucky",
    ),
    "letter defined twice": (GOLD.replace("and B", "and A = (1) and B"), "1", "A = (1)", "lucky"),
    "letters in a circle": (
        GOLD.replace("B = (-5 * -4 - 2).", "B = (A - A), C = D and D = C."),
        "1",
        "(A - B)",
        "lucky",
    ),
    "letter not calculated": (
        "\n".join([PARTITION, CALCULATE_A, EQUATION.replace("(4)", "(3)", 1), FINAL_LINE]),
        "3",
        "(A - B) = (-23 - 18)",
        "uncalculated_letter",
    ),
    "equation turned round": (GOLD.replace("is (A - B)", "is (B - A)"), "4", "(B - A)", "lucky"),
    "value of another letter": (GOLD.replace("(-23 - 18)", "(-23 - -23)"), "4", "(A - B) = (-23 - -23)", "lucky"),
    "right numbers in the wrong places": (
        GOLD.replace("(-23 - 18)", "(18 - -23)"),
        "4",
        "(A - B) = (18 - -23)",
        "lucky",
    ),
    "fraction": (GOLD.replace("(20 - 2) = 18", "(20 - 2) = 18.0"), "3", "(20 - 2) = 18.0", "unparsable_step"),
    "no number at the end": (GOLD.replace(" = 18.", "."), "3", "((-5 * -4) - 2) = (20 - 2)", "unfinished_step"),
    "cut in the last header": (GOLD[: GOLD.index("response")], "final", "(Final", "unparsable_step"),
    "second answer": (f"{GOLD}\n{FINAL_LINE}", "final", "So the answer is -41.", "trailing_text"),
    "text after the answer": (f"{GOLD}\nFeedback: fine.", "final", "So the answer is -41.", "trailing_text"),
    "step after the answer": (f"{GOLD}\n(5) B = 18.", "5", "(5) B = 18.", "trailing_text"),
    "header without brackets": (GOLD.replace("(3) ", "3) "), "3", CALCULATE_B[1:], "unparsable_step"),
    "dotted header": (GOLD.replace("(3) ", "(2.1) "), "2.1", "(2.1)", "numbering"),
    "answer that is no number": (GOLD.replace("is -41.", "is A."), "final", "So the answer is A.", "unparsable_step"),
    "huge number": (GOLD.replace("= -41.", f"= {'9' * 4999}."), "4", f"(-23 - 18) = {'9' * 987}", "unparsable_step"),
    "deep brackets": (GOLD.replace("= -41.", f"= {'(' * 70}-41{')' * 70}."), "4", None, "unparsable_step"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_attempts(name):
    attempt, step, segment, error_class = WRONG[name]
    problem = PROBLEM if "5 * 0 * 7" not in attempt else TASK.parse_question("((5 * 0 * 7) + (1 + 1 + 1)) =")
    verdict = check_verdict(problem, attempt)
    assert (verdict.error_step, verdict.error_class) == (step, error_class), verdict
    assert segment is None or verdict.error_segment == segment


def test_copy_errors_are_blamed_on_the_step_where_they_are_made():
    attempt = numbered(
        [
            PARTITION[4:],
            "Let's calculate A = (-2 - -3 * -6) = (-2 - (-3 * -6)) = (-2 - 18) = -20.",
            CALCULATE_B[4:],
            "Then, the final equation is (A - B) = (-20 - 18) = -38.",
        ],
        -38,
    )
    verdict = check_verdict(PROBLEM, attempt)
    assert (verdict.error_step, verdict.error_class) == ("2", "copy")
    assert verdict.error_segment == "A = (-2 - -3 * -6)" and "-7" in verdict.reason
    assert EXPERT.improve(PROBLEM, attempt, verdict.sentence(attempt)) == GOLD


# Repairs.


def test_repair_keeps_letters_order_and_partition_of_the_attempt():
    kept = '(1) This equation can be written as "X - Y", where Y = (-5 * -4 - 2) and X = -2 - -3 * -7.\n(2) So Y = 18.'
    improved = EXPERT.improve(PROBLEM, f"{kept}\n(3) X = 5.", 'In step (3) the part "X = 5" is incorrect.')
    assert improved == (
        f"{kept}\n(3) Let's calculate X = (-2 - -3 * -7) = (-2 - (-3 * -7)) = (-2 - 21) = -23.\n"
        "(4) Then, the final equation is X - Y = -23 - 18 = (-23 - 18) = -41.\n(Final response) So the answer is -41."
    )


def test_feedback_of_other_sources_is_followed():
    wrong = GOLD.replace("(20 - 2) = 18", "(20 - 2) = 17")
    told = "Step 1 is correct. In step (2) the part 'A' is incorrect. This is because 'it is'."
    assert EXPERT.improve(PROBLEM, wrong, told) == GOLD
    later = EXPERT.improve(PROBLEM, wrong, 'In step (4) the part "x" is incorrect.')
    assert later.split("\n")[:3] == wrong.split("\n")[:3]  # as told, and true to what the kept steps claim
    assert later.split("\n")[3:] == [
        EQUATION.replace("18", "17").replace("41", "40"),
        FINAL_LINE.replace("41", "40"),
    ]
    for unclear in ("", "Hm.", "There is a mistake in (3)."):
        assert EXPERT.improve(PROBLEM, wrong, unclear) == GOLD
        assert EXPERT.improve(PROBLEM, GOLD, unclear) == GOLD
    terminal = "Step (1) to step (4) are correct, and the final response is also correct."
    assert EXPERT.improve(PROBLEM, wrong, terminal) == wrong


CHARACTERS = "0123456789()+-*=., ABCDZ\"'xand\n−×é\u2028\x00\t[]~٣"


@given(ANY_PROBLEM, SEEDS)
@settings(max_examples=150, deadline=None)
def test_corrupted_attempts_are_judged_and_repaired(problem, seed):
    """Lines deleted, doubled, swapped, taken from elsewhere; text cut short; characters changed."""
    rng = random.Random(seed)
    attempt = TASK.rationale(problem.question)
    planted = plant(problem, rng.choice(error_classes(problem.task)), rng)
    if planted and rng.random() < 0.4:
        attempt = planted.attempt
    for _ in range(rng.choice([1, 1, 2, 3])):
        lines = attempt.split("\n")
        index = rng.randrange(len(lines))
        kind = rng.choice(["character", "cut", "delete", "double", "swap", "foreign"])
        if kind == "character" and attempt:
            at = rng.randrange(len(attempt))
            attempt = attempt[:at] + rng.choice([*CHARACTERS, ""]) + attempt[at + rng.randrange(2) :]
        elif kind == "cut":
            attempt = attempt[: rng.randrange(len(attempt) + 1)]
        else:
            if kind == "delete":
                del lines[index]
            elif kind == "double":
                lines.insert(rng.randrange(len(lines)), lines[index])
            elif kind == "swap":
                other = rng.randrange(len(lines))
                lines[index], lines[other] = lines[other], lines[index]
            else:
                lines[index] = rng.choice(TASK.rationale(rng.choice(PROBLEMS).question).split("\n"))
            attempt = "\n".join(lines)
    check_verdict(problem, attempt)


FRAGMENTS = st.sampled_from(
    [
        "(1) ",
        "(2) ",
        "(3) ",
        "(Final response) ",
        "\n",
        "Let's calculate ",
        "A",
        "B",
        " = ",
        "(",
        ")",
        "18",
        "-",
        "*",
        'This equation can be written as "',
        '", where ',
        " and ",
        "Then, the final equation is ",
        "So the answer is ",
        ".",
    ]
)


@given(st.one_of(st.text(max_size=200), st.lists(FRAGMENTS, max_size=40).map("".join)), st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_arbitrary_text_never_raises(attempt, feedback):
    check_verdict(PROBLEM, attempt)
    EXPERT.improve(PROBLEM, attempt, feedback)
    EXPERT.improve(PROBLEM, attempt, f'In step (2) the part "{feedback}" is incorrect.')


@pytest.mark.parametrize(
    "attempt",
    [
        "(1) " + "(" * 10**6,
        "(1) " + "9" * 10**6,
        "(1) " + "= " * 10**5,
        "(1) " + "word " * 3900 + "A = 5",
        "(1) " + '"' * 19_000 + " where",
        '(1) written "A" where' + " " * 18_000 + "A = 3",
        f"{PARTITION}\n(2) A = " + "*".join(["9" * 149] * 20) + " = 3",
        f"{PARTITION}\n(2) A = " + "-" * 3900 + "5",
        f"{PARTITION}\n(2) A = " + "1 + " * 390 + "1 = -23",
        f"{PARTITION}\n(2) A = " + " = ".join(["-23"] * 3000) + "5",
        '(1) written as "A", where ' + ", ".join(f"{chr(65 + i)} = {chr(66 + i)} * {chr(66 + i)}" for i in range(25)),
        "(1) written as \"A\", where " + ", ".join(f"A{i} = A{i + 1}" for i in range(900)),
        "\n".join(f"({k}) (-2 - 21) = -23 = -23 = -23." for k in range(1, 1500)),
        GOLD.replace("is -41.", "is -41" + " " * 19_000 + "x"),
        "(" + "1." * 5000 + "1) x",
    ],
    ids=lambda attempt: f"{attempt[:24]!r}",
)  # fmt: skip
def test_monstrous_attempts_are_judged_in_bounded_time(attempt):
    start = time.process_time()
    assert not check_verdict(PROBLEM, attempt).correct
    assert time.process_time() - start < 8


def test_a_thousand_verdicts_take_about_a_second():
    rows = [(p, TASK.rationale(p.question)) for p in TASK.generate("l3-4d2", 500, 5) + TASK.generate("l3-4d22", 500, 5)]
    start = time.process_time()
    assert all(EXPERT.feedback(problem, attempt).correct for problem, attempt in rows)
    assert time.process_time() - start < 3  # 0.5 s on an idle core
