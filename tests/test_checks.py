"""Feedback that works its checks out: what it says is true, and everything else is as without."""

import itertools
import operator
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.errors import ConfigError
from tripost_core.experts import load_expert
from tripost_core.experts.checks import TASKS_WITH_CHECKS
from tripost_core.experts.checks.multistep_arithmetic import worked_chain, worked_out
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import load_task
from tripost_core.problems.multistep_arithmetic import calculation_links, equation_links, partition
from tripost_core.replay.rows import gold_rows
from tripost_core.stages.problems import problem_row
from tripost_core.trajectory import Feedback

_EQUATION = re.compile(r"(-?\d+) ([-+*]) (-?\d+) = (-?\d+)")
_SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ((-6, "*", 34), "6 * 30 = 180, 6 * 4 = 24, 180 + 24 = 204"),
        ((21, "-", -49), "49 + 20 = 69, 69 + 1 = 70"),
        ((48, "-", 29), "48 - 20 = 28, 28 - 9 = 19"),
        ((-28, "-", -8), "28 - 8 = 20"),
        ((13, "+", 7), "13 + 7 = 20"),
        ((7, "*", -8), None),
        ((0, "-", 32), None),
        ((1, "*", -45), None),
        ((10**7, "+", 5), None),
    ],
)
def test_an_operation_worked_out(operation, text):
    assert worked_out(*operation) == text


@given(st.integers(-99_999, 99_999), st.sampled_from("+-*"), st.integers(-99_999, 99_999))
def test_every_step_of_the_working_is_true_and_it_ends_in_the_result(left, sign, right):
    text = worked_out(left, sign, right)
    result = _SIGNS[sign](left, right)
    if text is None:
        small, large = sorted((abs(left), abs(right)))
        assert large < 10 or small < (2 if sign == "*" else 1)
        return
    for a, sign, b, c in _EQUATION.findall(text):
        assert _SIGNS[sign](int(a), int(b)) == int(c)
    assert int(text.rpartition(" ")[2]) == abs(result)


@given(st.integers(0, 10**6))
def test_a_worked_chain_is_that_of_a_rationale_with_workings(seed):
    task = load_task("multistep_arithmetic")
    (problem,) = task.generate("l3-4d22", 1, seed)
    symbolic, definitions = partition(problem.question)
    values = {}
    for letter, text in definitions.items():
        links = calculation_links(text, {})
        assert re.sub(r" \[[^\]]*\]", "", worked_chain(text)) == " = ".join(links)
        values[letter] = int(links[-1])
    links = equation_links(symbolic, values)
    assert re.sub(r" \[[^\]]*\]", "", worked_chain(links[1])) == " = ".join(links[1:])


@pytest.mark.parametrize("task_name", TASKS_WITH_CHECKS)
def test_verdicts_and_repairs_are_those_without_checks(task_name):
    task, plain = load_task(task_name), load_scripted_expert(task_name)
    expert = load_expert({"checks": True}, task_name, 0)
    assert expert.name == f"{plain.name}-checks"
    rng, worked = random.Random(7), 0
    for subtask in [s.name for s in task.subtasks if s.seen]:
        for problem in task.generate(subtask, 25, 3):
            attempts = [task.rationale(problem.question)]
            for error_class in error_classes(task_name):
                if (planted := plant(problem, error_class, rng)) is not None:
                    attempts.append(planted.attempt)
            for attempt in attempts:
                with_checks, without = expert.feedback(problem, attempt), plain.feedback(problem, attempt)
                sentence = with_checks.sentence(attempt)
                assert sentence.endswith(without.sentence(attempt)) and "\n" not in sentence
                said, meant = Feedback.parse(sentence), Feedback.parse(without.sentence(attempt))
                assert (said.terminal, said.error_step, said.error_segment, said.reason) == (
                    meant.terminal, meant.error_step, meant.error_segment, meant.reason,
                )  # fmt: skip
                worked += bool(with_checks.checks)
                assert expert.improve(problem, attempt, sentence) == plain.improve(problem, attempt, sentence)
                for a, sign, b, c in _EQUATION.findall(with_checks.checks):
                    assert _SIGNS[sign](int(a), int(b)) == int(c)
    assert worked > 300


def test_arithmetic_checks_calculate_the_steps_up_to_the_wrong_one_again():
    task, expert = load_task("multistep_arithmetic"), load_expert({"checks": True}, "multistep_arithmetic", 0)
    problem = task.parse_question("((7 * -2 - -8) * (7 * 5 - 1)) =")
    attempt = task.rationale(problem.question).replace("(-6 * 34) = -204", "(-6 * 34) = -240").replace("-204.", "-240.")
    verdict = expert.feedback(problem, attempt)
    assert verdict.checks == (
        "(2) -6? Let's calculate A = (7 * -2 - -8) = ((7 * -2) - -8) = (-14 - -8) [14 - 8 = 6] = -6. "
        "(3) 34? Let's calculate B = (7 * 5 - 1) = ((7 * 5) - 1) = (35 - 1) [35 - 1 = 34] = 34. "
        "(4) -240? Then, the final equation is (A * B) = (-6 * 34) [6 * 30 = 180, 6 * 4 = 24, 180 + 24 = 204] = -204."
    )
    assert expert.feedback(problem, task.rationale(problem.question)).correct


def test_word_checks_sort_the_steps_up_to_the_wrong_one_again():
    task, expert = load_task("word_sorting"), load_expert({"checks": True}, "word_sorting", 0)
    problem = task.parse_question("Sort the following words alphabetically:\nList: pie elder plum")
    right = task.rationale(problem.question)
    first = '(2) [16; 5 16] We now have: (5) "elder" < (16) ["pie" ? "plum"].'
    assert expert.feedback(problem, right).checks == (
        f'{first} (3) Now sort this subpart ["pie" ? "plum"] by looking at their second letters: '
        '"pie"="i" (9), "plum"="l" (12). (3.1) [9; 9 12] We now have: (9) "pie" < (12) "plum". '
        '(3.2) Hence, we have "pie" < "plum". (4) Hence, we have "elder" < "pie" < "plum".'
    )
    wrong = right.replace('["pie" ? "plum"]', '["pie" ? "pie"]')
    assert expert.feedback(problem, wrong).checks == first


@pytest.mark.parametrize("subtask", ["2-3", "4-7"])
def test_word_checks_of_a_right_attempt_are_its_own_steps_with_workings(subtask):
    task, expert = load_task("word_sorting"), load_expert({"checks": True}, "word_sorting", 0)
    for problem in task.generate(subtask, 40, 9):
        rationale = task.rationale(problem.question)
        said = expert.feedback(problem, rationale).checks
        plain = re.sub(r"(?<=\) )\[[-0-9; ]*\] ", "", said)
        assert plain == " ".join(rationale.split("\n")[1:-1])
        for working in re.findall(r"\[([-0-9; ]*)\]", said):
            lists = [[int(n) for n in text.split(" ")] for text in working.split("; ")]
            assert all(numbers == sorted(set(numbers)) for numbers in lists)
            assert [len(numbers) for numbers in lists] == list(range(1, len(lists) + 1))
            assert all(set(a) < set(b) for a, b in itertools.pairwise(lists))


def test_gold_gets_the_same_kind_of_feedback():
    task = load_task("multistep_arithmetic")
    expert = load_expert({"checks": True}, task.name, 0)
    rows = [problem_row(p) for p in task.generate("l3-4d2", 6, 1)]
    rows = [{**row, "rationale": task.rationale(row["question"])} for row in rows]
    plain, worked = (gold_rows(rows, task, 1, with_feedback=True, expert=e) for e in (None, expert))
    for row, other in zip(plain, worked, strict=True):
        short, long = row["segments"][-1]["text"], other["segments"][-1]["text"]
        assert long.endswith(short.removeprefix("\nFeedback: ")) and len(long) > len(short)


@pytest.mark.parametrize("config", [{"kind": "llm", "model": "m", "checks": True}])
def test_a_model_has_none(config):
    from tripost_core.config import ExpertConfig

    with pytest.raises(ValueError, match="checks belong to kind script"):
        ExpertConfig.model_validate(config)


def test_a_task_without_them_is_named():
    with pytest.raises(ConfigError, match=r"expert\.checks is for scripts of multistep_arithmetic, word_sorting"):
        load_expert({"checks": True}, "date_understanding", 0)
