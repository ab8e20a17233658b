"""Replies of an expert model: what is read from them, and that nothing unusable passes."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.experts import reading
from tripost_core.experts.messages import VERDICT_SCHEMA, feedback_messages, improve_messages, rationale_messages
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.prompts import load_prompts
from tripost_core.experts.reading import Unusable, is_complete, read_rationale, read_repair, read_verdict
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import TASKS, load_task
from tripost_core.trajectory import FINAL, Attempt

seeds = st.integers(0, 10**6)


def planted(task_name: str, seed: int):
    """A problem, a wrong attempt at it and the scripted expert's verdict."""
    rng = random.Random(seed)
    task, expert = load_task(task_name), load_scripted_expert(task_name)
    while True:
        problem = task.generate(task.subtasks[rng.randrange(2)].name, 1, rng.randrange(10**6))[0]
        mistake = plant(problem, rng.choice(error_classes(task_name)), rng)
        verdict = mistake and expert.feedback(problem, mistake.attempt)
        if (
            verdict
            and verdict.error_segment
            and Attempt.parse(mistake.attempt).index_of(verdict.error_step) is not None
        ):
            return problem, mistake.attempt, verdict


def as_json(verdict, **changes) -> str:
    fields = {
        "correct": verdict.correct,
        "error_step": verdict.error_step,
        "error_segment": verdict.error_segment,
        "error_kind": verdict.error_class,
        "error_reason": verdict.reason,
    }
    return json.dumps(fields | changes, ensure_ascii=False)


def as_form(verdict) -> str:
    return (
        f"Correct: no\nStep: ({verdict.error_step})\nSegment: {verdict.error_segment}\n"
        f"Kind: {verdict.error_class}\nReason: {verdict.reason}"
    )


@pytest.mark.parametrize("task", TASKS)
@given(seed=seeds, dress=st.integers(0, 4))
def test_a_competent_reply_is_read_as_the_verdict_that_it_gives(task, seed, dress):
    _, attempt, verdict = planted(task, seed)
    reply = [
        as_json(verdict),
        f"```json\n{as_json(verdict)}\n```",
        f"Here is my judgement.\n{as_json(verdict)}\nI hope it helps.",
        as_form(verdict),
        as_json(verdict, error_segment=f"“{verdict.error_segment}”", error_step=f"Step ({verdict.error_step})"),
    ][dress]
    read = read_verdict(reply, attempt, error_classes(task), final_is_right=False)
    assert (read.correct, read.error_step, read.error_class) == (False, verdict.error_step, verdict.error_class)
    assert read.error_segment == verdict.error_segment
    assert read.reason == verdict.reason.removesuffix(".")


@pytest.mark.parametrize("task", TASKS)
@given(seed=seeds)
def test_every_kind_of_useless_verdict_is_named(task, seed):
    _, attempt, verdict = planted(task, seed)

    def outcome(reply, right=False):
        read = read_verdict(reply, attempt, error_classes(task), right)
        return read.reason if isinstance(read, Unusable) else read

    assert outcome("") == outcome("I am not able to help with that.") == reading.NOT_THE_FORM
    assert outcome(as_json(verdict)[:-5]) == outcome('{"correct": "perhaps"}') == reading.NOT_THE_FORM
    assert (
        outcome(as_json(verdict, error_step="77")) == outcome(as_json(verdict, error_step="")) == reading.NO_SUCH_STEP
    )
    assert outcome(as_json(verdict, error_segment="no such words in it")) == reading.SEGMENT_NOT_IN_STEP
    assert outcome(as_json(verdict, error_segment="")) == reading.SEGMENT_NOT_IN_STEP
    assert outcome(as_json(verdict, error_reason=" ")) == reading.NO_REASON
    assert outcome(as_json(verdict, error_reason="这个数字是错误的")) == reading.OTHER_LANGUAGE
    german = "das Vorzeichen dieser Zahl wurde hier leider falsch abgeschrieben worden"
    assert outcome(as_json(verdict, error_reason=german)) == reading.OTHER_LANGUAGE
    assert outcome(as_json(verdict, correct=True)) == reading.CONTRADICTS_ANSWER
    assert outcome(as_json(verdict, correct=True), right=True).correct


@given(reply=st.text(max_size=300), seed=seeds)
def test_no_reply_breaks_the_reader(reply, seed):
    _, attempt, verdict = planted("multistep_arithmetic", seed)
    read = read_verdict(reply, attempt, (), False)
    assert isinstance(read, Unusable) or read.error_segment in attempt
    sentence = verdict.sentence(attempt)
    repaired = read_repair(reply, attempt, sentence)
    assert isinstance(repaired, (Unusable, str))
    assert isinstance(read_rationale(reply), (Unusable, str))


def test_bold_is_taken_out_and_powers_stay():
    reply = "Sure:\n**(1)** 2**3 = 8, and **so** 8 ** 2 = 4**3 = 64.\n**(Final response) So the answer is 64.**"
    written = read_rationale(reply)
    assert written == "(1) 2**3 = 8, and so 8 ** 2 = 4**3 = 64.\n(Final response) So the answer is 64."


@pytest.mark.parametrize("task", TASKS)
@given(seed=seeds, dress=st.integers(0, 3))
def test_a_repair_keeps_the_prefix_byte_for_byte(task, seed, dress):
    problem, attempt, verdict = planted(task, seed)
    sentence = verdict.sentence(attempt)
    right = load_scripted_expert(task).improve(problem, attempt, sentence)
    kept = Attempt.parse(attempt).before(verdict.error_step)
    rest = "\n".join(right.split("\n")[len(kept) :])
    reply = [rest, right, f"```\n{rest}\n```", f"Updated Answer:\n{rest}\nFeedback: all is right now."][dress]
    assert read_repair(reply, attempt, sentence) == right


@pytest.mark.parametrize("task", TASKS)
@given(seed=seeds)
def test_a_repair_that_touches_the_prefix_or_stops_early_is_refused(task, seed):
    problem, attempt, verdict = planted(task, seed)
    sentence = verdict.sentence(attempt)
    lines = load_scripted_expert(task).improve(problem, attempt, sentence).split("\n")
    kept = [step.line for step in Attempt.parse(attempt).before(verdict.error_step)]
    if is_complete(kept):
        return  # whatever the reply is, the lines that stay are the answer
    num_kept = len(kept)
    if num_kept:
        altered = [lines[0] + " And more.", *lines[1:]]
        assert read_repair("\n".join(altered), attempt, sentence) == Unusable(reading.PREFIX_CHANGED)
    if len(lines) - num_kept > 1:
        cut = "\n".join(lines[num_kept:-1])
        assert read_repair(cut, attempt, sentence) == Unusable(reading.NO_FINAL_RESPONSE)
    if Attempt.parse(attempt).steps[-1].header == FINAL and "\n(Final response)" not in attempt[:-1].rsplit("\n", 1)[0]:
        same = "\n".join(attempt.split("\n")[num_kept:])
        assert read_repair(same, attempt, sentence) == Unusable(reading.UNCHANGED)
    assert read_repair("Sorry, no.", attempt, sentence) == Unusable(reading.NOT_THE_FORM)


@pytest.mark.parametrize("task", TASKS)
def test_shipped_examples_are_what_the_script_says_of_them(task):
    prompts, expert = load_prompts(task), load_scripted_expert(task)
    assert len(prompts.examples) == 3
    for example in prompts.examples:
        problem = load_task(task).parse_question(example.question)
        assert problem.answer == example.answer
        verdict = expert.feedback(problem, example.attempt)
        assert (verdict.error_step, verdict.error_segment) == (example.error_step, example.error_segment)
        assert verdict.error_class == example.error_kind in prompts.kinds
        assert example.improved == expert.improve(problem, example.attempt, example.feedback)
        assert expert.feedback(problem, example.improved).correct


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_replies_of_the_examples_can_be_read_themselves(task, structured):
    prompts = load_prompts(task)
    messages = feedback_messages(prompts, "q", "(1) a", None, structured)
    replies = [m["content"] for m in messages if m["role"] == "assistant"]
    for example, reply in zip(prompts.examples, replies, strict=False):
        read = read_verdict(reply, example.attempt, tuple(prompts.kinds), False)
        assert read.sentence(example.attempt) == example.feedback
    assert read_verdict(replies[-1], prompts.examples[-1].improved, (), True).correct
    repairs = improve_messages(prompts, "q", "(1) a", 'In step (1) the part "a" is incorrect. This is because b.')
    for example, reply in zip(
        prompts.examples, [m["content"] for m in repairs if m["role"] == "assistant"], strict=True
    ):
        assert read_repair(reply, example.attempt, example.feedback) == example.improved
    for reply in [m["content"] for m in rationale_messages(prompts, "q") if m["role"] == "assistant"]:
        assert read_rationale(reply) == reply


def test_the_known_answer_is_shown_only_where_it_may_be():
    prompts = load_prompts("word_sorting")
    shown = feedback_messages(prompts, "q", "(1) a", "42", True)
    hidden = feedback_messages(prompts, "q", "(1) a", None, True)
    assert "right answer is: 42" in shown[-1]["content"]
    assert not any("right answer is" in message["content"] for message in hidden)
    assert set(VERDICT_SCHEMA["json_schema"]["schema"]["required"]) == set(json.loads(hidden[-2]["content"]))
