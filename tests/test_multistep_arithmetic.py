"""Questions, rationales and answers of multistep arithmetic, and the question files that all tasks read."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.errors import DataError
from tripost_core.problems import expression as ex
from tripost_core.problems import load_task, prompt
from tripost_core.problems.files import read_examples
from tripost_core.problems.multistep_arithmetic import OTHER_SUBTASK, TASK

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"
SUBTASKS = [subtask.name for subtask in TASK.subtasks]


def reference_file(name: str) -> Path:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"the reference data folder (shared/reference/{name}) is not here")
    return path


def expressions(max_leaves: int = 12) -> st.SearchStrategy[str]:
    """Bracketed texts that Python evaluates too."""
    numbers = st.integers(-20, 20).map(str)
    return st.recursive(
        numbers,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, st.sampled_from("+-*"), inner, st.sampled_from("+-*"), inner).map(
                lambda t: f"({' '.join(t)})"
            ),
            inner.map(lambda text: f"-({text})"),
        ),
        max_leaves=max_leaves,
    )


def python_value(text: str) -> int:
    """Python's own arithmetic on our test's own text, as a second opinion (no names, no calls: literals only)."""
    import ast
    import operator

    operators = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return operators[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        assert isinstance(node, ast.Constant)
        return node.value

    return value(ast.parse(text, mode="eval").body)


# The expression parser.


@given(expressions())
def test_value_and_rewritings_agree_with_python(text):
    expression = ex.parse(text)
    value = python_value(text)
    assert ex.evaluate(expression) == value
    for rewritten in (ex.plain(expression), ex.parenthesise(expression), ex.normalise(text.replace(" ", ""))):
        assert ex.parse(rewritten) == expression
    assert ex.reductions(expression)[-1] == str(value)
    assert all(python_value(link) == value for link in ex.reductions(expression))
    assert ex.subexpressions(expression)[-1] == expression


@given(st.text(alphabet="0123456789()+-* =AB.×−[]é\n", max_size=60))
def test_parser_refuses_or_returns_an_expression_for_any_text(text):
    try:
        expression = ex.parse(text)
    except ex.ExpressionError:
        return
    assert ex.parse(ex.plain(expression)) == expression


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "(1",
        "1)",
        "1 2",
        "1 +",
        "* 2",
        "2 ** 3",
        "4 / 2",
        "1.5",
        "1,000",
        "AB",
        "٣",
        "(1 + 2) (3)",
        "2A",
        "9" * 151,
        "(" * 61 + "1" + ")" * 61,
        "1+" * 2000 + "1",
        " " * 5000,
    ],
)
def test_parser_refuses(text):
    with pytest.raises(ex.ExpressionError):
        ex.parse(text)


def test_values_beyond_the_bound_are_refused_and_not_computed():
    with pytest.raises(ex.ExpressionError):
        ex.evaluate(ex.parse("*".join(["9" * 150] * 12)))


@given(expressions(6), st.sampled_from(["commuted", "operator"]))
def test_fingerprint_tells_form_from_value(text, kind):
    other = f"({text} * 3 + 2)"
    if kind == "commuted":
        assert ex.fingerprint(ex.parse(other), True) == ex.fingerprint(ex.parse(f"(2 + 3 * {text})"), True)
    else:
        assert ex.fingerprint(ex.parse(other), True) != ex.fingerprint(ex.parse(f"({text} * 3 + 2 * 1)"), True)
    assert ex.fingerprint(ex.parse("2 + 2"), True) != ex.fingerprint(ex.parse("2 * 2"), True)


# Generation.


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_generated_questions_have_the_form_that_the_paper_defines(subtask):
    problems = TASK.generate(subtask, 60, seed=3, split="train")
    lengths, depth = subtask[1:].split("d")
    assert len({p.question for p in problems}) == 60
    for number, problem in enumerate(problems):
        groups = [part.split(")")[0] for part in problem.question.split("(") if ")" in part]
        assert len(groups) == len(set(groups)) == 2 ** len(depth)
        assert {len(ex.literals(ex.parse(group))) for group in groups} == {int(lengths[0]) + number % 2}
        assert all(-9 <= operand <= 9 for operand in ex.literals(ex.parse(problem.question[:-2])))
        assert problem.question.endswith(") =") and int(problem.answer) == python_value(problem.question[:-2])
        assert (problem.subtask, problem.split, problem.task) == (subtask, "train", TASK.name)
        assert problem.seen == (subtask in ("l3-4d2", "l3-4d22"))
        assert TASK.parse_question(problem.question) == TASK.parse_question(f"Q: {problem.question} ")


def test_operands_and_operators_are_uniform():
    problems = TASK.generate("l3-4d22", 400, seed=0)
    tokens = [token for p in problems for token in ex.parse(p.question[:-2])]
    for value in range(-9, 10):
        assert 0.7 < tokens.count(value) * 19 / sum(isinstance(t, int) for t in tokens) < 1.3
    for sign in "+-*":
        assert 0.9 < tokens.count(sign) * 3 / sum(isinstance(t, str) for t in tokens) < 1.1


def test_generation_is_a_function_of_seed_subtask_and_split():
    def questions(*args, **kwargs):
        return [p.question for p in TASK.generate(*args, **kwargs)]

    assert questions("l3-4d2", 40, 5, "train")[:15] == questions("l3-4d2", 15, 5, "train")
    others = [
        questions("l3-4d2", 40, 6, "train"),
        questions("l3-4d2", 40, 5, "test"),
        questions("l3d2", 40, 5, "train"),
    ]
    assert all(set(other).isdisjoint(questions("l3-4d2", 40, 5, "train")) for other in others)


@given(st.integers(0, 100))
@settings(max_examples=10)
def test_no_excluded_question_is_generated(seed):
    first = [p.question for p in TASK.generate("l2d2", 40, seed)]
    second = [p.question for p in TASK.generate("l2d2", 40, seed, exclude=first[::2])]
    assert not set(first[::2]) & set(second) and set(first[1::2]) <= set(second)


@pytest.mark.parametrize("subtask", ["l3-4d3", "d2", "", "l4-3d2", "l3-4d2 ", "other"])
def test_unknown_subtask_is_named(subtask):
    with pytest.raises(DataError, match="subtask"):
        TASK.generate(subtask, 1, 0)


def test_one_length_can_be_generated_and_is_reported_in_its_group():
    assert {p.subtask for p in TASK.generate("l4d22", 5, 0)} == {"l3-4d22"}
    assert {p.subtask for p in TASK.generate("l2d2", 5, 0)} == {OTHER_SUBTASK}


def test_paper_sizes():
    totals = {split: sum(sizes.values()) for split, sizes in TASK.paper_sizes.items()}
    assert totals == {"train": 550, "validation": 50, "test": 360}
    seen = {s.name for s in TASK.subtasks if s.seen}
    assert set(TASK.paper_sizes["train"]) == set(TASK.paper_sizes["validation"]) == seen
    assert sum(n for name, n in TASK.paper_sizes["test"].items() if name in seen) == 120


# Rationales and answers.


def test_rationales_are_the_reference_byte_for_byte():
    rows = [json.loads(line) for line in reference_file("paper_multistep_arithmetic.jsonl").read_text().splitlines()]
    for row in rows:
        assert TASK.rationale(row["question"]) == row["rationale"]
        problem = TASK.parse_question(row["question"])
        assert problem.answer == row["answer"] == TASK.extract_answer(row["rationale"])
        assert problem.subtask == f"l{'3-4' if row['length'] < 5 else '5-6'}d{'2' * len(row['depth_levels'])}"
    assert len(rows) == 480


def test_rationale_repeats_a_link_where_a_term_occurs_twice():
    lines = TASK.rationale("((4 - 2) - (1 * 3)) =").split("\n")
    assert lines[1] == "(2) Let's calculate A = (4 - 2) = (4 - 2) = 2."
    lines = TASK.rationale("((2 - 6 * 1 - 6 * 1) + (1 + 1 + 1)) =").split("\n")
    twice = "(2 - (6 * 1)) - (6 * 1)) = ((2 - 6) - 6) = ((2 - 6) - 6) = (-4 - 6) = -10."
    assert lines[1] == f"(2) Let's calculate A = (2 - 6 * 1 - 6 * 1) = ({twice}"


@given(expressions(20).filter(lambda text: "(" in text and text.count("(") < 20))
def test_rationale_of_any_bracketed_question_is_right_and_consistent(text):
    rationale = TASK.rationale(f"{text} =")
    assert rationale.split("\n")[-1] == f"(Final response) So the answer is {python_value(text)}."
    assert TASK.is_right(rationale, str(python_value(text))) and TASK.is_consistent(rationale)


@pytest.mark.parametrize("question", ["", "=", "Q:", "1 + 2 =", "(A + B) =", "(1 + 2 =", "(1 / 2) =", "(1 = 1) ="])
def test_what_is_no_question_is_refused(question):
    for call in (TASK.parse_question, TASK.rationale):
        with pytest.raises(DataError, match="question"):
            call(question)


def test_prompt_ends_in_the_answer_header():
    text = prompt(load_task("multistep_arithmetic"), "((1 + 2) - (3 * 4)) =")
    assert text.startswith("Q: ((1 + 2) - (3 * 4)) =\nAnswer: Let's think step by step. Recall that")
    assert "(4) addition and multiplication (from left to right)" in text and text.endswith("brackets first.")


@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        ("(1) x\n(Final response) So the answer is -41.", "-41"),
        ("(Final response) So the answer is 007", "7"),
        ("(Final response) So the answer is 5.\nFeedback: so the answer is 6.", "5"),
        ("So the answer is 8.", "8"),
        ("(Final response) So the answer is -41.0.", None),
        ("(Final response) So the answer is .", None),
        ("(Final response) So the answer is 4 or 5.", None),
        ("(Final response) So the answer is " + "9" * 5000, None),
        ("(Final response)", None),
        ("", None),
    ],
)
def test_extracted_answers(attempt, answer):
    assert TASK.extract_answer(attempt) == answer
    assert answer is None or TASK.is_right(attempt, answer)


@given(st.integers(), st.integers())
def test_consistency_compares_the_last_two_lines(a, b):
    attempt = f"(4) Then, the final equation is (A - B) = {a}.\n(Final response) So the answer is {b}."
    assert TASK.is_consistent(attempt) == (a == b)
    assert not TASK.is_consistent(attempt.split("\n")[-1])


# Question files.


def test_bbh_and_paper_files_load():
    assert len(TASK.load(reference_file("bbh_multistep_arithmetic_two.json"), "test")) == 125
    problems = TASK.load(reference_file("paper_multistep_arithmetic.jsonl"))
    assert len(problems) == 480 and all(p.rationale for p in problems)


def test_every_format_gives_the_same_problems(tmp_path):
    problems = TASK.generate("l3-4d2", 6, 1)
    (tmp_path / "bbh.json").write_text(
        json.dumps({"canary": "x", "examples": [{"input": p.question, "target": p.answer} for p in problems]})
    )
    targets = [[p.answer, f"{p.answer}.0"] for p in problems[:2]] + [[p.answer] for p in problems[2:4]]
    rows = [{"input": f"Q: {p.question} ", "target": t} for p, t in zip(problems, targets, strict=False)]
    rows.append({"input": problems[4].question, "target_scores": {"1000001": 0, problems[4].answer: 1}})
    rows.append({"input": problems[5].question, "target": int(problems[5].answer)})
    (tmp_path / "task.json").write_text(json.dumps({"name": "x", "examples": rows}, indent=2))
    lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in problems]
    (tmp_path / "plain.jsonl").write_text("\n\n".join(lines) + "\n")
    for name in ("bbh.json", "task.json", "plain.jsonl"):
        assert TASK.load(tmp_path / name) == [TASK.parse_question(p.question) for p in problems]


def test_jsonl_rationale_and_list_answers_are_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": ["b", "c"], "rationale": "(1) r"}\n{"question": "p", "answer": 3}\n')
    first, second = read_examples(path)
    assert first == {"question": "q", "answer": ["b", "c"], "rationale": "(1) r", "place": f"{path}, line 1"}
    assert second["answer"] == "3" and second["rationale"] is None


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.jsonl", "", "empty"),
        ("a.jsonl", " \n\n", "empty"),
        ("a.json", '{"examples": []}', "no questions"),
        ("a.json", '{"rows": []}', "without a list"),
        ("a.json", '{\n"examples": [\n}', "line 3"),
        (
            "a.json",
            '{"examples": [{"input": "(1 + 2) =", "target": "3"}, {"input": "(1 + 2) ="}]}',
            "example 2",
        ),
        ("a.json", '{"examples": ["x"]}', "example 1"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": "3"}\n{"question"', "line 2"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": "3"}\n[1]', "line 2"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": "3"}\n\n{"answer": "3"}', "line 3"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": null}', "line 1"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": "4"}', "line 1.*4.*3"),
        ("a.jsonl", '{"question": "hello", "answer": "4"}', "line 1"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": "3", "rationale": 5}', "line 1"),
        ("a.jsonl", '{"question": "(1 + 2) =", "answer": ' + "9" * 5000 + "}", "line 1"),
        ("a.jsonl", "[" * 100_000, "line 1"),
    ],
)
def test_malformed_files_are_one_sentence_with_the_place(tmp_path, name, content, named):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=named) as caught:
        TASK.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_and_binary_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_examples(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path)
    (tmp_path / "binary.jsonl").write_bytes(b'{"question": "a"}\n\xff\xfe')
    with pytest.raises(DataError, match="line 2"):
        read_examples(tmp_path / "binary.jsonl")


def test_generated_questions_survive_a_round_trip_through_a_file(tmp_path):
    problems = [p for name in SUBTASKS for p in TASK.generate(name, 5, random.Random(1).randrange(99))]
    path = tmp_path / "questions.jsonl"
    rows = [{"question": p.question, "answer": p.answer, "rationale": TASK.rationale(p.question)} for p in problems]
    path.write_text("\n".join(map(json.dumps, rows)))
    loaded = TASK.load(path)
    assert [(p.id, p.answer, p.subtask, p.seen) for p in loaded] == [
        (p.id, p.answer, p.subtask, p.seen) for p in problems
    ]
    assert [p.rationale for p in loaded] == [row["rationale"] for row in rows]
