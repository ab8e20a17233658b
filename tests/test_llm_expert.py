"""The expert model: a competent one gives the trajectories of the script, any other one typed outcomes."""

import asyncio
import random

import pytest
from competent_model import CompetentModel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tripost_core.config import ExpertConfig, RunConfig
from tripost_core.editing import CORRECT, DISCARDED, OPEN, improve, improve_async, judge, judge_async, new_turn
from tripost_core.experts.base import NoAnswer, Verdict
from tripost_core.experts.editors import map_bounded
from tripost_core.experts.llm import LLMExpert, Reply
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.prompts import load_prompts
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import TASKS, load_task
from tripost_core.problems.partition import is_pretraining_question


class Endpoint:
    """The model's replies as `Ask` gives them; `scripted` ones come first, one a call."""

    def __init__(self, model, *scripted):
        self.model = model
        self.scripted = list(scripted)
        self.calls = []

    async def __call__(self, messages, *, temperature, sample, response_format):
        self.calls.append((temperature, sample, response_format is not None, messages))
        if self.scripted:
            return self.scripted.pop(0)
        try:
            text = self.model.reply(messages, response_format)
        except ValueError as error:
            return Reply("bad_request", detail=str(error))
        return Reply("ok", text) if text else Reply("empty")


def make_expert(task, endpoint, **config):
    settings_ = ExpertConfig.model_validate({"kind": "llm", "model": "wise", **config})
    return LLMExpert(settings_, load_task(task), load_prompts(task), endpoint)


def trajectory(task_name, seed):
    """A generated trajectory whose one attempt holds a planted mistake, or none."""
    rng = random.Random(seed)
    task = load_task(task_name)
    problem = task.generate(task.subtasks[rng.randrange(2)].name, 1, rng.randrange(10**6))[0]
    planted = plant(problem, rng.choice(error_classes(task_name)), rng) if rng.random() < 0.8 else None
    attempt = planted.attempt if planted else task.rationale(problem.question)
    said = rng.choice([None, "Step (1) to step (4) are correct. The final response is also correct.", "Hm."])
    return {
        **{"trajectory_id": "t", "problem_id": problem.id, "task": task_name, "subtask": problem.subtask},
        **{"seen": True, "question": problem.question, "answer": problem.answer, "status": "generated"},
        **{"round": 0, "edited": False, "reason": None, "turns": [new_turn(attempt, "student", "digest", said)]},
    }


def without_authors(row):
    """Kinds that the prompt does not name are `other`, and the expert's name is the model's: everything else."""
    turns = [
        {k: v for k, v in turn.items() if not k.endswith(("_by", "_source")) and k != "error_class"}
        for turn in row["turns"]
    ]
    return {**row, "turns": turns}


async def edited(row, expert, max_rounds=5):
    row = await judge_async(row, expert, max_rounds)
    while row["status"] == OPEN:
        row = await judge_async(await improve_async(row, expert), expert, max_rounds)
    return row


def edited_by_script(row, expert, max_rounds=5):
    row = judge(row, expert, max_rounds)
    while row["status"] == OPEN:
        row = judge(improve(row, expert), expert, max_rounds)
    return row


@pytest.mark.parametrize("structured", ["auto", "off"])
@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_a_competent_model_edits_as_the_script_does(task, structured, seed):
    row = trajectory(task, seed)
    expert = make_expert(task, Endpoint(CompetentModel(task)), structured_output=structured, judge_right_answers=True)
    by_model = asyncio.run(edited(row, expert))
    by_script = edited_by_script(row, load_scripted_expert(task))
    if by_model["status"] == DISCARDED:  # what a sentence with a segment cannot say: an attempt without any line
        assert by_script["turns"][0]["error_segment"] is None or by_script["status"] == DISCARDED
        return
    assert without_authors(by_model) == without_authors(by_script)
    assert {turn["feedback_by"] for turn in by_model["turns"]} <= {expert.name, "digest"}


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_no_useless_reply_reaches_a_row(task, seed):
    row = trajectory(task, seed)
    expert = make_expert(task, Endpoint(CompetentModel(task, mistake_rate=0.3, useless=0.4)))
    after = asyncio.run(edited(row, expert))
    assert after["status"] in (CORRECT, DISCARDED)
    assert (after["reason"] is None) == (after["status"] == CORRECT)
    if after["status"] == CORRECT:
        assert load_task(task).is_right(after["turns"][-1]["attempt"], row["answer"])
    for turn in after["turns"]:
        if turn["correct"] is False:
            assert turn["error_segment"] in turn["attempt"] and turn["error_step"] and turn["feedback"]


WRONG = '(1) The first letter: "fig"="g" (7), "date"="d" (4).\n(2) We now have: (4) "date" < (7) "fig".\n'
WRONG += '(3) Hence, we have "fig" < "date".\n(Final response) So the answer is: fig date.'


def problem():
    return load_task("word_sorting").parse_question("Sort the following words alphabetically:\nList: fig date")


def test_a_useless_reply_is_asked_for_again_with_the_reason_and_warmer():
    endpoint = Endpoint(CompetentModel("word_sorting"), Reply("ok", "No idea."), Reply("empty"))
    verdict = asyncio.run(make_expert("word_sorting", endpoint).feedback(problem(), WRONG))
    assert isinstance(verdict, Verdict) and verdict.error_step == "1"
    assert [(t, s) for t, s, _, _ in endpoint.calls] == [(0.0, 0), (0.7, 1), (0.7, 2)]
    assert len(endpoint.calls[0][3]) + 2 == len(endpoint.calls[1][3])
    assert "does not have the form" in endpoint.calls[1][3][-1]["content"]


@pytest.mark.parametrize("outcome", ["empty", "cut_off", "refused", "timed_out"])
def test_what_an_endpoint_does_not_answer_is_named(outcome):
    endpoint = Endpoint(None, *[Reply(outcome)] * 3)
    assert asyncio.run(make_expert("word_sorting", endpoint).feedback(problem(), WRONG)) == NoAnswer(outcome)
    assert len(endpoint.calls) == 3


def test_a_request_that_is_refused_for_good_is_not_sent_again():
    endpoint = Endpoint(None, Reply("bad_request", detail="content policy"))
    assert asyncio.run(make_expert("word_sorting", endpoint).feedback(problem(), WRONG)) == NoAnswer("bad_request")
    assert len(endpoint.calls) == 1


def test_an_endpoint_without_structured_output_is_asked_for_the_form():
    endpoint = Endpoint(CompetentModel("word_sorting", structured=False))
    expert = make_expert("word_sorting", endpoint)
    for _ in range(2):
        assert asyncio.run(expert.feedback(problem(), WRONG)).error_step == "1"
    assert [structured for _, _, structured, _ in endpoint.calls] == [True, False, False]
    insisting = make_expert("word_sorting", Endpoint(CompetentModel("word_sorting", structured=False)))
    insisting.config = insisting.config.model_copy(update={"structured_output": "on"})
    assert asyncio.run(insisting.feedback(problem(), WRONG)) == NoAnswer("bad_request")


def test_a_right_answer_costs_no_call_unless_it_shall_be_judged():
    right = load_task("word_sorting").rationale(problem().question)
    endpoint = Endpoint(CompetentModel("word_sorting"))
    assert asyncio.run(make_expert("word_sorting", endpoint).feedback(problem(), right)).correct
    assert not endpoint.calls
    strict = make_expert("word_sorting", endpoint, judge_right_answers=True)
    assert asyncio.run(strict.feedback(problem(), right)).correct
    assert len(endpoint.calls) == 1


def test_rationales_are_kept_when_right_and_consistent():
    right = load_task("word_sorting").rationale(problem().question)
    inconsistent = right.replace('(3) Hence, we have "date" < "fig"', '(3) Hence, we have "fig" < "date"')
    assert inconsistent != right
    for reply, expected in ((WRONG, "wrong_answer"), (inconsistent, "inconsistent_final"), ("Hm.", "not_the_form")):
        expert = make_expert("word_sorting", Endpoint(None, *[Reply("ok", reply)] * 3))
        assert asyncio.run(expert.rationale(problem())) == NoAnswer(expected)
    endpoint = Endpoint(CompetentModel("word_sorting"), Reply("ok", WRONG))
    assert asyncio.run(make_expert("word_sorting", endpoint).rationale(problem())) == right
    assert endpoint.calls[0][3] == endpoint.calls[1][3], "it is asked anew, not told what the answer is"


def test_names_tell_model_and_prompt_version():
    expert = make_expert("word_sorting", Endpoint(None))
    assert expert.name.startswith("wise/word_sorting-1-")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "llm"},
        {"kind": "llm", "model": "m", "mistake_rate": 0.1},
        {"rationales": "expert"},
        {"kind": "llm", "model": "m", "api": "azure"},
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong):
    with pytest.raises(ValidationError):
        ExpertConfig.model_validate(wrong)


def test_how_a_model_is_called_does_not_change_what_a_run_is():
    one = RunConfig.model_validate({"expert": {"kind": "llm", "model": "m"}})
    other = RunConfig.model_validate({"expert": {"kind": "llm", "model": "m"}, "calls": {"budget_usd": 3}})
    assert one.results_part() == other.results_part()
    assert RunConfig().results_part()["expert"] == {"kind": "script", "mistake_rate": 0.0, "max_rounds": 5}


def test_at_most_so_many_rows_are_at_work_and_an_error_ends_them():
    at_work, most, seen = 0, 0, []

    async def work(item):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001 * (item % 3))
        at_work -= 1
        if item == 50:
            raise ValueError("enough")
        return item

    results = asyncio.run(map_bounded(work, range(40), 7, lambda done, total: seen.append((done, total))))
    assert results == list(range(40)) and most == 7
    assert seen == [(i, 40) for i in range(1, 41)]
    with pytest.raises(ExceptionGroup):
        asyncio.run(map_bounded(work, range(100), 7, lambda *_: None))
    assert asyncio.run(map_bounded(work, [], 7, lambda *_: None)) == []


@pytest.mark.parametrize("task", TASKS)
def test_examples_of_prompts_are_in_no_generated_split(task):
    prompts = load_prompts(task)
    assert len(prompts.examples) >= 3
    assert all(is_pretraining_question(example.question) for example in prompts.examples)
