"""Feedback that works its checks out: what it says is true, and everything else is as without."""

import itertools
import operator
import random
import re
from collections import Counter
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_tables import balanced, filtered
from toys import student_trajectory

from tripost_core.config import BalanceConfig
from tripost_core.editing import OPEN, improve, judge
from tripost_core.errors import ConfigError
from tripost_core.experts import load_expert
from tripost_core.experts.checks import of_task
from tripost_core.experts.checks.columns import worked_out
from tripost_core.experts.checks.multistep_arithmetic import drill, operations
from tripost_core.experts.checks.word_sorting import without_workings
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import load_task
from tripost_core.problems.names import TASKS_WITH_CHECKS
from tripost_core.problems.word_sorting import question_words
from tripost_core.replay.rows import gold_rows
from tripost_core.stages.problems import problem_row
from tripost_core.trajectory import Attempt, Feedback

_SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def check_columns(text):
    """Every step is true, and adds, subtracts or multiplies single digits."""
    for step in re.split(r", |; |: ", text):
        if "=" in step:
            said, _, value = step.partition(" = ")
            first, *rest = said.split(" ")
            total = int(first)
            for sign, digit in zip(rest[::2], rest[1::2], strict=True):
                assert digit in "0123456789"
                total = _SIGNS[sign](total, int(digit))
            assert total == int(value) < 100


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ((-289, "+", -8), "2 8 9 + 8: 9 + 8 = 17, 8 + 1 = 9: 2 9 7: -297"),
        ((21, "-", -49), "4 9 + 2 1: 9 + 1 = 10, 4 + 2 + 1 = 7: 7 0: 70"),
        ((104, "-", 8), "1 0 4 - 8: 14 - 8 = 6, 10 - 1 = 9, 1 - 1 = 0: 9 6: 96"),
        ((-48, "+", 29), "4 8 - 2 9: 18 - 9 = 9, 4 - 2 - 1 = 1: 1 9: -19"),
        ((36, "*", -8), "3 6 * 8: 6 * 8 = 48, 3 * 8 = 24, 24 + 4 = 28: 2 8 8: -288"),
        (
            (16, "*", 37),
            "3 7 * 1 6: 7 * 6 = 42, 3 * 6 = 18, 18 + 4 = 22: 2 2 2; 3 7 0; "
            "3 7 0 + 2 2 2: 0 + 2 = 2, 7 + 2 = 9, 3 + 2 = 5: 5 9 2: 592",
        ),
        ((20, "*", 34), "3 4 * 2 0: 4 * 2 = 8, 3 * 2 = 6: 6 8 0: 680"),
        ((7, "*", -8), "-56"),
        ((0, "-", 32), "-32"),
        ((1, "*", -45), "-45"),
        ((11, "*", 11), "1 1 * 1 1: 1 1; 1 1 0; 1 1 0 + 1 1: 0 + 1 = 1, 1 + 1 = 2: 1 2 1: 121"),
        ((10**7, "+", 5), "10000005"),
    ],
)
def test_an_operation_in_columns(operation, text):
    assert worked_out(*operation) == text


@given(st.integers(-99_999, 99_999), st.sampled_from("+-*"), st.integers(-99_999, 99_999))
def test_every_step_in_columns_is_true_and_of_single_digits(left, sign, right):
    text = worked_out(left, sign, right)
    steps, _, result = text.rpartition(": ")
    assert int(result) == _SIGNS[sign](left, right)
    check_columns(steps)
    assert not steps or "".join(steps.rpartition(": ")[2].split(" ")) == str(abs(int(result)))
    small, large = sorted((abs(left), abs(right)))
    if large > 9 and small and (sign != "*" or not set(str(small)) <= {"0", "1"}):
        assert steps


@given(st.integers(0, 10**6), st.sampled_from(["l3-4d2", "l3-4d22"]))
def test_a_right_attempt_is_said_again_with_workings(seed, subtask):
    task, expert = load_task("multistep_arithmetic"), load_expert({"checks": True}, "multistep_arithmetic", 0)
    (problem,) = task.generate(subtask, 1, seed)
    rationale = task.rationale(problem.question)
    said = expert.feedback(problem, rationale).checks
    lines = [line for line in rationale.split("\n") if re.match(r"\([0-9]+\) ", line)][1:]
    if subtask == "l3-4d2":
        assert re.sub(r" \[[^]]*\]( [^.]*?(?= = ))?", "", said) == " ".join(lines)
        assert 2 < said.count("[") <= sum(problem.question.count(f" {sign} ") for sign in "+-*")
    for following, worked in re.findall(r" = ([^=[]*) \[([^]]*)\]", said):
        assert worked.rpartition(": ")[2] in following


@given(st.integers(0, 10**6))
def test_a_drill_calls_the_wrong_results_wrong_and_goes_on_from_the_right_ones(seed):
    (problem,) = load_task("multistep_arithmetic").generate("l3-4d2", 1, seed)
    pieces = drill(problem, random.Random(seed))
    assert all(trained for text, trained in pieces if "=" in text or "[" in text)
    said = "".join(text for text, _ in pieces)
    found = re.findall(r"([^=[\]]*) = ([^=[]*) \[([^]]*)\]( No)?", said)
    assert len(found) == said.count("[") > 2
    for link, following, worked, wrong in found:
        check_columns(worked)
        right = worked.rpartition(": ")[2]
        operation = re.search(r"\(-?\d+ [-+*] -?\d+\)", link)[0]
        assert (link.lstrip(". ").replace(operation, right, 1) == following) == (not wrong)
    assert len([trained for _, trained in pieces if not trained]) == said.count(" No")


@given(st.integers(0, 10**6))
def test_operations_of_a_question_in_columns_are_true_and_as_long(seed):
    (problem,) = load_task("multistep_arithmetic").generate("l3-4d2", 1, seed)
    longest = 0
    for line in operations(problem, random.Random(seed)):
        parts = re.fullmatch(r"\((-?\d+) ([-+*]) (-?\d+)\) \[(.*)\] = (-?\d+)", line)
        left, sign, right, working, result = parts.groups()
        assert int(result) == _SIGNS[sign](int(left), int(right))
        assert working == worked_out(int(left), sign, int(right))
        check_columns(working)
        longest = max(longest, len(left), len(right))
    assert longest > 1


def test_half_of_the_results_in_drills_are_wrong():
    problems = load_task("multistep_arithmetic").generate("l3-4d2", 100, 1)
    said = ["".join(text for text, _ in drill(problem, random.Random(i))) for i, problem in enumerate(problems)]
    wrong, worked = (sum(text.count(mark) for text in said) for mark in (" No.", "["))
    assert 0.4 < wrong / worked < 0.55


@pytest.mark.parametrize("task_name", TASKS_WITH_CHECKS)
def test_verdicts_and_repairs_are_those_without_checks(task_name):
    task, plain = load_task(task_name), load_scripted_expert(task_name)
    expert = load_expert({"checks": True}, task_name, 0)
    assert expert.name == f"{plain.name}-workings"
    without_workings = import_module(f"tripost_core.experts.checks.{task_name}").without_workings
    rng, worked, worked_updates = random.Random(7), 0, 0
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
                updated = expert.improve(problem, attempt, sentence)
                assert without_workings(attempt) == attempt
                assert without_workings(updated) == plain.improve(problem, attempt, sentence)
                if with_checks.correct:
                    assert updated == attempt
                    continue
                untouched = Attempt.parse(attempt).untouched(without.error_step)
                assert Attempt.parse(without_workings(updated)).steps[: len(untouched)] == untouched
                worked_updates += updated != without_workings(updated)
                # What is worked out is no part of what is judged, and an update may be judged and mended again.
                assert expert.feedback(problem, updated).sentence(attempt) == expert.feedback(
                    problem, without_workings(updated)
                ).sentence(attempt)
                spoiled = updated.replace("(Final response) So the answer is", "(Final response) It is")
                told = expert.feedback(problem, spoiled)
                assert not told.correct and expert.improve(problem, spoiled, told.sentence(spoiled)) == updated
                if task_name == "multistep_arithmetic":
                    for working in re.findall(r"\[([^\]]*)\]", with_checks.checks):
                        check_columns(working)
    assert worked > 300 and worked_updates > 200


def test_arithmetic_checks_work_out_the_steps_up_to_the_wrong_one():
    task, expert = load_task("multistep_arithmetic"), load_expert({"checks": True}, "multistep_arithmetic", 0)
    problem = task.parse_question("((7 * -2 - -8) * (7 * 5 - 1)) =")
    attempt = task.rationale(problem.question).replace("(-6 * 34) = -204", "(-6 * 34) = -240").replace("-204.", "-240.")
    verdict = expert.feedback(problem, attempt)
    assert verdict.checks == (
        "(2) Let's calculate A = (7 * -2 - -8) = ((7 * -2) - -8) = (-14 - -8) [-14] "
        "(-14 - -8) = -6 [1 4 - 8: 14 - 8 = 6, 1 - 1 = 0: 6: -6]. "
        "(3) Let's calculate B = (7 * 5 - 1) = ((7 * 5) - 1) = (35 - 1) [35] "
        "(35 - 1) = 34 [3 5 - 1: 5 - 1 = 4: 3 4: 34]. "
        "(4) Then, the final equation is (A * B) = (-6 * 34) = -240 "
        "[3 4 * 6: 4 * 6 = 24, 3 * 6 = 18, 18 + 2 = 20: 2 0 4: -204] No."
    )
    assert expert.improve(problem, attempt, verdict.sentence(attempt)).split("\n")[2:] == [
        "(3) Let's calculate B = (7 * 5 - 1) = ((7 * 5) - 1) = (35 - 1) = 34.",
        "(4) Then, the final equation is (A * B) = (-6 * 34) "
        "[3 4 * 6: 4 * 6 = 24, 3 * 6 = 18, 18 + 2 = 20: 2 0 4: -204] = -204.",
        "(Final response) So the answer is -204.",
    ]
    assert expert.feedback(problem, task.rationale(problem.question)).correct


def test_word_checks_say_the_steps_up_to_the_wrong_one_with_the_words_in_order():
    task, expert = load_task("word_sorting"), load_expert({"checks": True}, "word_sorting", 0)
    problem = task.parse_question("Sort the following words alphabetically:\nList: pie elder plum")
    right = task.rationale(problem.question)
    first = (
        '(1) The first letter: "pie"="p" (16) {(16) "pie"; pie elder}, '
        '"elder"="e" (5) {(5) "elder" < (16) "pie"; elder plum}, '
        '"plum"="p" (16) {(5) "elder" < (16) ["pie" ? "plum"]; plum}.'
    )
    assert expert.feedback(problem, right).checks == (
        f'{first} (2) We now have: (5) "elder" < (16) ["pie" ? "plum"]. '
        '(3) Now sort this subpart ["pie" ? "plum"] by looking at their second letters: '
        '"pie"="i" (9) {(9) "pie"}, "plum"="l" (12) {(9) "pie" < (12) "plum"}. '
        '(3.1) We now have: (9) "pie" < (12) "plum". (3.2) Hence, we have "pie" < "plum". '
        '(4) Hence, we have "elder" < "pie" < "plum".'
    )
    wrong = right.replace('["pie" ? "plum"]', '["pie" ? "pie"]')
    assert expert.feedback(problem, wrong).checks == (
        f'{first} (2) We now have: (5) "elder" < (16) ["pie" ? "pie"]. No.'
    )
    updated = expert.improve(problem, wrong, expert.feedback(problem, wrong).sentence(wrong)).split("\n")
    assert updated[:2] == [first, '(2) We now have: (5) "elder" < (16) ["pie" ? "plum"].']
    assert updated[2].endswith('"pie"="i" (9) {(9) "pie"}, "plum"="l" (12) {(9) "pie" < (12) "plum"}.')
    endless = right.split("\n")
    endless[1] += ' (16) "plum" <' * 100
    assert expert.feedback(problem, "\n".join(endless)).checks == f"{first} (2) No."


def test_words_that_workings_could_not_be_told_from_get_none():
    task, expert = load_task("word_sorting"), load_expert({"checks": True}, "word_sorting", 0)
    problem = task.parse_question("Sort the following words alphabetically:\nList: pie a}b plum")
    rationale = task.rationale(problem.question)
    said = expert.feedback(problem, rationale).checks
    assert said.startswith(rationale.split("\n")[0]) and without_workings(rationale) == rationale


@pytest.mark.parametrize("subtask", ["2-3", "4-7"])
def test_word_checks_of_a_right_attempt_are_its_own_steps_with_workings(subtask):
    task, expert = load_task("word_sorting"), load_expert({"checks": True}, "word_sorting", 0)
    for problem in task.generate(subtask, 40, 9):
        rationale = task.rationale(problem.question)
        said = expert.feedback(problem, rationale).checks
        assert without_workings(said) == " ".join(rationale.split("\n")[:-1])
        following = dict(itertools.pairwise([*question_words(problem.question), ""]))
        for line in re.findall(r"letters?: ([^.]*)", said):
            entries = re.findall(r'"([a-z]+)"="." \(([0-9]+)\) {([^}]*)}', line)
            assert len(entries) == line.count('="')
            for i, (word, _, working) in enumerate(entries):
                groups, _, place = working.partition("; ")
                so_far = sorted(entries[: i + 1], key=lambda entry: int(entry[1]))  # equal ones stay as they came
                assert re.findall(r'"([a-z]+)"', groups) == [w for w, _, _ in so_far]
                assert re.findall(r"\(([0-9]+)\)", groups) == list(dict.fromkeys(number for _, number, _ in so_far))
                first_step = said.startswith(f"(1) The first letter: {line}")
                assert place == (f"{word} {following[word]}".strip() if first_step else "")


@pytest.mark.parametrize("task_name", TASKS_WITH_CHECKS)
def test_replay_takes_workings_for_no_part_of_an_attempt(task_name):
    task, expert, rng = load_task(task_name), load_expert({"checks": True}, task_name, 0), random.Random(2)
    questions, attempts = task.generate([s.name for s in task.subtasks if s.seen][-1], 12, 3), []
    for problem in questions:
        planted = plant(problem, rng.choice(error_classes(task_name)), rng)
        if planted is None or not planted.attempt.strip():
            continue
        row = {"problem_id": problem.id, "question": problem.question, "answer": problem.answer}
        row = judge({**student_trajectory([(planted.attempt, None)], problem.id), **row}, expert, 3)
        while row["status"] == OPEN:
            row = judge(improve(row, expert), expert, 3)
        attempts.append(row)
    reasons = {
        workings: Counter(t["reason"] for t in filtered(attempts, task, workings=workings) if t["kind"] == "x_imp")
        for workings in (None, of_task(task_name).WORKING.pattern)
    }
    plain, aware = reasons.values()
    assert plain.total() == aware.total() > 5
    assert (plain["prefix_changed"] > 0) == (task_name == "word_sorting")
    assert aware["prefix_changed"] == 0 < aware[None]
    pattern = of_task(task_name).WORKING.pattern
    problems = [{**problem_row(p), "rationale": task.rationale(p.question)} for p in questions]
    triplets = filtered(attempts, task, workings=pattern)
    rows = balanced(triplets, problems, task, BalanceConfig(auto=True), 0, 1, expert, workings=pattern)
    answers = [row["segments"][1]["text"] for row in rows if row["bucket"] == "correct"]
    assert answers and not any(re.search(pattern, text) for text in answers)
    updates = [row["segments"][-1]["text"] for row in rows if row["bucket"] == "improvement"]
    assert updates and all(re.search(pattern, text) for text in updates)


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
