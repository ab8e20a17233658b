"""The word-sorting task: questions, generator, loaders, and the gold rationale against the published one."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.errors import DataError
from tripost_core.problems import word_inflections
from tripost_core.problems.word_sorting import TASK, letter_number, ordinal, question_words, word_list
from tripost_core.trajectory import Attempt

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
SUBTASKS = [subtask.name for subtask in TASK.subtasks]
WORDS = st.text(st.sampled_from("abcdez'ABé.?[<"), min_size=1, max_size=6)
LISTS = st.lists(WORDS, min_size=1, max_size=9)


def reference_rows() -> list[dict]:
    path = REFERENCE / "paper_word_sorting.jsonl"
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    return [json.loads(line) for line in path.read_text().splitlines()]


def headers(rationale: str) -> list[str | None]:
    return [step.header for step in Attempt.parse(rationale).steps]


def bodies(rationale: str) -> list[str]:
    return [step.body for step in Attempt.parse(rationale).steps]


def test_rationale_is_the_published_one_byte_for_byte():
    rows = reference_rows()
    repeated = 0
    for row in rows:
        ours, theirs = TASK.rationale(row["question"]), row["rationale"]
        if len(set(headers(theirs))) == len(theirs.split("\n")):
            assert ours == theirs
        else:  # siblings that share a header there have their own here
            repeated += 1
            assert bodies(ours) == bodies(theirs)
            assert len(set(headers(ours))) == len(ours.split("\n"))
    assert (len(rows), repeated) == (940, 14)


def test_published_answers_are_right_and_consistent():
    for row in reference_rows():
        answer = " ".join(row["answer"])
        assert TASK.parse_question(row["question"]).answer == answer
        assert TASK.is_right(row["rationale"], answer)
        assert TASK.is_consistent(row["rationale"])


def test_big_bench_hard_answers_are_all_ours():
    path = REFERENCE / "bbh_word_sorting.json"
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    problems = TASK.load(path, split="bbh")
    examples = json.loads(path.read_text())["examples"]
    assert len(problems) == len(examples) == 125
    for problem, example in zip(problems, examples, strict=True):
        assert problem.answer == example["target"]
        assert TASK.is_right(TASK.rationale(example["input"]), example["target"])
        assert problem.split == "bbh"


@settings(max_examples=60)
@given(LISTS)
def test_rationale_of_any_words_sorts_them(words):
    question = "List: " + " ".join(words)
    rationale = TASK.rationale(question)
    assert TASK.extract_answer(rationale) == " ".join(sorted(words))
    assert TASK.is_consistent(rationale)
    assert len(set(headers(rationale))) == len(rationale.split("\n"))
    assert None not in headers(rationale)


@settings(max_examples=60)
@given(LISTS)
def test_letter_numbers_order_words_as_python_does(words):
    def numbers(word: str) -> list[int]:
        return [letter_number(letter) for letter in word] + [letter_number("")]

    assert sorted(words, key=numbers) == sorted(words)


def test_a_word_that_begins_another_comes_first_and_copies_need_no_sorting():
    rationale = TASK.rationale("List: canoe can can")
    assert '"canoe"="o" (15), "can"="" (-96), "can"="" (-96).' in rationale
    assert '(-96) "can" < (-96) "can" < (15) "canoe".' in rationale
    assert '(3) "cat" < (3) "cat"' in TASK.rationale("List: cat cat")


def test_ordinals():
    names = [ordinal(position) for position in range(65)]
    assert len(set(names)) == 65
    assert [names[i] for i in (0, 11, 19, 20, 29, 39, 64)] == [
        "first", "twelfth", "twentieth", "twenty-first", "thirtieth", "fortieth", "sixty-fifth",
    ]  # fmt: skip


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_generated_questions(subtask):
    least, most = (int(n) for n in subtask.split("-"))
    problems = TASK.generate(subtask, 61, seed=3, split="train")
    assert problems == TASK.generate(subtask, 61, seed=3, split="train")
    lists = [question_words(problem.question) for problem in problems]
    assert len({frozenset(words) for words in lists}) == 61
    sizes = Counter(len(words) for words in lists)
    assert set(sizes) == set(range(least, most + 1))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for words, problem in zip(lists, problems, strict=True):
        assert not any(a != b and b.startswith(a) for a in words for b in words)
        assert problem.answer == " ".join(sorted(words))
        assert (problem.subtask, problem.split, problem.seen) == (subtask, "train", most <= 7)
        assert TASK.parse_question(problem.question).subtask == subtask


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(SUBTASKS))
def test_excluded_questions_are_not_generated_again(seed, subtask):
    first = TASK.generate(subtask, 5, seed)
    reordered = [f"Q: List: {' '.join(sorted(question_words(problem.question)))}" for problem in first]
    second = TASK.generate(subtask, 5, seed, exclude=reordered)
    sets = {frozenset(question_words(problem.question)) for problem in [*first, *second]}
    assert len(sets) == 10
    assert TASK.generate(subtask, 5, seed, split="test") != [*first]
    assert TASK.generate(subtask, 5, seed + 1) != first


def test_words_share_letters_about_as_often_as_in_the_published_lists():
    problems = TASK.generate("4-7", 300, seed=0)
    share = sum("?" in TASK.rationale(problem.question) for problem in problems) / 300
    assert 0.45 < share < 0.72  # 0.58 of the published lists of 4 to 7 words


def test_word_list_is_what_its_script_makes():
    assert list(word_list()) == word_inflections.all_words()
    assert len(word_list()) >= 4000
    assert all(re.fullmatch("[a-z]+", word) for word in word_list())


@pytest.mark.parametrize(
    ("root", "kind", "expected"),
    [
        ("copy", "verbs", {"copy", "copies", "copied", "copying"}),
        ("bake", "verbs", {"bake", "bakes", "baked", "baking"}),
        ("build", "again", {"rebuild", "rebuilds", "rebuilding"}),
        ("stop", "doubling", {"stop", "stops", "stopped", "stopping", "stopper"}),
        ("bus", "nouns", {"bus", "buses"}),
        ("mouse", "nouns", {"mouse"}),
        ("gentle", "adjectives", {"gentle", "gently"}),
        ("tragic", "adjectives", {"tragic", "tragically"}),
        ("easy", "opposites", {"uneasy"}),
    ],
)
def test_inflections(root, kind, expected):
    assert set(word_inflections.forms(kind, root)) == expected


def test_paper_sizes():
    totals = {split: sum(sizes.values()) for split, sizes in TASK.paper_sizes.items()}
    assert totals == {"train": 433, "validation": 40, "test": 379}
    assert list(TASK.paper_sizes["test"].values()) == [44, 83, 50, 100, 102]


@pytest.mark.parametrize("before", ["", "Q: ", "Q:"])
@pytest.mark.parametrize("between", ["\nList: ", " List: ", "\nList:"])
@pytest.mark.parametrize("after", ["", " ", "\n"])
def test_questions_are_normalised(before, between, after):
    text = f"{before}Sort the following words alphabetically:{between}pear apple fig{after}"
    problem = TASK.parse_question(text)
    assert problem.question == "Sort the following words alphabetically:\nList: pear apple fig"
    assert (problem.answer, problem.subtask, problem.seen) == ("apple fig pear", "2-3", True)


@pytest.mark.parametrize(
    "text",
    ["", "Q:", "2 + 2 =", "Sort the following words alphabetically:", "List:", 'List: a "b" c', "List: a\x00b c",
     "List: " + "a" * 65, "List: " + "ab " * 101],
)  # fmt: skip
def test_other_texts_are_no_questions(text):
    with pytest.raises(DataError):
        TASK.parse_question(text)


def test_unknown_and_used_up_subtasks():
    with pytest.raises(DataError, match="no subtask '1-2'"):
        TASK.generate("1-2", 1, seed=0)


def test_used_up_subtask(monkeypatch):
    monkeypatch.setattr("tripost_core.problems.word_sorting.word_list", lambda: ("ant", "bee", "cat"))
    with pytest.raises(DataError, match="no 9 different lists"):
        TASK.generate("2-3", 9, seed=0)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("(Final response) So the answer is: apple fig.", "apple fig"),
        ("(Final response) So the answer is: apple  fig", "apple fig"),
        ("(Final response) so the answer is apple etc..", "apple etc."),
        ("(Final response) So the answer is:", ""),
        ("(Final response) apple fig", None),
        ("So the answer is: apple fig.", None),
        ("", None),
    ],
)
def test_extract_answer(line, answer):
    assert TASK.extract_answer("(1) Something.\n" + line) == answer


def test_consistency_looks_at_the_step_before_and_at_open_conclusions():
    rationale = TASK.rationale("List: thence hence")
    assert TASK.is_consistent(rationale)
    assert not TASK.is_consistent(rationale.replace("is: hence thence", "is: thence hence"))
    assert not TASK.is_consistent(rationale.replace('we have "hence" < "thence"', 'we have ["hence" ? "thence"]'))
    assert not TASK.is_consistent(rationale.rsplit("\n", 1)[0])
    assert not TASK.is_consistent("(Final response) So the answer is: hence thence.")
    assert not TASK.is_consistent("")


@settings(max_examples=30)
@given(st.text())
def test_scoring_never_raises(text):
    TASK.extract_answer(text)
    TASK.is_right(text, "a b")
    TASK.is_consistent(text)


def test_load_jsonl_and_big_bench(tmp_path):
    question = "Sort the following words alphabetically: List: pear apple"
    rows = [
        {"question": question, "answer": ["apple", "pear"], "rationale": "(1) ..."},
        {"question": f"Q: {question}", "answer": "apple pear"},
    ]
    jsonl = tmp_path / "words.jsonl"
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = TASK.load(jsonl, split="test")
    assert (first.rationale, second.rationale) == ("(1) ...", None)
    assert first.question == second.question and first.answer == second.answer == "apple pear"
    big_bench = tmp_path / "task.json"
    big_bench.write_text(
        json.dumps({"name": "word_sorting", "examples": [{"input": "List: pear apple", "target": "apple pear"}]})
    )
    assert TASK.load(big_bench)[0].question == first.question


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "List: pear apple", "answer": "pear apple"}, "line 1: the answer is not"),
        ({"question": "What is 2 + 2?", "answer": "4"}, "line 1: This is not a word-sorting question"),
    ],
)
def test_load_names_the_row(tmp_path, row, message):
    path = tmp_path / "words.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        TASK.load(path)
