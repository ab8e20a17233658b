"""Judging and repairing, forced: what is counted, with students whose every word is known."""

from dataclasses import replace

import pytest

from tripost_core.experts.base import judgement
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.lm import skills as module
from tripost_core.lm.generate import Completion
from tripost_core.problems import load_task
from tripost_core.problems.base import subtask_names
from tripost_core.trajectory import Attempt

TASK = load_task("multistep_arithmetic")
EXPERT = load_scripted_expert(TASK.name)
PROBLEMS = TASK.generate("l3-4d2", 12, 3)
HALF = len(PROBLEMS) // 2


def spoilt(problem):
    """A wrong last link: the attempt is wrong at its last step but the final one."""
    lines = TASK.rationale(problem.question).split("\n")
    value = lines[-2].rpartition(" = ")[2].removesuffix(".")
    other = str(int(value) + 1)
    return "\n".join([*lines[:-2], lines[-2].removesuffix(f"{value}.") + f"{other}.", lines[-1].replace(value, other)])


ATTEMPTS = [TASK.rationale(p.question) if i < HALF else spoilt(p) for i, p in enumerate(PROBLEMS)]


def measured(monkeypatch, say, mend, at_once=lambda i: "\n(1) It is 3.", say_of_gold=lambda i: " hm"):
    def sample(student, prompts, seeds, *, stop, **settings):
        assert settings["temperature"] == 0 and list(seeds) == [0] * len(prompts)
        texts = []
        for text in prompts:
            i = next(i for i, p in enumerate(PROBLEMS) if text.startswith(f"Q: {p.question}\n"))
            asked_to_judge = text.endswith("\nFeedback:")
            assert asked_to_judge or text.endswith(f"\nUpdated {TASK.answer_header}")
            if text == f"Q: {PROBLEMS[i].question}\nUpdated {TASK.answer_header}":
                texts.append(at_once(i))
            elif i >= HALF and TASK.rationale(PROBLEMS[i].question) in text:
                assert asked_to_judge and ATTEMPTS[i] not in text
                texts.append(say_of_gold(i))
            else:
                assert ATTEMPTS[i] in text
                texts.append(say(i) if asked_to_judge else mend(i))
        return [Completion(text, 1, finished_by_eos=True, truncated=False) for text in texts]

    monkeypatch.setattr("tripost_core.lm.generate.sample", sample)
    return module.skills(None, TASK.name, PROBLEMS, ATTEMPTS, max_new_tokens=100, batch_tokens=100)


def sentence(i):
    return EXPERT.feedback(PROBLEMS[i], ATTEMPTS[i]).sentence(ATTEMPTS[i])


def test_a_perfect_student(monkeypatch):
    repair = lambda i: f"\n{EXPERT.improve(PROBLEMS[i], ATTEMPTS[i], sentence(i))}\nFeedback:"  # noqa: E731
    found = measured(monkeypatch, lambda i: f" {sentence(i)}\nUpdated Answer: ...", repair)
    assert found == {
        "n": 12, "num_wrong": 6, "verdict": 1.0, "always_wrong": 0.5, "found": 1.0, "step": 1.0,
        "false_alarms": 0.0, "found_in_gold": 0.0, "repaired": 1.0, "kept": 1.0, "at_once": 0.0,
    }  # fmt: skip


def test_one_that_always_blames_the_first_step_and_changes_nothing(monkeypatch):
    blame = ' In step (1) the part "A" is incorrect. This is because of this.'
    found = measured(monkeypatch, lambda i: blame, lambda i: f"\n{ATTEMPTS[i]}")
    expected = {"verdict": 0.5, "found": 1.0, "step": 0.0, "false_alarms": 1.0, "repaired": 0.0, "kept": 1.0}
    assert {name: found[name] for name in expected} == expected


def test_one_that_judges_the_question_and_not_the_attempt(monkeypatch):
    """It says of the gold rationale what it says of its own attempt; and it calculates better in an update."""
    blame = ' In step (1) the part "A" is incorrect. This is because of this.'
    say = lambda i: blame if i >= HALF else f" {sentence(i)}"  # noqa: E731
    gold = lambda i: f"\n{TASK.rationale(PROBLEMS[i].question)}" if i % 4 else "\n(1) It is 3."  # noqa: E731
    found = measured(monkeypatch, say, gold, at_once=gold, say_of_gold=say)
    assert (found["found"], found["false_alarms"], found["found_in_gold"]) == (1.0, 0.0, 1.0)
    assert found["at_once"] == 0.75


def test_one_that_says_nothing_and_starts_all_over(monkeypatch):
    found = measured(monkeypatch, lambda i: " hm", lambda i: "\n(1) It is 3.")
    expected = {"verdict": 0.0, "found": 0.0, "step": 0.0, "false_alarms": 0.0, "repaired": 0.0, "kept": 0.0}
    assert {name: found[name] for name in expected} == expected


def test_a_question_that_the_script_cannot_read_does_not_count(monkeypatch):
    task, expert = load_task("date_understanding"), load_scripted_expert("date_understanding")
    problems = task.generate(subtask_names(task)[0], 3, seed=1)
    odd = replace(problems[0], question="What is the date a fortnight ago in MM/DD/YYYY?")
    attempts = [task.rationale(problem.question) for problem in problems]
    assert judgement(expert, odd, attempts[0]) is None
    monkeypatch.setattr("tripost_core.lm.generate.sample", lambda student, prompts, seeds, **_: [
        Completion(" hm", 1, True, False) for _ in prompts
    ])  # fmt: skip
    found = module.skills(
        None, "date_understanding", [odd, *problems], [attempts[0], *attempts], max_new_tokens=9, batch_tokens=9
    )
    assert (found["n"], found["num_wrong"], found["at_once"]) == (3, 0, 0.0)


def test_without_a_wrong_attempt_there_is_nothing_to_repair(monkeypatch):
    monkeypatch.setattr("tripost_core.lm.generate.sample", lambda student, prompts, seeds, **_: [
        Completion(f" {sentence(i)}", 1, True, False) for i in range(len(prompts))
    ])  # fmt: skip
    found = module.skills(None, TASK.name, PROBLEMS[:HALF], ATTEMPTS[:HALF], max_new_tokens=9, batch_tokens=9)
    assert found["verdict"] == 1.0 and found["repaired"] is found["found"] is found["kept"] is None


@pytest.mark.parametrize("i", range(HALF, 12))
def test_the_spoilt_attempts_are_wrong_where_they_are_spoilt(i):
    verdict = EXPERT.feedback(PROBLEMS[i], ATTEMPTS[i])
    assert verdict.error_step == Attempt.parse(ATTEMPTS[i]).last_numbered_header
