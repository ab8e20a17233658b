"""Logical deduction: grammar, solver, patterns, rationale, generator and loaders."""

import json
import random
from collections import Counter
from itertools import combinations, pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.errors import DataError
from tripost_core.problems.logical_deduction import TASK
from tripost_core.problems.logical_rationale import Known, remaining_steps
from tripost_core.problems.logical_statements import read_claim, read_story
from tripost_core.problems.logical_stories import THEMES
from tripost_core.problems.nouns import singular
from tripost_core.problems.options import LETTERS, join_options, option_letter, split_options, with_options
from tripost_core.problems.ordering_patterns import Gap, Pattern, at_place, before, hull, merge
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.problems.ordering_words import read_label, read_position, read_relation
from tripost_core.problems.partition import is_pretraining_question
from tripost_core.trajectory import Attempt

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
SUBTASKS = {"objects3": 3, "objects5": 5, "objects7": 7}
BIRDS = """The following paragraphs each describe a set of three objects arranged in a fixed order. The statements are \
logically consistent within each paragraph. On a wire, there are three birds: a wren, a blue tit, and a robin. The \
robin is to the right of the blue tit. The wren is the leftmost.
Options:
(A) The wren is the second from the left.
(B) The blue tit is the second from the left.
(C) The robin is the second from the left."""


def reference(name):
    path = REFERENCE / name
    if not path.exists():
        pytest.skip("the reference data are not beside the checkout")
    return path


# -- data that nobody here wrote ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["three", "five", "seven"])
def test_big_bench_hard_is_read_and_solved(number):
    path = reference(f"bbh_logical_deduction_{number}_objects.json")
    examples = json.loads(path.read_text())["examples"]
    assert len(examples) == 125
    for example in examples:
        problem = TASK.parse_question(example["input"])
        assert f"({problem.answer})" == example["target"]
        assert read_story(problem.question).orders.bit_count() == 1
        rationale = TASK.rationale(problem.question)
        assert TASK.is_right(rationale, problem.answer) and TASK.is_consistent(rationale)
    assert [f"({p.answer})" for p in TASK.load(path)] == [example["target"] for example in examples]


def test_the_papers_questions_are_solved():
    rows = [json.loads(line) for line in reference("paper_logical_deduction.jsonl").read_text().splitlines()]
    problems = TASK.load(REFERENCE / "paper_logical_deduction.jsonl", "train")
    assert [problem.answer for problem in problems] == [row["answer"] for row in rows]
    assert {problem.subtask for problem in problems} == {"objects3", "objects5"}
    for problem, row in zip(problems, rows, strict=True):
        assert problem.question == f"{row['question']}\nOptions:\n{row['options']}"
        assert TASK.is_right(row["rationale"], row["answer"])
        assert problem.rationale == row["rationale"]


def test_rationales_have_the_form_of_the_papers():
    """Where the paper's LLM wrote no mistake, its rationale and ours open with the same lines, but for the labels."""
    rows = [json.loads(line) for line in reference("paper_logical_deduction.jsonl").read_text().splitlines()]
    same = 0
    for row in rows:
        ours = TASK.rationale(f"{row['question']}\nOptions:\n{row['options']}").split("\n")
        same += row["rationale"].split("\n")[: len(ours) // 2] == ours[: len(ours) // 2]
        headers = [step.header for step in Attempt.parse(row["rationale"]).steps]
        assert headers[0] == "1"
    assert same / len(rows) > 0.4


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "axis", "sign", "distance"),
    [
        ("is to the left of the", "left", -1, None),
        ("is right of", "left", 1, None),
        ("sits on the right side of the", "left", 1, None),
        ("stands immediately to the left of", "left", -1, 1),
        ("is two places to the right of the", "left", 1, 2),
        ("finished above", "above", -1, None),
        ("came in below", "above", 1, None),
        ("arrived after the", "above", 1, None),
        ("is in front of the", "above", -1, None),
        ("ran faster than", "above", -1, None),
        ("is newer than the", "old", 1, None),
        ("are older than the", "old", -1, None),
        ("is a younger player than", "old", 1, None),
        ("are less expensive than the", "cheap", -1, None),
        ("cost more than the", "cheap", 1, None),
        ("weighs less than the", "light", -1, None),
        ("is bigger than", "small", 1, None),
        ("was heavier than", "light", 1, None),
        ("is more crunchy than", "crunchy", 1, None),
        ("is less crunchy than", "crunchy", -1, None),
        ("is crunchier than", "crunchy", 1, None),
    ],
)
def test_relations(words, axis, sign, distance):
    relation = read_relation(words)
    assert (relation.pole.axis, relation.pole.sign, relation.distance) == (axis, sign, distance)


@pytest.mark.parametrize("words", ["likes", "is not to the left of", "", "is next to", "is as old as", "is other than"])
def test_words_that_order_nothing(words):
    assert read_relation(words) is None


@pytest.mark.parametrize(
    ("words", "axis", "sign", "rank"),
    [
        ("is the leftmost", "left", -1, 1),
        ("is the second from the left", "left", -1, 2),
        ("is the third one from the right", "left", 1, 3),
        ("is at the far right", "left", 1, 1),
        ("is on the left end", "left", -1, 1),
        ("finished first", "above", -1, 1),
        ("finished fourth", "above", -1, 4),
        ("came in 3rd place", "above", -1, 3),
        ("finished last", "above", 1, 1),
        ("finished second-to-last", "above", 1, 2),
        ("was third to last", "above", 1, 3),
        ("arrived next to last", "above", 1, 2),
        ("is the oldest", "old", -1, 1),
        ("is the second-newest", "old", 1, 2),
        ("is the third newest", "old", 1, 3),
        ("are the cheapest", "cheap", -1, 1),
        ("are the second-most expensive", "cheap", 1, 2),
        ("are the least expensive", "cheap", -1, 1),
        ("are the third-least expensive", "cheap", -1, 3),
        ("cost the most", "cheap", 1, 1),
        ("is the fastest of all", "above", -1, 1),
        ("is the second crunchiest", "crunchy", 1, 2),
    ],
)
def test_places(words, axis, sign, rank):
    position = read_position(words)
    assert (position.pole.axis, position.pole.sign, position.rank) == (axis, sign, rank)


@pytest.mark.parametrize("words", ["is red", "is not the leftmost", "", "is the", "sings well"])
def test_words_that_give_no_place(words):
    assert read_position(words) is None


def test_labels():
    assert [read_label(label).sign for label in ("left", "right", "above", "below", "oldest", "newest")] == [-1, 1] * 3
    assert [read_label(label).sign for label in ("cheap", "expensive", "least expensive", "most expensive")] == [
        -1,
        1,
    ] * 2
    assert read_label("nonsense") is None and read_label("") is None


def test_singulars():
    words = {"birds": "bird", "people": "person", "pastries": "pastry", "boxes": "box", "dishes": "dish",
             "horses": "horse", "glass": "glass", "chess players": "chess player"}  # fmt: skip
    assert {word: singular(word) for word in words} == words


# -- patterns and sets of orders ---------------------------------------------------------------------------------------


@st.composite
def patterns(draw, n):
    things = draw(st.permutations(range(n)))[: draw(st.integers(1, n))]
    gaps = [Gap(draw(st.integers(0, 2)), draw(st.booleans())) for _ in range(len(things) + 1)]
    return Pattern(tuple(things), tuple(gaps))


def fits(pattern, order):
    """The definition: places of the things, gap by gap."""
    places = [-1, *(order.index(thing) for thing in pattern.things), len(order)]
    gaps = [b - a - 1 for a, b in pairwise(places)]
    return all(
        found >= gap.least if gap.open else found == gap.least for found, gap in zip(gaps, pattern.gaps, strict=True)
    )


def orders_in(orders, n):
    return {order for number, order in enumerate(orders_of(n).permutations) if orders >> number & 1}


@settings(max_examples=80)
@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), patterns(n))))
def test_the_orders_of_a_pattern_are_those_that_fit(case):
    n, pattern = case
    expected = {order for order in permutations(range(n)) if fits(pattern, order)}
    assert orders_in(pattern.orders(n), n) == expected
    mirrored = {order[::-1] for order in expected}
    assert orders_in(pattern.mirrored.orders(n), n) == mirrored


@settings(max_examples=80)
@given(st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), patterns(n), patterns(n))))
def test_merging_is_sound(case):
    n, first, second = case
    both = first.orders(n) & second.orders(n)
    merged = merge((first, second), n)
    if merged is not None:
        assert not both & ~merged.orders(n)
        assert set(merged.things) <= set(first.things) | set(second.things)


@settings(max_examples=80)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(1, (1 << len(orders_of(n).permutations)) - 1))
    )
)
def test_the_hull_of_some_orders_fits_all_of_them(case):
    n, orders = case
    pattern = hull(orders, n)
    assert not orders & ~pattern.orders(n)
    if orders.bit_count() == 1:
        assert pattern.exact and pattern.orders(n) == orders


def test_merging_adds_distances():
    assert merge((before(0, 1), before(1, 2)), 3).text("abc") == "?? a ?? b ?? c ??"
    assert merge((at_place(0, 1, False), at_place(1, 3, False)), 5).text("abcde") == "a ? b ??"
    assert merge((at_place(0, 1, False), before(1, 2)), 5).text("abcde") == "a ?? b ?? c ??"
    assert merge((before(0, 1), before(1, 0)), 3) is None


def test_text_of_patterns():
    assert at_place(1, 3, from_end=False).text("abc") == "? ? b ??"
    assert at_place(1, 2, from_end=True).text("abc") == "?? b ?"
    assert Pattern((0, 1), (Gap(), Gap(1, True), Gap())).text("abc") == "a ? ?? b"


# -- questions ---------------------------------------------------------------------------------------------------------


def test_a_story_read():
    story = read_story(BIRDS)
    assert (story.kind, story.names, story.labels) == ("birds", ("wren", "blue tit", "robin"), ("left", "right"))
    assert [s.pattern.text(story.names) for s in story.statements] == ["?? blue tit ?? robin ??", "wren ??"]
    problem = TASK.parse_question(f"Q: {BIRDS} ")
    assert (problem.answer, problem.subtask, problem.seen, problem.question) == ("B", "objects3", True, BIRDS)


@pytest.mark.parametrize(
    "change",
    [
        lambda q: q.replace("\n", " "),
        lambda q: q.replace("left.", "left"),
        lambda q: q.partition("paragraph. ")[2],
        lambda q: q.replace("The wren is", "The  wren  is"),
        lambda q: q.replace("Options:\n", "Options: "),
        lambda q: f"Q: {q}",
    ],
)
def test_questions_are_normalised(change):
    assert TASK.parse_question(change(BIRDS)) == TASK.parse_question(BIRDS)


UNSEEN = [
    ("At a fair, there are three robots: Ax, Bo, and Cy. Ax is crunchier than Bo. Cy is softer than Bo.",
     ["Ax", "Bo", "Cy"], "is the crunchiest", 0),
    ("In a pond, there are four fish: a carp, a pike, a roach, and a bream. The carp swims deeper than the pike. The "
     "roach swims shallower than the pike. The bream is the deepest.",
     ["The carp", "The pike", "The roach", "The bream"], "is the second-deepest fish", 0),
    ("My shelf holds three mugs: a tall mug, a wide mug, and a plain mug. The plain mug is immediately to the right of "
     "the tall mug. The wide mug is at the far left.",
     ["The tall mug", "The wide mug", "The plain mug"], "is in the middle", 0),
    ("There were five runners: Dr. Ames, Bob, Cleo, Di and Ed. Bob was faster than Cleo. Cleo came in before Di. Ed "
     "finished last. Dr. Ames finished second to last.",
     ["Dr. Ames", "Bob", "Cleo", "Di", "Ed"], "was the third fastest", 3),
    ("Two friends have two cats: Tom and Kit. Tom is heavier than Kit.", ["Tom", "Kit"], "is the lightest", 1),
    ("In a mall, there are three shops: a bakery, a florist, and a tailor. The florist is two places to the right of "
     "the bakery.", ["The bakery", "The florist", "The tailor"], "is the second shop from the left", 2),
    ("A chef has three soups: leek soup, pea soup, and fish soup. The pea soup is less salty than the leek soup. The "
     "fish soup is saltier than the leek soup.",
     ["The leek soup", "The pea soup", "The fish soup"], "is the saltiest soup", 2),
    ("On a stage, there are three bands: the Foxes, the Owls, and the Bears. The Owls were louder than the Foxes. The "
     "Bears were the quietest.", ["The Foxes", "The Owls", "The Bears"], "were the second-loudest", 0),
]  # fmt: skip


@pytest.mark.parametrize(("story", "subjects", "asked", "answer"), UNSEEN)
def test_unseen_themes_and_words(story, subjects, asked, answer):
    problem = TASK.parse_question(join_options(story, [f"{subject} {asked}." for subject in subjects]))
    assert problem.answer == LETTERS[answer]
    rationale = TASK.rationale(problem.question)
    assert TASK.is_right(rationale, problem.answer) and TASK.is_consistent(rationale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: "2 + 2 =", "no sentence lists the objects"),
        (lambda q: "", "no sentence lists the objects"),
        (lambda q: q.partition("\n")[0], "0 options"),
        (lambda q: q.replace("The wren is the leftmost.", ""), "exactly one option hold"),
        (lambda q: q.replace("The wren is the leftmost.", "The blue tit is the rightmost."), "contradict"),
        (lambda q: q.replace("The wren is the leftmost.", "The wren sings."), "'The wren sings' says nothing"),
        (lambda q: q.replace("The wren is the leftmost.", "The wren is leftmost but one."), "says nothing"),
        (lambda q: q.replace("The wren is the leftmost.", "An owl is the leftmost."), "does not begin with one of"),
        (lambda q: q.replace("three birds", "four birds"), "lists 3 objects"),
        (lambda q: q.replace("a robin", "a wren"), "listed twice"),
        (lambda q: q.replace("(B)", "(D)"), "not lettered"),
        (lambda q: q.replace("(C) The robin is the second", "(C) The robin is the ninth"), "3 objects do not have"),
        (lambda q: q + " x" * 4000, "at most 6000 characters"),
        (lambda q: q.replace("a wren, ", "".join(f"a w{i}, " for i in range(9))).replace("three", "nine"), "2 to 8"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(change, message):
    with pytest.raises(DataError, match=message):
        TASK.parse_question(change(BIRDS))


@settings(max_examples=60)
@given(st.text() | st.lists(st.sampled_from(BIRDS.split(" ")), max_size=40).map(" ".join))
def test_any_text_is_a_question_or_a_data_error(text):
    try:
        problem = TASK.parse_question(text)
    except DataError:
        return
    assert TASK.is_right(TASK.rationale(problem.question), problem.answer)


def test_other_numbers_of_objects_are_unseen():
    two = "There are two cups: a red cup and a blue cup. The red cup is the leftmost."
    problem = TASK.parse_question(join_options(two, ["The red cup is the rightmost", "The blue cup is the rightmost"]))
    assert (problem.subtask, problem.seen, problem.answer) == ("other", False, "B")


# -- the rationale -----------------------------------------------------------------------------------------------------


def test_the_rationale_of_the_paper_in_form():
    assert TASK.rationale(BIRDS).split("\n") == [
        '(1) The robin is to the right of the blue tit: "(left) ?? blue tit ?? robin ?? (right)".',
        '(2) The wren is the leftmost: "(left) wren ?? (right)".',
        "(3) There are in total three birds: a wren, a blue tit, and a robin.",
        '(4) Combining (1) and (2) we get the following ordering: "(left) wren ?? blue tit ?? robin ?? (right)".',
        '(5) Combining (3) and (4) we get the following ordering: "(left) wren blue tit robin (right)".',
        "(6) According to this ordering, the bird that is the second from the left is the blue tit.",
        "(Final response) The blue tit is the second from the left. So the answer is (B).",
    ]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(sorted(SUBTASKS)))
def test_every_step_follows_from_the_steps_it_names(seed, subtask):
    (problem,) = TASK.generate(subtask, 1, seed)
    story = read_story(problem.question)
    n = story.n
    left = {}
    for step in remaining_steps(Known(story)):
        if step.premises:
            assert set(step.premises) <= set(left)
            premises = orders_of(n).all
            for header in step.premises:
                premises &= left[header]
            assert not premises & ~step.pattern.orders(n)
        if step.statement is not None:
            assert step.pattern == story.statements[step.statement].pattern
        left[step.header] = step.pattern.orders(n) if step.pattern else orders_of(n).all
    assert left[max((h for h in left if left[h] != orders_of(n).all), key=int)] == story.orders


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(sorted(SUBTASKS)))
def test_the_answer_is_that_of_trying_all_orders(seed, subtask):
    """Read with other means: every order is checked against the sentences' own words."""
    (problem,) = TASK.generate(subtask, 1, seed)
    story = read_story(problem.question)
    told = [(claim, orders_in(claim.pattern.orders(story.n), story.n)) for claim in (*story.statements, *story.options)]
    left = set.intersection(*(orders for _, orders in told[: len(story.statements)]))
    assert len(left) == 1
    holding = [i for i, (_, orders) in enumerate(told[len(story.statements) :]) if left <= orders]
    assert [LETTERS[i] for i in holding] == [problem.answer]
    for i in range(len(story.statements)):  # none can be left out
        rest = [orders for j, (_, orders) in enumerate(told[: len(story.statements)]) if j != i]
        assert len(set.intersection(*rest)) > 1


# -- generator ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtask", sorted(SUBTASKS))
def test_generated_questions(subtask):
    n = SUBTASKS[subtask]
    problems = TASK.generate(subtask, 60, seed=3, split="train")
    assert problems == TASK.generate(subtask, 60, seed=3, split="train")
    stories = [read_story(problem.question) for problem in problems]
    assert len({story.text for story in stories}) == 60
    assert len({story.kind for story in stories}) > 8 and len({story.labels for story in stories}) > 4
    for problem, story in zip(problems, stories, strict=True):
        assert (problem.subtask, problem.split, problem.seen) == (subtask, "train", n <= 5)
        assert story.n == n == len(story.options) and n - 1 <= len(story.statements) <= n
        assert TASK.parse_question(problem.question).question == problem.question
    answers = Counter(problem.answer for problem in problems)
    assert max(answers.values()) < 60 * 2 / n


def test_places_are_told_about_as_often_as_in_big_bench():
    """In BIG-Bench Hard 0.53, 1.6 and 2.8 of the statements of a question give a place."""
    for subtask, published in [("objects3", 0.53), ("objects5", 1.62), ("objects7", 2.8)]:
        stories = [read_story(problem.question) for problem in TASK.generate(subtask, 120, seed=1)]
        told = sum(len(claim.things) == 1 for story in stories for claim in story.statements) / len(stories)
        assert 0.6 * published < told < 1.5 * published


def test_themes_are_our_own_and_have_enough_names():
    assert all(len(theme.names) == len(set(theme.names)) >= 12 for theme in THEMES)
    theirs = {"fruit", "golf", "antique", "branch", "shelf"}
    assert not any(word in theme.intro for theme in THEMES for word in theirs)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(sorted(SUBTASKS)))
def test_excluded_stories_are_not_generated_again(seed, subtask):
    first = TASK.generate(subtask, 5, seed)
    questions = [problem.question.partition("paragraph. ")[2] for problem in first]
    second = TASK.generate(subtask, 5, seed, exclude=questions)
    assert len({read_story(problem.question).text for problem in [*first, *second]}) == 10
    assert TASK.generate(subtask, 5, seed, split="test") != first


def test_a_story_is_on_one_side_of_the_partition_whatever_is_asked():
    for problem in TASK.generate("objects5", 40, seed=2):
        story = read_story(problem.question)
        stem, options = split_options(problem.question)
        others = [claim.text for claim in story.statements if len(claim.things) == 1]
        for other in others:
            asked = join_options(stem, [f"{other}.", *options])
            assert is_pretraining_question(asked) == is_pretraining_question(problem.question)


def test_unknown_and_used_up_subtasks(monkeypatch):
    with pytest.raises(DataError, match="no subtask '3'"):
        TASK.generate("3", 1, seed=0)
    drawn = TASK.generate("objects3", 1, seed=0)[0]
    from tripost_core.problems import logical_deduction

    class Fixed:
        question = drawn.question
        story = split_options(drawn.question)[0]

    monkeypatch.setattr(logical_deduction, "draw_story", lambda rng, n: Fixed)
    with pytest.raises(DataError, match="no 2 different stories"):
        TASK.generate("objects3", 2, seed=0)


def test_paper_sizes():
    totals = {split: sum(sizes.values()) for split, sizes in TASK.paper_sizes.items()}
    assert (totals["train"], totals["validation"]) == (360, 40)
    assert set(TASK.paper_sizes["test"]) == set(SUBTASKS)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("(Final response) The bus is the newest. So the answer is (B).", "B"),
        ("(Final response) The bus is the newest. So The answer is (B).", "B"),
        ("(Final response) So the answer is (b)", "B"),
        ("(Final response) The answer is: C.", "C"),
        ("The answer is (D).", "D"),
        ("(Final response) The bus is the newest.", None),
        ("(Final response) So the answer is apples.", None),
        ("(Final response) So the answer is (12).", None),
        ("(2)", None),
    ],
)
def test_extract_answer(line, answer):
    assert TASK.extract_answer(f"(1) So the answer is (A).\n{line}") == answer


def test_consistency_compares_the_sentence_with_the_step_before():
    rationale = TASK.rationale(BIRDS)
    *steps, final = rationale.split("\n")
    body = "\n".join(steps)
    assert TASK.is_consistent(rationale)
    assert not TASK.is_consistent(rationale.replace("(Final response) The blue tit", "(Final response) The robin"))
    assert not TASK.is_consistent(rationale.replace("is the blue tit.", "is the wren."))
    assert TASK.is_consistent(f"{body}\n(Final response) So The answer is (B).")
    assert not TASK.is_consistent(final) and not TASK.is_consistent(body) and not TASK.is_consistent("")


@settings(max_examples=30)
@given(st.text())
def test_scoring_never_raises(text):
    TASK.extract_answer(text)
    TASK.is_right(text, "A")
    TASK.is_consistent(text)


# -- files -------------------------------------------------------------------------------------------------------------


def test_load_jsonl_and_big_bench(tmp_path):
    stem, options = split_options(BIRDS)
    rows = [
        {"question": BIRDS, "answer": "(B)", "rationale": "(1) ..."},
        {"question": stem, "options": options, "answer": "B"},
        {"question": f"Q: {stem}", "options": "\n".join(BIRDS.split("\n")[2:]), "answer": options[1]},
        {"question": stem, "options": dict(zip("ABC", options, strict=True)), "answer": "b"},
    ]
    jsonl = tmp_path / "birds.jsonl"
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = TASK.load(jsonl, split="test")
    assert {problem.question for problem in problems} == {BIRDS} and {p.answer for p in problems} == {"B"}
    assert [problem.rationale for problem in problems] == ["(1) ...", None, None, None]
    scores = {text: int(i == 1) for i, text in enumerate(options)}
    big_bench = tmp_path / "task.json"
    story = stem.partition("paragraph. ")[2]
    big_bench.write_text(json.dumps({"examples": [{"input": story, "target_scores": scores}]}))
    assert TASK.load(big_bench)[0].question == BIRDS


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": BIRDS, "answer": "A"}, "line 1: the answer is 'A', but the statements leave B"),
        ({"question": BIRDS, "answer": "Z"}, "line 1: the answer is 'Z'"),
        ({"question": "What is 2 + 2?", "answer": "4"}, "line 1: This is not a logical-deduction question"),
        ({"question": BIRDS.partition("\n")[0], "options": 7, "answer": "A"}, "line 1: The options are neither"),
    ],
)
def test_load_names_the_row(tmp_path, row, message):
    path = tmp_path / "birds.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        TASK.load(path)


def test_options():
    question = join_options("Which?", ["one", "two"])
    assert question == "Which?\nOptions:\n(A) one\n(B) two" and split_options(question) == ("Which?", ["one", "two"])
    assert with_options("Which?", ["one", "two"]) == question == with_options(question, ["three"])
    assert with_options("Which?", "(A) one\n(B) two") == question
    assert [option_letter(text, ["one", "two"]) for text in ("a", "(B)", "Two.", "C", "three")] == [
        "A",
        "B",
        "B",
        None,
        None,
    ]


def test_sentences_about_a_story():
    story = read_story(BIRDS)
    assert read_claim(story, "The blue tit is to the left of the robin").pattern == story.statements[0].pattern
    assert read_claim(story, "The blue tit is older than the robin") is None
    assert read_claim(story, "It rains") is None
    assert all(read_claim(story, option.text) == option for option in story.options)


@given(st.integers(1, 5))
@settings(max_examples=5)
def test_orders_of_pairs_and_places(n):
    world = orders_of(n)
    for a, b in combinations(range(n), 2):
        assert world.before(a, b) ^ world.before(b, a) == world.all
        assert orders_in(world.apart(a, b, 1), n) == {p for p in permutations(range(n)) if p.index(b) == p.index(a) + 1}
    order = tuple(random.Random(n).sample(range(n), n))
    assert orders_in(world.alone(order), n) == {order}
