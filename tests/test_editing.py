"""Interactive trajectory editing (section 2.2), with an expert that mends one step a round."""

import copy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from toys import PROBLEM, ToyExpert, attempt_of, student_trajectory

from tripost_core.editing import (
    CORRECT,
    DISCARDED,
    MAX_ATTEMPT_CHARS,
    OPEN,
    improve,
    judge,
    num_judgements,
    student_agreement,
)
from tripost_core.experts.base import Verdict
from tripost_core.trajectory import Attempt, Feedback, error_feedback, terminal_feedback

EXPERT = ToyExpert()
RIGHT = attempt_of([True, True])
TERMINAL = terminal_feedback(Attempt.parse(RIGHT))
flags = st.lists(st.booleans(), min_size=1, max_size=5)


def criticism(attempt, step, segment="wrong"):
    return error_feedback(Attempt.parse(attempt), step, segment, "I think so")


def edit(trajectory, max_rounds=5):
    """The whole loop of judging and improving; every state on the way."""
    states = [judge(trajectory, EXPERT, max_rounds)]
    while states[-1]["status"] == OPEN:
        states.append(judge(improve(states[-1], EXPERT), EXPERT, max_rounds))
    return states


def test_a_right_attempt_without_feedback_is_directly_correct_and_not_edited():
    row = judge(student_trajectory([(RIGHT, None)]), EXPERT, 5)
    assert (row["status"], row["edited"], row["round"], row["reason"]) == (CORRECT, False, 0, None)
    assert [(t["feedback"], t["feedback_source"], t["correct"]) for t in row["turns"]] == [(TERMINAL, "toy-v1", True)]


def test_the_students_own_terminal_feedback_stays_its_own():
    row = judge(student_trajectory([(RIGHT, TERMINAL)]), EXPERT, 5)
    assert (row["status"], row["edited"]) == (CORRECT, False)
    assert (row["turns"][0]["feedback_source"], row["turns"][0]["feedback_by"]) == ("student", "digest")


def test_wrong_criticism_of_a_right_attempt_is_replaced_and_the_rest_cut():
    row = judge(student_trajectory([(RIGHT, criticism(RIGHT, "1")), (RIGHT, TERMINAL)]), EXPERT, 5)
    assert (row["status"], row["edited"], len(row["turns"])) == (CORRECT, True, 1)
    assert (row["turns"][0]["feedback"], row["turns"][0]["feedback_source"]) == (TERMINAL, "toy-v1")
    assert row["turns"][0]["student_feedback"] == criticism(RIGHT, "1")


def test_feedback_that_fbk_agrees_with_is_kept_and_its_repair_judged():
    wrong = attempt_of([True, False])
    said = criticism(wrong, "2")
    row = judge(student_trajectory([(wrong, said), (RIGHT, None)]), EXPERT, 5)
    assert (row["status"], row["edited"], row["round"]) == (CORRECT, False, 0)
    assert [t["feedback"] for t in row["turns"]] == [said, TERMINAL]
    assert [t["feedback_source"] for t in row["turns"]] == ["student", "toy-v1"]
    assert [t["correct"] for t in row["turns"]] == [False, True]


def test_the_first_feedback_that_fbk_disagrees_with_is_replaced_and_the_rest_cut():
    wrong, still = attempt_of([False, False]), attempt_of([True, False])
    turns = [(wrong, criticism(wrong, "1")), (still, TERMINAL), (RIGHT, TERMINAL)]
    row = judge(student_trajectory(turns), EXPERT, 5)
    assert (row["status"], row["edited"], len(row["turns"])) == (OPEN, True, 2)
    assert [t["feedback_source"] for t in row["turns"]] == ["student", "toy-v1"]
    assert Feedback.parse(row["turns"][1]["feedback"]).error_step == "2"


def test_feedback_that_leads_nowhere_is_fbks_even_where_it_agrees():
    wrong = attempt_of([False])
    for following in ([], [("", None)], [("  \n", None)], [("x" * (MAX_ATTEMPT_CHARS + 1), None)]):
        row = judge(student_trajectory([(wrong, criticism(wrong, "1")), *following]), EXPERT, 5)
        assert (row["status"], len(row["turns"])) == (OPEN, 1)
        assert row["turns"][0]["feedback_source"] == "toy-v1"


def test_feedback_that_cannot_be_parsed_is_replaced():
    wrong = attempt_of([False])
    row = judge(student_trajectory([(wrong, "is is the the"), (RIGHT, None)]), EXPERT, 5)
    assert (row["status"], row["edited"], len(row["turns"])) == (OPEN, True, 1)


def test_what_cannot_be_judged_is_discarded_with_a_reason():
    for turns, reason in [
        ([], "empty_attempt"),
        ([("", None)], "empty_attempt"),
        ([(" \n", TERMINAL)], "empty_attempt"),
        ([("wrong " * MAX_ATTEMPT_CHARS, None)], "too_long_attempt"),
    ]:
        row = judge(student_trajectory(turns), EXPERT, 5)
        assert (row["status"], row["reason"]) == (DISCARDED, reason)


@given(flags, st.integers(1, 6))
def test_one_round_a_wrong_step_and_none_beyond_the_limit(right, max_rounds):
    num_wrong = right.count(False)
    final = edit(student_trajectory([(attempt_of(right), None)]), max_rounds)[-1]
    assert final["round"] == min(num_wrong, max_rounds)
    assert len(final["turns"]) == final["round"] + 1
    assert final["edited"] == (num_wrong > 0)
    if num_wrong <= max_rounds:
        assert (final["status"], final["reason"]) == (CORRECT, None)
        assert Feedback.parse(final["turns"][-1]["feedback"]).terminal
    else:
        assert (final["status"], final["reason"]) == (DISCARDED, "max_rounds")
    for before, after in pairwise(final["turns"]):
        kept = Attempt.parse(before["attempt"]).before(before["error_step"])
        assert Attempt.parse(after["attempt"]).steps[: len(kept)] == kept
        assert after["attempt_source"] == after["attempt_by"] == "toy-v1"


@given(flags)
def test_later_rounds_judge_the_last_attempt_alone(right):
    states = edit(student_trajectory([(attempt_of(right), None)]))
    for before, after in pairwise(states):
        assert after["turns"][:-1] == before["turns"]
        assert num_judgements(before, after) == 1


def test_a_repair_that_changes_nothing_uses_up_a_round():
    class Idle(ToyExpert):
        def improve(self, problem, attempt, feedback):
            return attempt

    row = judge(student_trajectory([(attempt_of([False]), None)]), Idle(), 3)
    while row["status"] == OPEN:
        row = judge(improve(row, Idle()), Idle(), 3)
    assert (row["status"], row["reason"], row["round"], len(row["turns"])) == (DISCARDED, "max_rounds", 3, 4)


def test_an_empty_repair_is_discarded():
    class Mute(ToyExpert):
        def improve(self, problem, attempt, feedback):
            return ""

    row = judge(improve(judge(student_trajectory([(attempt_of([False]), None)]), Mute(), 3), Mute()), Mute(), 3)
    assert (row["status"], row["reason"]) == (DISCARDED, "empty_attempt")


texts = st.one_of(flags.map(attempt_of), st.text(max_size=30), st.just("(1) This is wrong"))
said = st.one_of(
    st.none(), st.text(max_size=20), st.just(TERMINAL), st.builds(criticism, texts, st.sampled_from("123"))
)


@given(st.lists(st.tuples(texts, said), max_size=4))
def test_whatever_the_student_writes_ends_correct_or_discarded_and_is_not_altered(turns):
    before = student_trajectory(turns)
    kept = copy.deepcopy(before)
    final = edit(before)[-1]
    assert before == kept
    assert final["status"] in (CORRECT, DISCARDED)
    assert (final["reason"] is None) == (final["status"] == CORRECT)
    assert judge(final, EXPERT, 5) == final == improve(final, EXPERT)
    own = [t for t in final["turns"] if t["attempt_source"] == "student"]
    assert [t["attempt"] for t in own] == [attempt for attempt, _ in turns[: len(own)]]
    if final["status"] == CORRECT:
        *earlier, last = final["turns"]
        assert last["correct"] and Feedback.parse(last["feedback"]).terminal
        assert not any(t["correct"] for t in earlier)


def test_agreement_counts_what_the_student_said_of_judged_attempts():
    wrong = attempt_of([False])
    rows = [
        judge(student_trajectory(turns), EXPERT, 5)
        for turns in [
            [(RIGHT, TERMINAL)],
            [(RIGHT, criticism(RIGHT, "1"))],
            [(wrong, criticism(wrong, "1"))],
            [(wrong, criticism(wrong, "1", "This")), (RIGHT, TERMINAL)],
            [(wrong, "mumble")],
            [(wrong, None)],
        ]
    ]
    assert student_agreement(rows) == {"num": 5, "same_verdict": 3, "agreed": 2, "unparsable": 1}


def test_a_sentence_of_fbk_that_cannot_be_parsed_is_data():
    class Vague(ToyExpert):
        def feedback(self, problem, attempt):
            return Verdict(False, "?", "x", "mistaken", "of something")

    row = judge(student_trajectory([(attempt_of([False]), None)]), Vague(), 1)
    assert row["status"] == OPEN and not Feedback.parse(row["turns"][0]["feedback"]).parsed
    assert judge(improve(row, Vague()), Vague(), 1)["reason"] == "max_rounds"
    assert row["problem_id"] == PROBLEM.id
