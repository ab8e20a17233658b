"""Split, filter, balance (section 2.3)."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_tables import balanced, filtered, pools
from toys import ToyExpert, ToyTask, attempt_of, student_trajectory

from tripost_core.buffers import digest_rows, write_buffer
from tripost_core.config import BalanceConfig
from tripost_core.editing import OPEN, improve, judge
from tripost_core.problems.base import Problem, prompt
from tripost_core.replay.rows import gold_rows, segments, stable_id
from tripost_core.schemas import SCHEMAS
from tripost_core.stages.problems import problem_row
from tripost_core.trajectory import FINAL, Attempt, error_feedback, terminal_feedback

TASK, EXPERT = ToyTask(), ToyExpert()
FINAL_LINE = "(Final response) So the answer is 7."


def edited(flags, identity="t", max_rounds=5):
    row = judge(student_trajectory([(attempt_of(flags), None)], identity), EXPERT, max_rounds)
    while row["status"] == OPEN:
        row = judge(improve(row, EXPERT), EXPERT, max_rounds)
    return row


def turn(attempt, feedback):
    return {"attempt": attempt, "feedback": feedback, "error_class": None}


def trajectory_of(*turns, status="correct", reason=None, identity="t"):
    return student_trajectory([], identity) | {"status": status, "reason": reason, "turns": list(turns)}


def end(attempt):
    return turn(attempt, terminal_feedback(Attempt.parse(attempt)))


def wrong(attempt, step="1"):
    return turn(attempt, error_feedback(Attempt.parse(attempt), step, "x", "of that"))


def reasons(*trajectories, max_length=10_000):
    triplets = filtered(trajectories, TASK, max_length)
    assert all(t["kept"] == (t["reason"] is None) for t in triplets)
    return [(t["kind"], t["reason"]) for t in triplets]


# -- split ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_a_trajectory_of_k_improvements_gives_k_x_imp_and_one_x_t(flags):
    row = edited(flags)
    triplets = filtered([row], TASK)
    k = flags.count(False)
    assert [t["kind"] for t in triplets] == ["x_imp"] * k + ["x_T"]
    assert len({t["triplet_id"] for t in triplets}) == k + 1
    for i, triplet in enumerate(triplets):
        assert (triplet["turn"], triplet["attempt"]) == (i, row["turns"][i]["attempt"])
        assert triplet["updated"] == (row["turns"][i + 1]["attempt"] if i < k else None)
    assert triplets[-1]["origin"] == ("repaired" if k else "direct")
    assert all(t["kept"] for t in triplets)


def test_triplets_name_their_trajectory_and_fit_the_schema(tmp_path):
    triplets = filtered([edited([False, True], "a"), edited([True], "b")], TASK)
    assert set(triplets[0]) == set(SCHEMAS["triplets-1"].names)
    ref = write_buffer(str(tmp_path / "triplets"), "triplets-1", triplets)
    assert ref.num_rows == 3
    assert {t["trajectory_id"] for t in triplets} == {"a", "b"}


def test_nothing_of_a_discarded_trajectory_is_kept_but_all_of_it_is_counted():
    many = edited([False] * 3, max_rounds=2)
    assert reasons(many) == [("x_imp", "discarded_max_rounds")] * 2
    empty = judge(student_trajectory([("", None)]), EXPERT, 5)
    nothing = judge(student_trajectory([]), EXPERT, 5)
    assert reasons(empty) == reasons(nothing) == [("x_imp", "discarded_empty_attempt")]
    unfinished = judge(student_trajectory([(attempt_of([False]), None)]), EXPERT, 5)
    assert reasons(unfinished) == [("x_imp", "discarded_open")]


# -- filter: every reason ----------------------------------------------------------------------------------------------

A1, A2 = f"(1) x\n(2) y\n{FINAL_LINE}", f"(1) x\n(2) z\n{FINAL_LINE}"


@pytest.mark.parametrize(
    ("trajectory", "expected"),
    [
        ((wrong(A1, "2"), end(A2)), [None, None]),
        ((wrong(A1, "2"), end(A2.replace("7.", "8."))), ["final_answer_wrong"] * 2),
        ((turn(A1, "Something is off."), end(A2)), ["unparsable_feedback", None]),
        ((wrong(A1, "2"), end(A1)), ["no_difference", None]),
        ((wrong(A1, "2"), end(A1.replace("y", "y "))), ["no_difference", None]),
        ((wrong(A1, "2"), end(A2.replace("x", "w"))), ["prefix_changed", None]),
        ((wrong(A1, "2"), end(FINAL_LINE)), ["prefix_changed", "inconsistent_final"]),
        ((wrong(A1, "1"), end(A2.replace("x", "w"))), [None, None]),
        ((wrong(A1, "2"), end(A2.replace("z", "inconsistent"))), ["inconsistent_final"] * 2),
    ],
)
def test_each_condition_drops_what_it_names(trajectory, expected):
    assert [reason for _, reason in reasons(trajectory_of(*trajectory))] == expected


def test_length_is_that_of_the_whole_training_row():
    row = trajectory_of(wrong(A1, "2"), end(A2))
    x_imp, x_t = filtered([row], TASK)
    whole, short = (
        len("".join(part["text"] for part in segments(TASK, t["question"], t["attempt"], t["feedback"], t["updated"])))
        for t in (x_imp, x_t)
    )
    assert reasons(row, max_length=whole) == [("x_imp", None), ("x_T", None)]
    assert reasons(row, max_length=whole - 1) == [("x_imp", "too_long"), ("x_T", None)]
    assert reasons(row, max_length=short - 1) == [("x_imp", "too_long"), ("x_T", "too_long")]


def test_equal_triplets_are_kept_once_and_the_students_own_first():
    repaired = trajectory_of(wrong(A1, "2"), end(A2), identity="a")
    own = trajectory_of(end(A2), identity="b")
    again = trajectory_of(wrong(A1, "2"), end(A2), identity="c")
    for order in ([repaired, own, again], [again, own, repaired]):
        triplets = filtered(order, TASK)
        kept = [t for t in triplets if t["kept"]]
        assert sorted((t["kind"], t["origin"]) for t in kept if t["kind"] == "x_T") == [("x_T", "direct")]
        assert [t["kind"] for t in kept].count("x_imp") == 1
        assert Counter(t["reason"] for t in triplets) == {None: 2, "duplicate": 3}


@pytest.mark.parametrize(
    ("text", "step", "count"),
    [
        ("(1) a\n(2) b\n(Final response) c", "2", 1),
        ("(1) a\n(2) b\n(Final response) c", FINAL, 2),
        ("(1) a\n(2) b", FINAL, 2),
        ("(1) a\n(2) b", "3", 2),
        ("(1) a\n(2) b\n(Final response) c", "3", 2),
        ("(1) a\n(3) b\n(Final response) c", "2", 1),
        ("(3) a\n(3.2) b\n(4) c", "3.1", 1),
        ("(9) a\n(10) b", "10", 1),
        ("", "1", 0),
        ("(", "1", 0),
        ("(1) a\nand b\n(2) c", "2", 1),
    ],
)
def test_a_missing_step_stands_before_the_first_later_one(text, step, count):
    assert [s.line for s in Attempt.parse(text).untouched(step)] == text.split("\n")[:count]


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_are_the_text_of_the_method_cut_by_role():
    parts = segments(TASK, "How many?", "(1) a\n(Final response) b", "Step.", "(1) c\n(Final response) d")
    assert [part["role"] for part in parts] == ["prompt", "mistake", "feedback", "improvement"]  # names no step
    assert "".join(part["text"] for part in parts) == (
        "Q: How many?\nAnswer: Let's think.\n(1) a\n(Final response) b\nFeedback: Step.\n"
        "Updated Answer: Let's think.\n(1) c\n(Final response) d"
    )
    assert parts[0]["text"] == prompt(TASK, "How many?")
    attempt, told = "(1) a\n(2) b\n(Final response) c", error_feedback(Attempt.parse("(1) a"), "2", "b", "of that")
    cut = segments(TASK, "How many?", attempt, told, "(1) a\n(2) d")
    assert [(part["role"], part["text"]) for part in cut[1:3]] == [
        ("attempt", "\n(1) a"),
        ("mistake", "\n(2) b\n(Final response) c"),
    ]
    assert [part["role"] for part in segments(TASK, "How many?", attempt, told)] == ["prompt", "attempt", "feedback"]
    assert parts[2]["text"].startswith("\nFeedback: ")


def test_gold_is_an_x_t_and_bare_for_ft_rationale():
    problems = [problem_row(Problem("toy", f"Q{i}", "7", "s", True, "train", A1)) for i in range(3)]
    with_feedback, bare = gold_rows(problems, TASK, 1, True), gold_rows(problems, TASK, 0, False)
    assert [[p["role"] for p in row["segments"]] for row in bare] == [["prompt", "attempt"]] * 3
    assert all(row["bucket"] == "gold" and row["kind"] == "x_T" and row["triplet_id"] is None for row in bare)
    terminal = "\nFeedback: Step (1) to step (2) are correct. The final response is also correct."
    assert {row["segments"][2]["text"] for row in with_feedback} == {terminal}
    assert [row["row_id"] for row in with_feedback] == [f"gold.{problem['problem_id']}" for problem in problems]


# -- balance -----------------------------------------------------------------------------------------------------------


def triplet(kind, number, origin=None, iteration=1, **fields):
    question = f"Q{number}"
    return {
        "triplet_id": stable_id(kind, number, origin, iteration, sorted(fields.items())),
        "kind": kind,
        "origin": origin,
        "kept": True,
        "reason": None,
        "trajectory_id": f"t{number}",
        "problem_id": Problem("toy", question, "7", "s", True).id,
        "task": "toy",
        "subtask": "s",
        "seen": True,
        "question": question,
        "answer": "7",
        "iteration": iteration,
        "turn": 0,
        "attempt": f"(1) {kind} {origin} {number}\n{FINAL_LINE}",
        "feedback": "Step.",
        "updated": f"(1) new {number}\n{FINAL_LINE}" if kind == "x_imp" else None,
        "error_class": None,
        **fields,
    }


def stock(num_imp, num_direct, num_repaired, num_gold):
    triplets = [triplet("x_imp", i) for i in range(num_imp)]
    triplets += [triplet("x_T", i, "direct") for i in range(num_direct)]
    triplets += [triplet("x_T", i, "repaired") for i in range(num_repaired)]
    gold = [
        problem_row(Problem("toy", f"G{i}", "7", "s", True, "train", f"(1) g{i}\n{FINAL_LINE}"))
        for i in range(num_gold)
    ]
    return triplets, gold


def buckets(rows):
    counts = Counter(row["bucket"] for row in rows)
    return counts["improvement"], counts["correct"], counts["gold"]


counts = st.integers(0, 40)


@settings(max_examples=30, deadline=None)
@given(counts, counts, counts, counts, st.sampled_from([0.7, 1.0, 1.5, 2.0, 4.67]), st.integers(0, 3))
def test_p_is_exact_and_as_much_as_possible_is_used(num_imp, num_direct, num_repaired, num_gold, ratio, seed):
    triplets, gold = stock(num_imp, num_direct, num_repaired, num_gold)
    rows = balanced(triplets, gold, TASK, BalanceConfig(improvement_ratio=ratio), seed, 1)
    improvements, correct, gold_used = buckets(rows)
    assert correct == gold_used
    assert abs(improvements - ratio * correct) <= 0.5 + 1e-9
    one_more = correct + 1
    assert num_imp + 0.5 <= ratio * one_more or one_more > min(num_direct + num_repaired, num_gold)
    assert len({row["row_id"] for row in rows}) == len(rows)
    texts = ["".join(p["text"] for p in row["segments"]) for row in rows]
    assert len(set(texts)) == len(texts)
    origin = {t["triplet_id"]: t["origin"] for t in triplets}
    drawn = Counter(origin[row["triplet_id"]] for row in rows if row["bucket"] == "correct")
    if abs(drawn["direct"] - drawn["repaired"]) > 1:
        scarce = min(("direct", num_direct), ("repaired", num_repaired), key=lambda pair: drawn[pair[0]])
        assert drawn[scarce[0]] == scarce[1]


@settings(max_examples=20, deadline=None)
@given(counts, counts, counts, counts, st.sampled_from([0.0, 0.3, 1.0, 2.5]))
def test_the_share_of_gold_can_be_another(num_imp, num_direct, num_repaired, num_gold, ratio):
    triplets, gold = stock(num_imp, num_direct, num_repaired, num_gold)
    improvements, correct, used = buckets(balanced(triplets, gold, TASK, BalanceConfig(gold_ratio=ratio), 0, 1))
    assert abs(used - ratio * correct) <= 0.5 + 1e-9 and abs(improvements - 1.5 * correct) <= 0.5 + 1e-9
    more = correct + 1
    short = (1.5 * more >= num_imp + 0.5, more > num_direct + num_repaired, ratio * more >= num_gold + 0.5)
    assert any(short)


def test_repaired_attempts_can_be_left_out_as_plain_answers():
    triplets, gold = stock(30, 8, 30, 40)
    rows = balanced(triplets, gold, TASK, BalanceConfig(repaired=False), 0, 1)
    assert buckets(rows) == (12, 8, 8)
    origin = {t["triplet_id"]: t["origin"] for t in triplets}
    assert {origin[row["triplet_id"]] for row in rows if row["bucket"] == "correct"} == {"direct"}


def test_answers_can_go_without_their_terminal_feedback():
    triplets, gold = stock(30, 8, 30, 40)
    usual, bare = (balanced(triplets, gold, TASK, BalanceConfig(terminal=told), 0, 1) for told in (True, False))
    assert [row["row_id"] for row in bare] == [row["row_id"] for row in usual]
    for row, other in zip(bare, usual, strict=True):
        if row["kind"] == "x_imp":
            assert row == other
        else:
            assert row["segments"] == other["segments"][:2] and other["segments"][2]["role"] == "feedback"


@settings(max_examples=15, deadline=None)
@given(counts, counts, counts, counts, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(num_imp, num_direct, num_repaired, num_gold, auto, rng):
    triplets, gold = stock(num_imp, num_direct, num_repaired, num_gold)
    config = BalanceConfig(auto=auto)
    rows = balanced(triplets, gold, TASK, config, 0, 1)
    rng.shuffle(triplets)
    rng.shuffle(gold)
    shuffled = balanced(triplets, gold, TASK, config, 0, 1)
    assert digest_rows(rows, "rows-1") == digest_rows(shuffled, "rows-1")


def test_seed_and_iteration_draw_differently():
    triplets, gold = stock(30, 100, 100, 200)
    draws = [
        {row["row_id"] for row in balanced(triplets, gold, TASK, BalanceConfig(), seed, iteration)}
        for seed, iteration in [(0, 1), (1, 1), (0, 2)]
    ]
    assert draws[0] != draws[1] and draws[0] != draws[2]
    assert len(set(map(len, draws))) == 1


@given(counts, counts, counts, counts)
@settings(max_examples=15, deadline=None)
def test_auto_takes_everything_and_gold_as_many_as_x_t(num_imp, num_direct, num_repaired, num_gold):
    triplets, gold = stock(num_imp, num_direct, num_repaired, num_gold)
    rows = balanced(triplets, gold, TASK, BalanceConfig(auto=True), 0, 1)
    num_correct = num_direct + num_repaired
    assert buckets(rows) == (num_imp, num_correct, min(num_correct, num_gold))


def test_replay_takes_all_iterations_or_the_latest_and_equal_triplets_once():
    old = [triplet("x_imp", i) for i in range(10)]
    new = [triplet("x_imp", i, iteration=2) for i in range(5, 12)]
    for order in (old + new, new + old):
        everything, _, _ = pools(order, BalanceConfig(), 0, 2)
        questions = {t["triplet_id"]: t["question"] for t in order}
        assert sorted(questions[t["triplet_id"]] for t in everything) == sorted(f"Q{i}" for i in range(12))
        assert Counter(t["iteration"] for t in everything) == {1: 10, 2: 2}
        latest, _, _ = pools(order, BalanceConfig(replay="latest"), 0, 2)
        assert sorted(questions[t["triplet_id"]] for t in latest) == sorted(f"Q{i}" for i in range(5, 12))


def test_dropped_triplets_are_not_trained_on():
    dropped = [triplet("x_imp", i) | {"kept": False, "reason": "too_long"} for i in range(10)]
    assert pools(dropped, BalanceConfig(), 0, 1) == ([], [], [])


def test_gold_that_an_answer_says_already_comes_last():
    """A student's right answer is often the gold rationale word for word; it should not fill two places."""
    _, gold = stock(0, 0, 0, 20)
    answers = [
        triplet("x_T", 0, "direct")
        | {
            "triplet_id": f"same{i}",
            "problem_id": row["problem_id"],
            "question": row["question"],
            "attempt": row["rationale"],
            "feedback": terminal_feedback(Attempt.parse(row["rationale"])),
        }
        for i, row in enumerate(gold[:8])
    ]
    improvements = [triplet("x_imp", i) for i in range(12)]
    rows = balanced(answers + improvements, gold, TASK, BalanceConfig(), 0, 1)
    assert buckets(rows) == (12, 8, 8)
    texts = ["".join(p["text"] for p in row["segments"]) for row in rows]
    assert len(set(texts)) == len(texts)
    # Where there is no other gold, the ratio goes before variety.
    assert buckets(balanced(answers + improvements, gold[:8], TASK, BalanceConfig(), 0, 1)) == (12, 8, 8)


def test_rows_carry_where_they_come_from(tmp_path):
    triplets, gold = stock(6, 4, 4, 10)
    rows = balanced(triplets, gold, TASK, BalanceConfig(), 0, 1)
    random.Random(0).shuffle(rows)
    ref = write_buffer(str(tmp_path / "rows"), "rows-1", rows)
    assert ref.num_rows == len(rows) == 14
    known = {t["triplet_id"]: SimpleNamespace(**t) for t in triplets}
    for row in rows:
        if row["bucket"] != "gold":
            source = known[row["triplet_id"]]
            assert (row["kind"], row["problem_id"]) == (source.kind, source.problem_id)
            assert source.attempt in row["segments"][1]["text"]
