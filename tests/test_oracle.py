"""`tripost oracle`: JSON lines in, JSON lines out, by the contract of docs/architecture.md."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.errors import ConfigError
from tripost_core.oracle import oracle_lines
from tripost_core.problems import TASKS, load_task
from tripost_core.trajectory import Attempt, Feedback

MSA, WS, DU, LD = "multistep_arithmetic", "word_sorting", "date_understanding", "logical_deduction"
NEW_FIELDS = {
    "rationale": {"rationale", "answer"},
    "feedback": {"correct", "feedback", "error_step", "error_segment", "error_class"},
    "improve": {"improved"},
}
EXPRESSION = "((-2 - -3 * -7) - (-5 * -4 - 2)) ="
WORDS = "Sort the following words alphabetically:\nList: alchemist pliable adsorbate"
STORY = (
    "On a wire, there are three birds: a wren, a tit, and a robin. The robin is to the right of the tit. "
    "The wren is the leftmost."
)
OPTIONS = ["The wren is the rightmost.", "The tit is the rightmost.", "The robin is the rightmost."]
CHOICE = f"{STORY}\nOptions:\n(A) {OPTIONS[0]}\n(B) {OPTIONS[1]}\n(C) {OPTIONS[2]}"
DATE = "Tomorrow is 11/12/2019. What is the date 10 days ago in MM/DD/YYYY?\nOptions:\n(A) 11/02/2019\n(B) 11/01/2019"
QUESTIONS = {MSA: EXPRESSION, WS: WORDS, DU: DATE, LD: CHOICE}


def ask(mode, task, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    found = [(json.loads(text), ok) for text, ok in oracle_lines(mode, task, lines)]
    assert len(found) == len(rows)
    return found


def one(mode, task, **fields):
    [(answer, ok)] = ask(mode, task, fields)
    assert ok, answer
    assert {key: answer[key] for key in fields} == fields
    assert set(answer) - set(fields) <= NEW_FIELDS[mode] <= set(answer)
    return answer


def test_rationale_and_answer_of_both_tasks():
    arithmetic = one("rationale", MSA, question=EXPRESSION)
    assert arithmetic["answer"] == "-41"
    assert arithmetic["rationale"].split("\n")[-1] == "(Final response) So the answer is -41."
    words = one("rationale", WS, question=WORDS)
    assert words["answer"] == ["adsorbate", "alchemist", "pliable"]
    assert words["rationale"].startswith('(1) The first letter: "alchemist"="a" (1)')


@pytest.mark.parametrize(
    ("task", "questions"),
    [
        (MSA, [EXPRESSION, f"Q: {EXPRESSION}", f"Q: {EXPRESSION} ", EXPRESSION.removesuffix(" =")]),
        (WS, [WORDS, f"Q: {WORDS}", WORDS.replace("\nList:", " List:"), f"Q: {WORDS}".replace("\n", " ")]),
    ],
)
def test_every_spelling_of_a_question_is_the_same_question(task, questions):
    answers = [one("rationale", task, question=question) for question in questions]
    assert len({answer["rationale"] for answer in answers}) == 1


@pytest.mark.parametrize(
    "options", [OPTIONS, CHOICE.partition("Options:\n")[2], dict(zip("ABC", OPTIONS, strict=True)), None]
)
def test_options_stand_in_the_question_or_beside_it(options):
    row = {"question": CHOICE} if options is None else {"question": STORY, "options": options}
    told = one("rationale", LD, **row)
    assert told["answer"] == "C" and told["rationale"].split("\n")[-1].endswith("So the answer is (C).")
    judged = one("feedback", LD, **row, attempt=told["rationale"].replace("(C)", "(B)"))
    assert (judged["correct"], judged["error_step"], judged["error_segment"]) == (False, "final", "the answer is (B)")
    attempt = told["rationale"].replace("(C)", "(B)")
    mended = one("improve", LD, **row, attempt=attempt, feedback=judged["feedback"])
    assert mended["improved"] == told["rationale"]


@pytest.mark.parametrize("task", TASKS)
def test_the_gold_rationale_is_correct_and_terminal_feedback_changes_nothing(task):
    question = QUESTIONS[task]
    gold = one("rationale", task, question=question)["rationale"]
    judged = one("feedback", task, question=question, attempt=gold)
    assert judged["correct"] is True and Feedback.parse(judged["feedback"]).terminal
    assert judged["error_step"] is judged["error_segment"] is judged["error_class"] is None
    assert one("improve", task, question=question, attempt=gold, feedback=judged["feedback"])["improved"] == gold


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("opening", ["", "Updated "])
def test_an_answer_header_is_tolerated(task, opening):
    question = QUESTIONS[task]
    gold = one("rationale", task, question=question)["rationale"]
    for header in (load_task(task).answer_header, "Answer: Let's think."):
        attempt = f"{opening}{header}\n{gold}"
        judged = one("feedback", task, question=question, attempt=attempt)
        assert judged["correct"]
        feedback = judged["feedback"]
        assert one("improve", task, question=question, attempt=attempt, feedback=feedback)["improved"] == gold


def test_the_example_of_the_paper_is_judged_and_mended():
    attempt = one("rationale", MSA, question=EXPRESSION)["rationale"].split("\n")
    right = "\n".join(attempt)
    attempt[2] = "(3) Let's calculate B = (-5 * -4 - 2) = ((-5 * -4) - 2) = (20 - 2) = 17."
    wrong = "\n".join(attempt)
    judged = one("feedback", MSA, question=EXPRESSION, attempt=wrong, id=7, note="kept")
    assert (judged["correct"], judged["error_step"]) == (False, "3")
    assert "(20 - 2) = 17" in judged["error_segment"] and judged["error_segment"] in attempt[2]
    assert judged["feedback"].startswith("Step (1) to step (2) are correct. In step (3) the part")
    for feedback in (judged["feedback"], f"Feedback: {judged['feedback']}"):
        improved = one("improve", MSA, question=EXPRESSION, attempt=wrong, feedback=feedback)["improved"]
        assert improved == right


@pytest.mark.parametrize("task", TASKS)
def test_an_attempt_that_stops_early_lacks_the_next_step(task):
    question = QUESTIONS[task]
    lines = one("rationale", task, question=question)["rationale"].split("\n")
    for count in range(1, len(lines)):
        attempt = "\n".join(lines[:count])
        judged = one("feedback", task, question=question, attempt=attempt)
        assert judged["error_step"] == Attempt.parse(lines[count]).steps[0].header
        assert judged["error_segment"] and judged["error_segment"] in lines[count - 1]
        improved = one("improve", task, question=question, attempt=attempt, feedback=judged["feedback"])
        assert improved["improved"] == "\n".join(lines)
    empty = one("feedback", task, question=question, attempt="")
    assert (empty["correct"], empty["error_step"], empty["error_segment"]) == (False, "1", None)
    mended = one("improve", task, question=question, attempt="", feedback=empty["feedback"])
    assert mended["improved"] == "\n".join(lines)


BAD = [
    "not json",
    "",
    "[1, 2]",
    '"text"',
    "null",
    "{" * 3,
    "[" * 100_000,
    "9" * 5000,
    {},
    {"question": None},
    {"question": 5, "attempt": "(1) x", "feedback": "x"},
    {"question": "What is love?", "attempt": "(1) x", "feedback": 'In step (1) the part "x" is incorrect.'},
    {"question": "", "attempt": "", "feedback": ""},
]


@pytest.mark.parametrize("mode", NEW_FIELDS)
@pytest.mark.parametrize("task", TASKS)
def test_a_line_that_cannot_be_handled_gets_an_error_and_the_next_is_handled(mode, task):
    question = QUESTIONS[task]
    good = {"question": question, "attempt": "(1) x", "feedback": 'In step (1) the part "x" is incorrect.', "id": 1}
    rows = [row for bad in BAD for row in (bad, good)]
    found = ask(mode, task, *rows)
    for bad, (answer, ok), (next_answer, next_ok) in zip(BAD, found[::2], found[1::2], strict=True):
        assert not ok and isinstance(answer["error"], str) and answer["error"]
        assert not set(answer) & NEW_FIELDS[mode] - set(bad if isinstance(bad, dict) else {})
        if isinstance(bad, dict):
            assert {key: answer[key] for key in bad} == bad
        assert next_ok and next_answer["id"] == 1 and "error" not in next_answer


@pytest.mark.parametrize(
    ("mode", "fields", "message"),
    [
        ("feedback", {"question": EXPRESSION}, "'attempt' is missing"),
        ("feedback", {"question": EXPRESSION, "attempt": None}, "'attempt' is not a string"),
        ("feedback", {"question": EXPRESSION, "attempt": ["(1)"]}, "'attempt' is not a string"),
        ("improve", {"question": EXPRESSION, "attempt": "(1) x"}, "'feedback' is missing"),
        ("improve", {"question": EXPRESSION, "attempt": "(1) x", "feedback": "Well."}, "'feedback' is no feedback"),
        ("rationale", {"Question": EXPRESSION}, "'question' is missing"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(mode, fields, message):
    [(answer, ok)] = ask(mode, MSA, fields)
    assert not ok and message in answer["error"] and set(answer) == {*fields, "error"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
attempts = st.text(st.sampled_from('()0123456789.-+*= \nABstep"<?[]'), max_size=60)


@given(
    st.sampled_from(TASKS),
    st.sampled_from(sorted(NEW_FIELDS)),
    st.one_of(st.none(), json_values, attempts),
    json_values,
)
def test_no_line_stops_the_command(task, mode, attempt, other):
    question = QUESTIONS[task]
    row = {
        "question": question,
        "attempt": attempt,
        "feedback": 'In step (2) the part "x" is incorrect.',
        "other": other,
    }
    [(answer, ok)] = ask(mode, task, row)
    assert ok == ("error" not in answer)
    assert answer["other"] == other


@given(st.lists(st.text(max_size=20), max_size=5))
def test_lines_of_any_text_are_answered_in_order(lines):
    found = list(oracle_lines("rationale", WS, lines))
    assert len(found) == len(lines)
    for text, _ in found:
        assert isinstance(json.loads(text), dict) and "\n" not in text


def test_lines_are_answered_as_they_come():
    """A pipe gets its answers before the input ends."""

    def endless():
        while True:
            yield json.dumps({"question": WORDS})

    assert next(oracle_lines("rationale", WS, endless()))[1]


def test_characters_beyond_ascii_stay():
    row = {"question": WORDS, "name": "Zoë 🦉"}
    [(text, _)] = oracle_lines("rationale", WS, [json.dumps(row)])
    assert "Zoë 🦉" in text


def test_an_unknown_mode_or_task_is_refused_at_once():
    with pytest.raises(ConfigError, match="rationale, feedback, improve"):
        oracle_lines("guess", WS, [])
    with pytest.raises(ConfigError, match="no task 'chess'"):
        oracle_lines("feedback", "chess", [])


@pytest.mark.parametrize("task", TASKS)
def test_a_thousand_lines_take_about_a_second_and_no_torch(task):
    rng = random.Random(0)
    rows = []
    the_task = load_task(task)
    for subtask in the_task.subtasks:
        for problem in the_task.generate(subtask.name, 1000 // len(the_task.subtasks) + 1, seed=0):
            lines = the_task.rationale(problem.question).split("\n")
            index = rng.randrange(len(lines))
            lines[index] = lines[index].replace("1", "2").replace("e", "o")
            rows.append(json.dumps({"question": problem.question, "attempt": "\n".join(lines)}))
    program = (
        "import sys\n"
        "from tripost_core.oracle import oracle_lines\n"
        f"count = sum(ok for _, ok in oracle_lines('feedback', {task!r}, sys.stdin))\n"
        "heavy = {'torch', 'prefect', 'transformers', 'pyarrow', 'polars', 'pydantic'} & set(sys.modules)\n"
        "print(count, sorted(heavy))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(rows[:1000]),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout == "1000 []\n"
    # Processor time, since the machine may be busy; benchmarks/oracle.py measures the clock.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
