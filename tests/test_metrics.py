"""pytest tests/test_metrics.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.experts.base import Verdict
from tripost_core.metrics import SHARES, evaluate_rows, own_feedback

SUBTASKS = {"easy": True, "other": True, "hard": False}


@st.composite
def answers(draw):
    subtask = draw(st.sampled_from(sorted(SUBTASKS)))
    attempted = draw(st.booleans())
    first_right, right = draw(st.booleans()), draw(st.booleans())
    if not attempted:
        right = right and first_right  # wrong although its only attempt is right: the output was cut off later
    return {
        "subtask": subtask,
        "seen": SUBTASKS[subtask],
        "right": right,
        "first_right": first_right,
        "attempted": attempted,
    }


def groups(result):
    """Every group's figures, whatever the nesting."""
    yield from ({figure: result[figure][group] for figure in ("n", *SHARES)} for group in ("seen", "unseen", "total"))
    yield from result["by_subtask"].values()


@given(st.lists(answers(), max_size=40))
def test_identities_hold_in_every_group(rows):
    result = evaluate_rows(rows)
    assert set(result) == {"n", *SHARES, "by_subtask"}
    for figures in groups(result):
        if figures["n"] == 0:
            assert all(figures[name] is None for name in SHARES)
            continue
        assert all(0 <= figures[name] <= 1 for name in SHARES)
        assert figures["accuracy"] == pytest.approx(figures["directly_correct"] + figures["si_contrib"])
        repaired_less_harm = figures["repaired"] - figures["harm"]
        assert figures["accuracy"] == pytest.approx(figures["first_attempt_accuracy"] + repaired_less_harm)
        assert figures["si_contrib"] <= figures["si_freq"]
        assert figures["repaired"] <= figures["si_contrib"]
    json.dumps(result, allow_nan=False)


@given(st.lists(answers(), min_size=1, max_size=40))
def test_totals_are_weighted_by_n(rows):
    result = evaluate_rows(rows)
    n = result["n"]
    assert n["total"] == n["seen"] + n["unseen"] == len(rows)
    assert n["total"] == sum(figures["n"] for figures in result["by_subtask"].values())
    for name in SHARES:
        split = sum((result[name][group] or 0) * n[group] for group in ("seen", "unseen"))
        by_subtask = sum(figures[name] * figures["n"] for figures in result["by_subtask"].values())
        assert result[name]["total"] * len(rows) == pytest.approx(split) == pytest.approx(by_subtask)


@given(st.lists(answers(), max_size=20), st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert evaluate_rows(shuffled) == evaluate_rows(rows)


def test_each_figure_counts_what_it_says():
    def row(first_right, right, attempted):
        return {"subtask": "s", "seen": True, "first_right": first_right, "right": right, "attempted": attempted}

    rows = [
        row(True, True, False),  # directly correct
        row(False, False, False),
        row(False, True, True),  # repaired
        row(True, False, True),  # harm
        row(True, True, True),  # improved for nothing, without harm
        row(False, False, True),
        row(True, True, False),
        row(True, False, False),  # cut off in its feedback: harm without an updated attempt
    ]
    result = evaluate_rows(rows)
    assert {name: result[name]["total"] * 8 for name in SHARES} == {
        "accuracy": 4,
        "first_attempt_accuracy": 5,
        "directly_correct": 2,
        "si_freq": 4,
        "si_contrib": 2,
        "repaired": 1,
        "harm": 2,
    }
    assert result["n"] == {"seen": 8, "unseen": 0, "total": 8}
    assert result["accuracy"]["unseen"] is None


def test_how_a_student_judges_its_own_attempts():
    right, wrong = Verdict(True), Verdict(False, "2", "x", "slip", "of that")
    terminal, step_2 = (
        "The final response is also correct.",
        'In step (2) the part "x" is incorrect. This is because y.',
    )
    step_3 = step_2.replace("(2)", "(3)")
    said = [(wrong, step_2), (wrong, step_3), (wrong, terminal), (wrong, None), (right, step_2), (right, terminal)]
    rows = [({"turns": [{"attempt": "a", "feedback": feedback}]}, verdict) for verdict, feedback in said]
    assert own_feedback(rows) == {"n": 6, "num_wrong": 4, "found": 0.5, "step": 0.25, "false_alarms": 0.5}
    assert own_feedback(rows[4:])["found"] is own_feedback(rows[4:])["step"] is None
    assert own_feedback([])["false_alarms"] is None
