"""A task of one's own: the task file, its grader, hooks, `tripost init`, `data check`, and a whole run on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_endpoint import Behaviour, MisbehavingEndpoint, serving

from tripost_core.config import DataConfig, RunConfig
from tripost_core.config_file import load_config
from tripost_core.data_files import check_files
from tripost_core.editing import improve, judge, new_turn
from tripost_core.errors import ConfigError, DataError
from tripost_core.experts import load_expert
from tripost_core.experts.prompts import load_prompts
from tripost_core.plan import RunPlan
from tripost_core.problems import load_task
from tripost_core.problems.own import YourTask
from tripost_core.problems.own_spec import parse_own_task
from tripost_core.problems.partition import canonical_question
from tripost_core.problems.splits import make_splits
from tripost_core.record import fingerprint, read_record
from tripost_core.starter import write_starter
from tripost_core.trajectory import Attempt

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "grade_school"
EXPERT = {"task": "Words.", "examples": [{
    "question": "2 + 2?", "answer": "4", "attempt": "(1) 2 + 2 = 5.\n(Final response) So the answer is 5.",
    "error_step": "1", "error_segment": "2 + 2 = 5", "reason": "it is 4",
    "improved": "(1) 2 + 2 = 4.\n(Final response) So the answer is 4.",
}]}  # fmt: skip


def make(**sections):
    return load_task({"name": "mine", **sections})


def final(text):
    return f"(1) It is {text}.\n(Final response) So the answer is {text}."


# -- grading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "said", "gold", "right"),
    [
        ("exact", "the Nile", "The  nile.", True), ("exact", "the Nil", "the Nile", False),
        ("number", "1,234.50", "1234.5", True), ("number", "$12", "12", True), ("number", "12 eggs", "12", True),
        ("number", "3/4", "0.75", True), ("number", "-7", "7", False), ("number", "\u22127", "-7", True),
        ("number", "2e3", "2000", True), ("number", "none", "0", False),
        ("number", "$12", "-$12", False), ("number", "-$1,200", "-1200", True), ("number", "3 / 4", "0.75", True),
        ("choice", "(b)", "B", True), ("choice", "B", "(B)", True), ("choice", "C", "B", False),
        ("set", "b, a", "a, b", True), ("set", "a, a, b", "b, a", True), ("set", "a", "a, b", False),
    ],
)  # fmt: skip
def test_answers_are_compared(compare, said, gold, right):
    task = make(answer={"compare": compare})
    answer = task.canonical(gold)
    assert answer is not None
    assert task.is_right(final(said), answer) == right
    assert not task.is_right("", answer) and not task.is_right("(Final response) I do not know.", answer)


@pytest.mark.parametrize(
    ("tolerances", "said", "right"),
    [({"tolerance": 0.5}, "10.5", True), ({"tolerance": 0.5}, "10.51", False), ({"relative_tolerance": 0.1}, "9", True),
     ({"relative_tolerance": 0.1}, "8.9", False), ({}, "10.0", True)],
)  # fmt: skip
def test_tolerances(tolerances, said, right):
    assert make(answer={"compare": "number", **tolerances}).is_right(final(said), "10") == right


@pytest.mark.parametrize("compare", ["exact", "number", "choice", "set"])
@given(text=st.text())
def test_a_canonical_answer_is_its_own(compare, text):
    task = make(answer={"compare": compare})
    answer = task.canonical(text)
    task.extract_answer(text), task.is_consistent(text), task.is_right(text, text)
    if answer is not None:
        assert task.canonical(answer) == answer


def test_case_counts_where_it_is_said_to():
    assert not make(answer={"ignore_case": False}).is_right(final("nile"), "Nile")


def test_the_answer_may_be_anywhere_in_an_attempt():
    task = make(answer={"where": "attempt", "find": r"=> (\w+)", "final_line": "=> {answer}", "compare": "exact"})
    assert task.extract_answer("(1) => 3\n(2) => 5\nand so on") == "5"


@pytest.mark.parametrize(
    ("compare", "before", "said", "consistent"),
    [("number", "So 4 + 8 = 12 are left.", "12", True), ("number", "So 1,200 are left.", "1200", True),
     ("number", "So 120 are left.", "12", False), ("exact", "It is the Nile.", "the nile", True),
     ("exact", "It is the Rhine.", "the nile", False), ("set", "We have b and a.", "a, b", True),
     ("choice", "It is the last.", "C", True)],
)  # fmt: skip
def test_the_step_before_states_the_answer(compare, before, said, consistent):
    task = make(answer={"compare": compare})
    attempt = f"(1) {before}\n(Final response) So the answer is {said}."
    assert task.is_consistent(attempt) == consistent
    assert not task.is_consistent(attempt.split("\n")[1])
    assert make(answer={"compare": compare, "consistency": "off"}).is_consistent("anything")


# -- questions ---------------------------------------------------------------------------------------------------------


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_fields_prompt_options_subtasks_and_rationales(tmp_path):
    file = write(
        tmp_path / "q.jsonl",
        {"q": "Which?", "place": "sea", "choices": ["cod", "oak"], "a": "A", "why": "Cod swim.\n\nSo cod.", "level": 2},
        {"q": "Which tree?", "place": "wood", "choices": ["cod", "oak"], "a": "b", "level": "3"},
    )
    task = make(
        fields={"question": "q", "answer": "a", "options": "choices", "rationale": "why", "subtask": "level"},
        prompt={"question": "In the {place}: {q}"},
        answer={"compare": "choice", "final_line": "The answer is ({answer})."},
        seen=["2"],
    )  # fmt: skip
    first, second = task.load(file, "train")
    assert first.question == "In the sea: Which?\nOptions:\n(A) cod\n(B) oak"
    assert (first.answer, first.subtask, first.seen, second.answer, second.seen) == ("A", "2", True, "B", False)
    assert first.rationale == "(1) Cod swim.\n(2) So cod.\n(Final response) The answer is (A)."
    assert second.rationale is None and task.is_right(first.rationale, first.answer)


def test_numbered_rationales_stay_as_they_are(tmp_path):
    solution = "(1) One.\n(2) Two.\n(Final response) So the answer is 2."
    file = write(tmp_path / "q.jsonl", {"question": "?", "answer": 2, "rationale": solution})
    assert make(fields={"rationale": "rationale"}).load(file)[0].rationale == solution


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "1"}, "`question` is missing"), ({"question": "?"}, "`answer` is missing"),
        ({"question": "?", "answer": "seven"}, "is no number answer"),
        ({"question": "?", "answer": "7"}, "answer.gold does not match"),
    ],
)  # fmt: skip
def test_lines_at_fault_are_named(tmp_path, row, message):
    gold = "#### (.*)" if "gold" in message else None
    good = {"question": "!", "answer": "#### 7" if gold else "7"}
    file = write(tmp_path / "q.jsonl", good, row, row)
    with pytest.raises(DataError, match=rf"line 2: .*{message}.*\(1 more lines are at fault\)"):
        make(answer={"compare": "number", "gold": gold}).load(file)


def test_held_out_questions_do_not_move_when_the_file_grows(tmp_path):
    rows = [{"question": f"What is {i}?", "answer": str(i), "rationale": f"It is {i}."} for i in range(400)]
    task = make(holdout=0.25, fields={"rationale": "rationale"})
    few = make_splits(task, DataConfig(train_file=str(write(tmp_path / "few.jsonl", *rows[:200]))), 0).problems
    many = make_splits(task, DataConfig(train_file=str(write(tmp_path / "many.jsonl", *rows))), 1).problems
    tested = {p.question for p in few if p.split == "test"}
    assert 30 < len(tested) < 70
    assert tested <= {p.question for p in many if p.split == "test"}
    assert not tested & {p.question for p in many if p.split == "train"}
    with pytest.raises(DataError, match="leave none"):
        make_splits(task, DataConfig(train_file=str(write(tmp_path / "one.jsonl", rows[0]))), 0)


def test_without_question_files_nothing_can_be_made():
    with pytest.raises(DataError, match="cannot be generated"):
        make_splits(make(), DataConfig(), 0)


# -- the task file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "word_sorting"}, "comes with TriPosT"), ({"name": "My task"}, "small letters"), ({}, "name: "),
        ({"name": "mine", "colour": 1}, "colour: "),
        ({"name": "mine", "answer": {"find": "("}}, "no regular expression"),
        ({"name": "mine", "answer": {"find": "is .*"}}, "exactly 1 group"),
        ({"name": "mine", "answer": {"final_line": "Done."}}, "final_line is one line"),
        ({"name": "mine", "answer": {"final_line": "I say {answer}."}}, "find does not find the answer"),
        ({"name": "mine", "prompt": {"header": "Think!"}}, "begins with `Answer:`"), ([], "not a mapping"),
    ],
)  # fmt: skip
def test_a_task_file_at_fault_is_refused_in_one_sentence(data, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_own_task(data, "task.yaml")
    assert "\n" not in str(caught.value)


def test_a_pattern_may_allow_few_answers():
    for find in (r"answer is \(([A-E])\)", r"answer is \((red|blue)\)", r"answer is \(([1-3])\)"):
        make(answer={"find": find, "final_line": "So the answer is ({answer})."})


def test_a_script_that_raises_costs_the_row(tmp_path):
    hooks = "".join(f"def {name}(*_):\n    return 1 / 0\n\n" for name in ("extract_answer", "is_right", "rationale"))
    (tmp_path / "hooks.py").write_text(hooks)
    (tmp_path / "task.yaml").write_text("name: mine\nscript: hooks.py\n")
    task = load_task(str(tmp_path / "task.yaml"))
    assert task.extract_answer(final("7")) is None and not task.is_right(final("7"), "7")
    with pytest.raises(DataError, match="writes no rationale: ZeroDivisionError: division by zero"):
        task.rationale("2 + 5?")


def test_questions_about_the_same_list_are_different_questions(tmp_path):
    asked = ["Which word is third? List: pear plum fig", "Which word is third? List: fig plum pear",
             "How many words are there? List: fig plum pear"]  # fmt: skip
    assert len({canonical_question(text) for text in asked}) == 3
    words = [
        f"Sort the following words alphabetically:{gap}List: {w}" for gap, w in ((" ", "fig pear"), ("\n", "pear fig"))
    ]
    assert len({canonical_question(text) for text in words}) == 1


def test_the_commands_that_take_a_task_file(tmp_path):
    """As docs/own-task.md has them, on the task's own questions."""
    task = EXAMPLE / "task.yaml"

    def tripost(*arguments):
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    done = tripost(
        "evaluate", "--task", task, "--model", "tiny", "--max-new-tokens", 8, "--max-improvements", 0, "--json"
    )
    assert done.returncode == 0, done.stderr
    questions = (EXAMPLE / "test.jsonl").read_text().splitlines()
    assert json.loads(done.stdout)["eval"]["n"]["total"] == len(questions)
    done = tripost("data", "generate", "--task", task, "--out", tmp_path / "out")
    assert done.returncode == 0 and len((tmp_path / "out" / "test.jsonl").read_text().splitlines()) == len(questions)

    endpoint = MisbehavingEndpoint(reply=lambda body: "(1) It is 1.\n(Final response) So the answer is 1.")
    with serving(endpoint) as url:
        config = tmp_path / "run.yaml"
        config.write_text(
            f"task: {task}\nexpert: {{kind: llm, model: m, base_url: '{url}'}}\n"
            f"calls: {{cache_dir: '{tmp_path / 'cache'}'}}\n"
        )
        done = tripost("evaluate", "--expert", config, "--max-improvements", 0, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["eval"]["n"]["total"] == len(questions)
        asked = sum(endpoint.stats.values())
        done = tripost("evaluate", "--expert", config, "--skills")
        assert done.returncode == 2 and "--model" in done.stderr and sum(endpoint.stats.values()) == asked
        config.write_text(config.read_text().replace("calls: {", "calls: {api_key_block: mine, "))
        done = tripost("evaluate", "--expert", config)
        assert done.returncode == 2 and "Secret block mine" in done.stderr and "Traceback" not in done.stderr


def test_a_run_config_holds_the_whole_task(tmp_path):
    config = load_config(EXAMPLE / "run.yaml")
    assert config.task_name == "grade_school" and Path(config.data.train_file).samefile(EXAMPLE / "train.jsonl")
    assert RunConfig.model_validate(json.loads(config.model_dump_json())) == config
    request = RunPlan(config, tmp_path).problems()
    assert isinstance(load_task(json.loads(request.model_dump_json())["params"]["task"]), YourTask)
    changed = yaml.safe_load((EXAMPLE / "task.yaml").read_text())
    changed["answer"]["tolerance"] = 1
    for key in ("train_file", "test_file"):
        changed[key] = str(EXAMPLE / changed[key])
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(changed))
    other = load_config(EXAMPLE / "run.yaml", [f"task={tmp_path / 'task.yaml'}"])
    assert fingerprint(other) != fingerprint(config)
    assert RunPlan(other, tmp_path).problems().key != request.key
    copied = config.model_copy(update={"task": config.task.model_copy(update={"train_file": "elsewhere.jsonl"})})
    assert fingerprint(copied) == fingerprint(config)  # where the file was does not matter


def test_the_form_takes_names_and_task_files():
    schema = RunConfig.model_json_schema()["properties"]["task"]
    choices = schema["anyOf"]
    assert "word_sorting" in choices[0]["enum"] and choices[1]["pattern"] == r"\.ya?ml$"
    with pytest.raises(ConfigError, match="There is no task file"):
        load_config(EXAMPLE / "run.yaml", ["task=nowhere.yaml"])
    with pytest.raises(ConfigError, match="task"):
        load_config(EXAMPLE / "run.yaml", ["task=chess"])


def test_prompts_come_from_the_task_file():
    prompts = load_prompts(RunConfig.model_validate({"task": str(EXAMPLE / "task.yaml")}).task_reference)
    assert prompts.name == "grade_school" and len(prompts.examples) == 3
    with pytest.raises(ConfigError, match="no section `expert`"):
        load_prompts({"name": "mine"})
    with pytest.raises(ConfigError, match="has no step 9"):
        load_prompts({"name": "mine", "expert": {**EXPERT, "examples": [{**EXPERT["examples"][0], "error_step": "9"}]}})


# -- hooks -------------------------------------------------------------------------------------------------------------

HOOKS = """
def rationale(question):
    a, b = question.split(" + ")
    return f"(1) {a} + {b} = {int(a) + int(b)}.\\n(Final response) So the answer is {int(a) + int(b)}."


def feedback(question, attempt, answer):
    lines, gold = attempt.split("\\n"), rationale(question).split("\\n")
    for i, (line, right) in enumerate(zip(lines, gold)):
        if line != right:
            return {"step": "1" if i == 0 else "final", "segment": line[4:], "reason": "it is " + answer, "kind": "sum"}
    return None if len(lines) == len(gold) else {"step": "final", "reason": "it stops"}


def improve(question, attempt, answer, feedback):
    if answer == "13":
        raise RuntimeError("unlucky")
    return rationale(question)
"""


def hooked_row(question, answer, attempt):
    return {
        "trajectory_id": "t", "problem_id": "p", "task": "mine", "subtask": "all", "seen": True, "question": question,
        "answer": answer, "status": "generated", "round": 0, "edited": False, "reason": None,
        "turns": [new_turn(attempt, "student", "digest")],
    }  # fmt: skip


def test_hooks_make_a_scripted_expert(tmp_path):
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "task.yaml").write_text("name: sums\nscript: hooks.py\nanswer: {compare: number}\n")
    reference = RunConfig.model_validate({"task": str(tmp_path / "task.yaml")}).task_reference
    (tmp_path / "hooks.py").unlink()  # the run has it
    expert = load_expert({"kind": "script"}, reference, 0)
    row = judge(hooked_row("2 + 3", "5", "(1) 2 + 3 = 6.\n(Final response) So the answer is 6."), expert, 5)
    assert (row["status"], row["turns"][0]["error_class"]) == ("open", "sum")
    row = judge(improve(row, expert), expert, 5)
    assert row["status"] == "correct" and row["turns"][1]["attempt"] == load_task(reference).rationale("2 + 3")
    row = judge(hooked_row("6 + 7", "13", "(1) 6 + 7 = 1.\n(Final response) So the answer is 1."), expert, 5)
    row = improve(row, expert)
    assert (row["status"], row["reason"]) == ("discarded", "improve_not_handled")
    row = judge(hooked_row("no sum", "1", "(1) x"), expert, 5)
    assert (row["status"], row["reason"]) == ("discarded", "feedback_not_handled")


@pytest.mark.parametrize(
    ("source", "message"), [("def feedback(:", "is not Python"), ("1 / 0", "ends with ZeroDivisionError")]
)
def test_a_script_at_fault(tmp_path, source, message):
    (tmp_path / "hooks.py").write_text(source)
    (tmp_path / "task.yaml").write_text("name: sums\nscript: hooks.py\n")
    with pytest.raises(ConfigError, match=message):
        load_task(str(tmp_path / "task.yaml"))


def test_without_hooks_the_expert_has_to_be_a_model():
    with pytest.raises(ConfigError, match=r"expert\.kind: llm"):
        load_expert({"kind": "script"}, {"name": "mine"}, 0)


# -- tripost init and data check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "compare", "rationale"),
    [
        ({"question": "Q?", "answer": "Two and two.\n2+2=<<2+2=4>>4\n#### 4"}, "number", "answer"),
        ({"input": "Q?", "target": "(B)"}, "choice", None), ({"problem": "Q?", "answer": ["a", "b"]}, "set", None),
        ({"question": "Q?", "answer": "Rome", "explanation": "It is Rome."}, "exact", "explanation"),
    ],
)  # fmt: skip
def test_init_guesses_and_what_it_writes_works(tmp_path, row, compare, rationale):
    directory = tmp_path / "my task"
    file = write(tmp_path / "q.jsonl", row)
    task_file, run_file = write_starter(directory, file)
    spec = yaml.safe_load(task_file.read_text())
    assert (spec["answer"]["compare"], spec["fields"]["rationale"]) == (compare, rationale)
    config = load_config(run_file)
    assert config.task_name == "my_task" and Path(config.data.train_file).samefile(file)
    (problem,) = load_task(config.task_reference).load(file)
    assert (problem.rationale is None) == (rationale is None)
    assert len(load_prompts(config.task_reference).examples) == 3
    assert check_files(str(task_file), [], "tiny").findings == []
    with pytest.raises(ConfigError, match="is there already"):
        write_starter(directory)


def test_init_without_data_and_with_unknown_fields(tmp_path):
    task_file, _ = write_starter(tmp_path / "plain")
    assert yaml.safe_load(task_file.read_text())["train_file"] == "questions.jsonl"
    with pytest.raises(ConfigError, match="looks like the answer"):
        write_starter(tmp_path / "other", write(tmp_path / "q.jsonl", {"question": "Q?", "reply": "7"}))


def test_the_example_passes_its_own_check():
    result = check_files(str(EXAMPLE / "task.yaml"), [], "tiny")
    assert sum(result.num_questions.values()) == 10 and result.findings == []


def test_data_check_finds_what_is_wrong(tmp_path):
    rows = [json.loads(line) for line in (EXAMPLE / "train.jsonl").read_text().splitlines()]
    rows[1]["answer"] = rows[1]["answer"].replace("#### 36", "#### 37")
    train = write(tmp_path / "train.jsonl", *rows, {"question": "Long? " * 3000, "answer": "It is 1.\n#### 1"})
    test = write(tmp_path / "test.jsonl", rows[0])
    findings = check_files(str(EXAMPLE / "task.yaml"), [train, test], "tiny").findings
    assert any("train.jsonl, question 2: the rationale's final answer is not that of" in f for f in findings)
    assert any("test.jsonl, question 1: the same question as train.jsonl, question 1" in f for f in findings)
    assert any("more than tiny's 4096" in f for f in findings) and len(findings) == 3
    odd = load_task({"name": "odd", "answer": {"final_line": "the answer is {answer}", "find": r"answer is (\w)"}})
    assert not odd.is_right(odd.final_line("Rome"), "rome")


# -- a whole run -------------------------------------------------------------------------------------------------------


class TeacherWithTheSolutions:
    """A model that has the question file: it blames the first line that is not the solution's and repairs with it."""

    def __init__(self, task_file):
        task = load_task(str(task_file))
        problems = [p for file in ("train.jsonl", "test.jsonl") for p in task.load(task_file.parent / file)]
        self.solutions = {problem.question: problem.rationale.split("\n") for problem in problems}

    def reply(self, body):
        asked = [m["content"] for m in body["messages"] if m["content"].startswith("Question: ")]
        text = asked[-1]  # what comes after it asks for another form
        question = text.removeprefix("Question: ").partition("\n\n")[0]
        solution = self.solutions[question]
        if "Lines that stay:" in text:
            stay = text.rpartition("Lines that stay:\n")[2]
            return "\n".join(solution[0 if stay == "(none)" else len(stay.split("\n")) :])
        if "\n\nSolution:\n" not in text:
            return "\n".join(solution)
        attempt = Attempt.parse(text.partition("\n\nSolution:\n")[2].partition("\n\nThe right answer is:")[0])
        steps = Attempt.parse("\n".join(solution)).steps
        wrong = next((i for i, right in enumerate(steps) if i >= len(attempt.steps) or attempt.steps[i] != right), None)
        if wrong is None:
            return json.dumps(
                {"correct": True, "error_step": "", "error_segment": "", "error_kind": "", "error_reason": ""}
            )
        line = attempt.steps[min(wrong, len(attempt.steps) - 1)].line
        fields = {"error_step": steps[wrong].header, "error_segment": line[:60], "error_kind": "calculation"}
        return json.dumps({"correct": False, **fields, "error_reason": f"it should read {steps[wrong].body[:50]}"})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rationales", ["given", "expert"])
def test_a_whole_run_on_the_example(tmp_path, rationales):
    endpoint = MisbehavingEndpoint(Behaviour(), reply=TeacherWithTheSolutions(EXAMPLE / "task.yaml").reply)
    settings = {
        "student.model": "tiny", "student.dtype": "float32", "iterations": 1, "generate.max_new_tokens": 96,
        "evaluate.max_new_tokens": 96, "expert.rationales": rationales, "rationale.learning_rate": 1e-3,
    }  # fmt: skip
    task_file = EXAMPLE / "task.yaml"
    if rationales == "expert":  # the same questions without their solutions
        spec = yaml.safe_load(task_file.read_text())
        spec["fields"]["rationale"] = None
        spec |= {key: str(EXAMPLE / spec[key]) for key in ("train_file", "test_file")}
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(spec))
        settings["task"] = str(tmp_path / "task.yaml")
    with serving(endpoint) as url:
        settings["expert.base_url"] = url
        command = [sys.executable, "-m", "flows.cli", "run", str(EXAMPLE / "run.yaml")]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        environment = {**os.environ, "TRIPOST_CACHE": str(tmp_path / "cache"), "OPENAI_API_KEY": "sk-test"}
        subprocess.run([*command, "--output", str(tmp_path / "run")], cwd=ROOT, check=True, env=environment)
    record = read_record(tmp_path / "run")
    assert record is not None and record.finished and record.task_name == "grade_school"
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    entry = next(e for e in report["iterations"] if e["name"] == "tripost-1")
    assert report["task"] == "grade_school" and entry["eval"]["n"]["total"] == 3
    assert entry["buffers"]["filter"]["kept"] > 0 and entry["expert"]["calls"] > 0
    assert entry["expert"]["cost_usd"] > 0  # gpt-4o-mini has a price
