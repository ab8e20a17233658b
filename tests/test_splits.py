"""Questions of a run: sizes, no overlaps, files."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.config import DataConfig
from tripost_core.errors import DataError
from tripost_core.problems import TASKS, load_task
from tripost_core.problems.partition import canonical_question, is_pretraining_question
from tripost_core.problems.splits import file_digests, make_splits

TASK = load_task("multistep_arithmetic")
EASY = ["((1 + 2 + 3) - (4 - 5 - 6)) =", "((7 * 8 + 9) + (1 - 2 * 3)) =", "((2 - 2 + 1) * (3 + 3 + 4)) ="]


def sizes(problems):
    return {
        split: Counter(p.subtask for p in problems if p.split == split) for split in ("train", "validation", "test")
    }


@pytest.mark.parametrize("name", TASKS)
def test_generated_splits_have_the_sizes_asked_for_and_share_nothing(name):
    task = load_task(name)
    problems, dropped = make_splits(task, DataConfig(num_train=31, num_test_seen=11, num_test_unseen=10), seed=3)
    assert dropped == {}
    by_split = sizes(problems)
    assert {split: sum(found.values()) for split, found in by_split.items()} == {
        "train": 31,
        "validation": 0,
        "test": 21,
    }
    seen = {subtask.name for subtask in task.subtasks if subtask.seen}
    assert set(by_split["train"]) == seen
    assert max(by_split["train"].values()) - min(by_split["train"].values()) <= 1
    assert sum(n for subtask, n in by_split["test"].items() if subtask in seen) == 11
    keys = [canonical_question(p.question) for p in problems]
    assert len(set(keys)) == len(keys)
    assert not any(is_pretraining_question(p.question) for p in problems)
    for problem in problems:
        assert problem.seen == (problem.subtask in seen)
        if problem.split == "train":
            assert task.is_right(problem.rationale, problem.answer)


@pytest.mark.parametrize("name", TASKS)
def test_the_papers_sizes(name):
    task = load_task(name)
    problems, _ = make_splits(task, DataConfig(preset="paper"), seed=0)
    assert sizes(problems) == {split: Counter(counts) for split, counts in task.paper_sizes.items()}
    assert len({canonical_question(p.question) for p in problems}) == len(problems)


@settings(max_examples=5)
@given(st.integers(0, 2**31))
def test_the_seed_gives_the_questions(seed):
    config = DataConfig(num_train=6, num_test_seen=4, num_test_unseen=4)
    first, again, other = (make_splits(TASK, config, s).problems for s in (seed, seed, seed + 1))
    assert first == again
    assert not {p.id for p in first} & {p.id for p in other}


def write(path, questions, **extra):
    rows = [{"question": q, "answer": TASK.parse_question(q).answer, **extra} for q in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_question_of_both_files_stays_in_test_and_repetitions_go(tmp_path):
    train = write(tmp_path / "train.jsonl", [EASY[0], EASY[1], EASY[1].replace(" ", "  "), EASY[2]])
    test = write(tmp_path / "test.jsonl", [EASY[2], EASY[2]])
    problems, dropped = make_splits(TASK, DataConfig(train_file=train, test_file=test), 0)
    assert [(p.split, p.question) for p in problems] == [
        ("train", EASY[0]),
        ("train", EASY[1]),
        ("test", EASY[2]),
    ]
    assert dropped == {"train_duplicate": 1, "train_in_test": 1, "test_duplicate": 1}
    assert problems[0].rationale == TASK.rationale(EASY[0])


def test_generated_questions_are_not_those_of_a_file(tmp_path):
    config = DataConfig(num_train=40, num_test_seen=20, num_test_unseen=0)
    generated = make_splits(TASK, config, 0).problems
    test = write(tmp_path / "test.jsonl", [p.question for p in generated if p.split == "train"])
    problems = make_splits(TASK, config.model_copy(update={"test_file": test}), 0).problems
    assert sizes(problems)["train"].total() == sizes(problems)["test"].total() == 40
    assert len({canonical_question(p.question) for p in problems}) == 80
    train = write(tmp_path / "train.jsonl", [p.question for p in generated if p.split == "test"])
    problems = make_splits(TASK, config.model_copy(update={"train_file": train}), 0).problems
    assert len({canonical_question(p.question) for p in problems}) == len(problems) == 40


def test_a_files_rationale_is_used_where_it_reaches_the_answer(tmp_path):
    own = "(1) I just know it.\n(Final response) So the answer is {}."
    answer = TASK.parse_question(EASY[0]).answer
    for given_answer, used in [(answer, True), ("123456", False)]:
        train = write(tmp_path / "train.jsonl", EASY[:1], rationale=own.format(given_answer))
        problems, dropped = make_splits(TASK, DataConfig(train_file=train, num_test_unseen=1), 0)
        expected = own.format(answer) if used else TASK.rationale(EASY[0])
        assert problems[0].rationale == expected
        assert dropped == ({} if used else {"rationale_not_right": 1})


def test_one_question_each_is_enough(tmp_path):
    train, test = write(tmp_path / "a.jsonl", EASY[:1]), write(tmp_path / "b.jsonl", EASY[1:2])
    problems, _ = make_splits(TASK, DataConfig(train_file=train, test_file=test), 0)
    assert [p.split for p in problems] == ["train", "test"]
    generated, _ = make_splits(TASK, DataConfig(num_train=1, num_test_seen=1, num_test_unseen=0), 0)
    assert [p.split for p in generated] == ["train", "test"]


def test_the_same_single_question_in_both_files_is_refused(tmp_path):
    file = write(tmp_path / "one.jsonl", EASY[:1])
    with pytest.raises(DataError, match="so none is left"):
        make_splits(TASK, DataConfig(train_file=file, test_file=file), 0)


@pytest.mark.parametrize("content", ["", "\n\n", "[]", "{", '{"question": "what?", "answer": "4"}\n'])
def test_a_bad_file_is_named_in_one_sentence(tmp_path, content):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        make_splits(TASK, DataConfig(train_file=str(path)), 0)


def test_a_missing_file_is_named(tmp_path):
    config = DataConfig(test_file=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        make_splits(TASK, config, 0)
    with pytest.raises(DataError, match=r"nowhere\.jsonl \(data\.test_file\)"):
        file_digests(config)


def test_a_changed_file_has_another_digest(tmp_path):
    path = tmp_path / "train.jsonl"
    config = DataConfig(train_file=write(path, EASY[:1]))
    before = file_digests(config)
    assert set(before) == {"train_file"} and file_digests(config) == before
    write(path, EASY[:2])
    assert file_digests(config) != before
    assert file_digests(DataConfig()) == {}


def test_only_some_of_the_seen_subtasks():
    config = DataConfig(num_train=10, num_test_seen=6, num_test_unseen=4, seen_subtasks=["l3-4d2"])
    problems = make_splits(load_task("multistep_arithmetic"), config, 0).problems
    assert {p.subtask for p in problems if p.seen} == {"l3-4d2"}
    assert sum(p.split == "test" and not p.seen for p in problems) == 4


@pytest.mark.parametrize("name", ["l5-6d2", "chess"])
def test_a_subtask_that_is_not_a_seen_one_is_named(name):
    config = DataConfig(num_train=10, seen_subtasks=[name])
    with pytest.raises(DataError, match=f"names '{name}'; the seen subtasks are l3-4d2, l3-4d22"):
        make_splits(load_task("multistep_arithmetic"), config, 0)
    with pytest.raises(ValueError, match="goes without it"):
        DataConfig(preset="paper", seen_subtasks=["l3-4d2"])
