"""Experts that err on purpose: at the rate asked for, in every way, and always in the same way."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import PROBLEM, ToyExpert, attempt_of

from tripost_core.config import ExpertConfig
from tripost_core.errors import ConfigError
from tripost_core.experts import load_expert
from tripost_core.experts.fallible import FallibleExpert
from tripost_core.problems import TASKS, load_task
from tripost_core.trajectory import Attempt, Feedback

INNER = ToyExpert()


def numbered(attempt):
    """Different attempts with the same wrong steps."""
    return [f"{attempt} " + "." * i for i in range(400)]


WRONG = numbered(attempt_of([True, False, True]))
CORRECT = numbered(attempt_of([True, True, True]))


def kind_of_judgement(mistake, right):
    if mistake.correct and right.correct:
        return "none"
    if mistake.correct:
        return "calls_wrong_correct"
    if not Feedback.parse(mistake.sentence("(1) a")).parsed:
        return "unparsable"
    if right.correct:
        return "calls_correct_wrong"
    if mistake == right:
        return "none"
    return "other_segment" if mistake.error_step == right.error_step else "other_step"


def test_fbk_errs_in_every_way_and_names_things_that_are_there():
    expert = FallibleExpert(INNER, 1.0, 0)
    seen = Counter()
    for attempt in WRONG + CORRECT:
        mistake, right = expert.feedback(PROBLEM, attempt), INNER.feedback(PROBLEM, attempt)
        kind = kind_of_judgement(mistake, right)
        seen[kind] += 1
        if kind in ("other_step", "other_segment", "calls_correct_wrong"):
            parsed = Attempt.parse(attempt)
            line = parsed.steps[parsed.index_of(mistake.error_step)].line
            assert mistake.error_segment and mistake.error_segment in line
    assert set(seen) == {"calls_wrong_correct", "unparsable", "calls_correct_wrong", "other_segment", "other_step"}
    assert min(seen.values()) > 40


def kind_of_repair(repair, attempt, right):
    before, after = attempt.split("\n"), repair.split("\n")
    if repair == right:
        return "none"
    if repair == attempt:
        return "no_change"
    if after[0] != before[0]:
        return "prefix_changed"
    if after[-1] != before[-1]:
        return "inconsistent_final"
    return "error_left" if after[1] == before[1] else "other_error"


class Rewriting(ToyExpert):
    """Its repairs differ from the attempt after the error too, so that a repair can leave the error in."""

    def improve(self, problem, attempt, feedback):
        head, _, rest = super().improve(problem, attempt, feedback).partition("(3)")
        return f"{head}(3){rest.replace('right', 'certainly right')}"


def test_imp_errs_in_every_way():
    inner, seen = Rewriting(), Counter()
    expert = FallibleExpert(inner, 1.0, 0)
    for attempt in WRONG:
        feedback = INNER.feedback(PROBLEM, attempt).sentence(attempt)
        right = inner.improve(PROBLEM, attempt, feedback)
        seen[kind_of_repair(expert.improve(PROBLEM, attempt, feedback), attempt, right)] += 1
    assert set(seen) == {"no_change", "prefix_changed", "inconsistent_final", "error_left", "other_error"}
    assert min(seen.values()) > 30


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_the_rate_is_the_share_of_mistakes(rate):
    expert = FallibleExpert(INNER, rate, 0)
    attempts = WRONG + CORRECT
    wrong = sum(expert.feedback(PROBLEM, attempt) != INNER.feedback(PROBLEM, attempt) for attempt in attempts)
    assert abs(wrong / len(attempts) - rate) <= 3 * (rate * (1 - rate) / len(attempts)) ** 0.5


def test_mistakes_depend_on_seed_and_text_alone():
    first, again, other = (FallibleExpert(INNER, 0.5, seed) for seed in (0, 0, "0/1"))
    judgements = [[e.feedback(PROBLEM, a) for a in WRONG] for e in (first, again, other)]
    assert judgements[0] == judgements[1] != judgements[2]
    assert [first.feedback(PROBLEM, a) for a in reversed(WRONG)] == judgements[0][::-1]


def test_the_name_tells_the_rate():
    assert FallibleExpert(INNER, 0.3, 0).name == "toy-v1-mistakes-0.3"


@settings(max_examples=60)
@given(st.text(max_size=60), st.integers(0, 99), st.text(max_size=40), st.sampled_from(TASKS))
def test_nothing_is_too_broken_to_err_about(attempt, seed, feedback, task):
    expert = load_expert({"mistake_rate": 1.0}, task, seed)
    the_task = load_task(task)
    problem = the_task.generate(the_task.subtasks[0].name, 1, seed)[0]
    assert expert.feedback(problem, attempt).sentence(attempt)
    assert isinstance(expert.improve(problem, attempt, feedback), str)


@pytest.mark.parametrize("task", TASKS)
def test_an_expert_is_loaded_as_the_configuration_says(task):
    perfect = load_expert(ExpertConfig(), task, 0)
    assert load_expert({}, task, 0).name == perfect.name
    assert load_expert({"mistake_rate": 0.3}, task, 0).name == f"{perfect.name}-mistakes-0.3"


def test_an_unknown_task_has_no_expert():
    with pytest.raises(ConfigError, match="no task 'chess'; the tasks are multistep_arithmetic"):
        load_expert({}, "chess", 0)
