"""Replay on columns is replay on plain lists (`benchmarks/plain_replay.py`), row for row."""

import re
from collections import Counter

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replay_tables import balanced, batches, filtered
from toys import ToyExpert, ToyTask, student_trajectory

from benchmarks import plain_replay
from tripost_core.buffers import digest_rows, read_batches, read_rows, write_buffer
from tripost_core.config import BalanceConfig
from tripost_core.editing import graded, problem_of
from tripost_core.problems.base import Problem
from tripost_core.replay.balance import draw_ranks
from tripost_core.replay.content import (
    all_terminal,
    content_reason,
    content_reasons,
    decided,
    kept_characters,
    kept_lines,
)
from tripost_core.replay.filter import FILTER_REASONS, filter_trajectories
from tripost_core.replay.lengths import LengthLimit
from tripost_core.replay.rows import terminal_feedbacks
from tripost_core.stages.problems import problem_row
from tripost_core.trajectory import Attempt, Feedback, error_feedback, terminal_feedback

TASK = ToyTask()
FINAL_LINES = ["(Final response) So the answer is 7.", "(Final response) So the answer is 8.", "(Final response)"]

headers = st.sampled_from(["(1) ", "(2) ", "(3) ", "(3.1) ", "(10) ", "(1)", "(2)", "(\u0663) ", "1) ", "", "(2)  "])
bodies = st.sampled_from(
    ["x", "y", "x y", "x  y", "xy", "inconsistent", "caf\u00e9", "a\r", "\t", "", "a\x1cb", "a\u00a0b", "(2) z", "\x0b"]
)
lines = st.tuples(headers, bodies).map("".join) | st.text(max_size=6) | st.sampled_from(FINAL_LINES)
odd_attempts = st.lists(lines, max_size=5).map("\n".join)
usual_attempts = st.lists(st.sampled_from(["x", "y", "x y", "x  y", "inconsistent"]), min_size=1, max_size=3).map(
    lambda found: "\n".join([*(f"({i}) {body}" for i, body in enumerate(found, 1)), FINAL_LINES[0]])
)
attempts = st.one_of(usual_attempts, usual_attempts, odd_attempts)
steps = st.sampled_from(["1", "2", "3", "3.1", "10", "final", "Final response", "\u0663"])
segments = st.sampled_from(["x", "", 'a "b" c', "it's", "line\nbreak", '" is incorrect', "caf\u00e9"])
sentences = st.one_of(
    st.builds(lambda text, step, segment: error_feedback(Attempt.parse(text), step, segment, "of that"),
              attempts, steps, segments),
    st.builds("In STEP {}, the part '{}' is incorrect".format, steps, segments),
    st.builds("  Feedback: (2) 5? 6.\tStep (1) is correct. in step ({} the part \"{}\" IS INCORRECT.".format,
              steps, segments),
    st.builds('In step (1) the part "x\' is incorrect. In step ({}) the part \'{}\' is incorrect'.format,
              steps, segments),
    st.builds("In \u017ftep ({}) the part \"{}\" is incorrect.".format, steps, segments),  # s by another name
    st.sampled_from(["Something is off.", "", "The final response is also correct.", "In step (1)"]),
    st.text(max_size=12),
)  # fmt: skip
endings = st.one_of(
    st.builds(lambda text: terminal_feedback(Attempt.parse(text)), attempts),
    st.sampled_from(
        ["Step (\u0663) is correct. The FINAL response is also correct.", " final response is also correct"]
    ),
)


def frame_of(rows):
    return pl.DataFrame(rows, schema=["attempt", "feedback", "updated"], orient="row").cast(pl.String)


# -- what is read in one triplet ---------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.lists(st.tuples(attempts, sentences, attempts), max_size=6))
@example([("(1) a b\n(2) c", error_feedback(Attempt(()), "1", "a", "x"), "(1) a\nb\n(2) c")])
@example([("(1) a\n(2) c", error_feedback(Attempt(()), "2", "c", "x"), "(1) a\n(2) c\n(3) d")])
@example([("(1) a\n(2)\n(2) c", error_feedback(Attempt(()), "2", "c", "x"), "(1) a\n(2)\n(2) d")])
def test_reasons_and_kept_lines_of_columns_are_those_of_each_row(rows):
    frame = frame_of(rows)
    assert content_reasons(frame).to_list() == [content_reason(*row) for row in rows]
    assert kept_characters(frame).to_list() == [len(kept_lines(attempt, feedback)) for attempt, feedback, _ in rows]


def test_the_usual_row_needs_no_look_of_its_own():
    attempt = "(1) a\n(2) b\n(2.1) c\n(Final response) So the answer is 7."
    told = {step: error_feedback(Attempt.parse(attempt), step, "b", "of that") for step in ("1", "2", "2.1", "final")}
    mended = {"1": "(1) m\n(2) b", "2": attempt.replace("b", "m"), "2.1": attempt.replace("c", "m\n(3) d")}
    mended["final"] = attempt.replace("7", "8")
    repaired = [(attempt, told[step], mended[step]) for step in told]
    unchanged = [(attempt, told[step], attempt) for step in told]
    unclear = [(attempt, "Something is off.", mended["2"])]
    found = decided(frame_of([*repaired, *unchanged, *unclear]))
    assert found["certain"].all()
    assert found["reason"].to_list() == [None] * 4 + ["no_difference"] * 4 + ["unparsable_feedback"]


@settings(max_examples=200)
@given(st.lists(st.one_of(endings, sentences), max_size=4))
def test_terminal_sentences_are_recognised(said):
    assert all_terminal(pl.Series(said, dtype=pl.String)) == all(Feedback.parse(text).terminal for text in said)


@settings(max_examples=200)
@given(st.lists(attempts, max_size=5))
def test_terminal_sentences_are_written(rationales):
    series = pl.Series(rationales, dtype=pl.String)
    assert terminal_feedbacks(series).to_list() == [terminal_feedback(Attempt.parse(text)) for text in rationales]


@given(st.lists(st.text(max_size=30), max_size=20), st.integers(0, 2**62), st.integers(0, 30))
def test_ranks_are_those_of_the_plain_hash(ids, seed, iteration):
    ranks = draw_ranks(pl.Series(ids, dtype=pl.String), seed, iteration)
    assert ranks.to_list() == [plain_replay._rank(seed, iteration, name) for name in ids]


# -- trajectories into triplets ----------------------------------------------------------------------------------------


def judged_turn(attempt, feedback, error_class):
    return {"attempt": attempt, "feedback": feedback, "error_class": error_class}


@st.composite
def trajectories(draw):
    """Of correct trajectories the last feedback is terminal; nothing else of them is certain."""
    rows = []
    for number in range(draw(st.integers(0, 6))):
        status = draw(st.sampled_from(["correct", "correct", "correct", "discarded", "open"]))
        turns = draw(st.lists(st.builds(judged_turn, attempts, sentences, st.sampled_from(["kind", None])), max_size=3))
        if status == "correct":
            turns.append(judged_turn(draw(attempts), draw(endings), None))
        question = draw(st.sampled_from(["How many?", "How much?", "\u00c9t\u00e9?"]))
        row = student_trajectory(
            [], f"{number}{draw(st.sampled_from('abc'))}", Problem("toy", question, "7", "s", True)
        )
        row |= {
            "status": status,
            "reason": draw(st.sampled_from(["max_rounds", "", None])) if status == "discarded" else None,
            "turns": turns,
            "round": max(len(turns) - 1, 0),
            "iteration": draw(st.sampled_from([1, 1, 1, 2])),
        }
        if rows and draw(st.integers(0, 3)) == 0:
            row |= {name: rows[-1][name] for name in ("problem_id", "question", "status", "reason", "turns")}
        rows.append(graded(row, TASK) if draw(st.booleans()) else row)
    return rows


def characters(rows):
    return [len("".join(part["text"] for part in row)) for row in rows]


def by_lists(rows, max_length):
    triplets = plain_replay.filter_triplets(plain_replay.split(rows, TASK), TASK, characters, max_length)
    return sorted(triplets, key=lambda row: row["triplet_id"])


@settings(max_examples=120, deadline=None)
@given(trajectories(), st.sampled_from([60, 90, 120, 10_000]), st.integers(1, 7))
def test_triplets_are_those_of_the_plain_lists(rows, max_length, size):
    assert filtered(rows, TASK, max_length, size=size) == by_lists(rows, max_length)


@settings(max_examples=80, deadline=None)
@given(trajectories(), st.sampled_from([60, 120, 10_000]), st.integers(1, 7), st.integers(1, 3))
def test_questions_side_by_side_are_filtered_a_few_at_a_time(rows, max_length, size, rows_at_once):
    """As `generate` names trajectories; nothing is then held but the questions at hand."""
    rows = [{**row, "trajectory_id": f"{row['problem_id']}.{number:04}"} for number, row in enumerate(rows)]
    ordered = sorted(rows, key=lambda row: row["trajectory_id"])
    limit = LengthLimit(TASK, max_length, count=lambda texts: [len(text) for text in texts])
    found = filter_trajectories(batches(ordered, "trajectories-2", size), TASK, limit, rows_at_once)
    tables = list(found.tables())
    triplets = [row for table in tables for row in table.to_pylist()]
    assert triplets == by_lists(rows, max_length)
    assert found.num_in == len(triplets) and found.kept.total() == sum(row["kept"] for row in triplets)
    assert found.dropped == Counter(row["reason"] for row in triplets if not row["kept"])
    assert found.rounds == Counter(row["round"] for row in rows)
    if rows_at_once == 1:  # a table a question
        assert len(tables) == len({row["problem_id"] for row in rows})


def test_the_property_meets_every_reason():
    seen = set()

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(trajectories(), st.sampled_from([60, 120, 10_000]))
    def collect(rows, max_length):
        seen.update(row["reason"] for row in by_lists(rows, max_length))

    collect()
    assert seen >= {*FILTER_REASONS, None, "discarded_max_rounds", "discarded_discarded", "discarded_open"}


@settings(max_examples=25, deadline=None)
@given(trajectories())
def test_what_the_turns_say_of_themselves_is_what_the_task_says(rows):
    """Runs that began before turns were graded go on."""
    bare = [{**row, "turns": [{**t, "right": None, "consistent": None} for t in row["turns"]]} for row in rows]
    assert filtered([graded(row, TASK) for row in bare], TASK) == filtered(bare, TASK, schema="trajectories-1")


# -- triplets into rows ------------------------------------------------------------------------------------------------


@st.composite
def stocks(draw):
    """Triplets of one or two iterations and gold, of which some says what a triplet says."""
    triplets = []
    for iteration in (1, 2)[: draw(st.integers(1, 2))]:
        rows = [{**row, "iteration": iteration} for row in draw(trajectories())]
        named = [{**row, "trajectory_id": f"{iteration}{row['trajectory_id']}"} for row in rows]
        triplets += by_lists(named, 10_000)
    gold = {}
    for _ in range(draw(st.integers(0, 8))):
        question = draw(st.sampled_from(["How many?", "How much?", "Why?", "When?", "Who?"]))
        rationale, split = draw(st.one_of(attempts, st.none())), draw(st.sampled_from(["train", "train", "test"]))
        row = problem_row(Problem("toy", question, "7", "s", True, split, rationale))
        gold[row["problem_id"]] = row
    return triplets, sorted(gold.values(), key=lambda row: row["problem_id"])


configs = st.builds(
    BalanceConfig,
    auto=st.booleans(),
    improvement_ratio=st.sampled_from([0.3, 1.0, 1.5]),
    gold_ratio=st.sampled_from([0.0, 0.5, 1.0]),
    repaired=st.booleans(),
    replay=st.sampled_from(["all", "latest"]),
)


class CheckingExpert(ToyExpert):
    """Feedback that depends on the question."""

    def feedback(self, problem, attempt):
        verdict = super().feedback(problem, attempt)
        return verdict if problem.question != "Why?" else type(verdict)(False, "1", "x", "c", "why")


@settings(max_examples=80, deadline=None)
@given(stocks(), configs, st.integers(0, 3), st.sampled_from([None, CheckingExpert()]), st.integers(1, 7))
def test_training_rows_are_those_of_the_plain_lists(stock, config, seed, expert, size):
    triplets, problems = stock
    gold = [row for row in problems if row["split"] == "train" and row["rationale"]]
    expected = plain_replay.balance(triplets, gold, TASK, config, seed, 2, expert)
    assert balanced(triplets, problems, TASK, config, seed, 2, expert, size) == expected
    assert all(problem_of(row).id == row["problem_id"] for row in gold)


# -- buffers of tables -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(rows=trajectories(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_a_buffer_of_tables_is_the_buffer_of_its_rows(tmp_path_factory, rows, sizes):
    place = tmp_path_factory.mktemp("buffers")
    triplets = by_lists(rows, 100)
    whole = write_buffer(str(place / "rows"), "triplets-1", triplets)
    table = pa.concat_tables(batches(triplets, "triplets-1", sizes[0])()) if triplets else None
    parts = [] if table is None else [table[i : i + sizes[-1]] for i in range(0, len(table), sizes[-1])]
    of_tables = write_buffer(str(place / "tables"), "triplets-1", iter(parts))
    assert (of_tables.digest, of_tables.num_rows) == (whole.digest, whole.num_rows)
    assert whole.digest == digest_rows(triplets, "triplets-1")
    assert read_rows(of_tables) == triplets
    read = [row for batch in read_batches(of_tables, ["triplet_id", "kept"]) for row in batch.to_pylist()]
    assert read == [{"triplet_id": row["triplet_id"], "kept": row["kept"]} for row in triplets]
    files = [sorted(path.name for path in (place / name).glob("part-*")) for name in ("rows", "tables")]
    assert files[0] == files[1]  # their names hold the hash of their bytes


def test_tables_out_of_order_are_refused(tmp_path):
    triplets = by_lists([student_trajectory([], name) | {"status": "open"} for name in ("a", "b")], 100)
    tables = [pa.concat_tables(batches([row], "triplets-1")()) for row in reversed(triplets)]
    with pytest.raises(AssertionError, match=re.escape("triplet_id is not unique, or the rows are not in its order")):
        write_buffer(str(tmp_path / "b"), "triplets-1", iter(tables))
