"""Pretraining: what the corpus may and may not hold, and that an interrupted run ends like one left alone."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.config import DataConfig
from tripost_core.errors import ConfigError
from tripost_core.experts.checks import of_task
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.lm.corpus import (
    FEEDBACK,
    columns,
    drill_document,
    encode,
    gold,
    mix,
    pretraining_problems,
    revision,
    step_feedback,
    worked,
)
from tripost_core.lm.muon import Muon, orthogonalised
from tripost_core.lm.presets import PRESETS
from tripost_core.lm.pretrain import SHARD_DOCUMENTS, _shares, build_model, pretrain
from tripost_core.lm.self_improve import parse_turns
from tripost_core.lm.student import load_student
from tripost_core.lm.tokenizer import build_tokenizer
from tripost_core.problems import TASKS, load_task, prompt
from tripost_core.problems.partition import canonical_question, is_pretraining_question
from tripost_core.problems.splits import make_splits
from tripost_core.trajectory import Attempt, Feedback, label

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
SEEN = [(task, s.name) for task in TASKS for s in load_task(task).subtasks if s.seen]


@pytest.fixture(scope="module")
def corpus():
    """Documents of every phase of the shipped student's recipe."""
    return [document for phase in PRESETS["tiny"].phases for document in mix(phase.sources, 80, "test")]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_the_corpus_is_a_function_of_its_seed(corpus):
    sources = PRESETS["tiny"].phases[-1].sources
    assert mix(sources, 20, "a") == mix(sources, 20, "a") != mix(sources, 20, "b")


def test_the_corpus_asks_seen_questions_of_its_own_side_only(corpus):
    for document in corpus:
        problem = load_task(document.task).parse_question(document.question)
        assert problem.seen and is_pretraining_question(document.question)
        assert document.text.startswith(prompt(load_task(document.task), document.question) + "\n(1) ")


@pytest.mark.parametrize("name", TASKS)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_no_split_of_any_seed_holds_a_pretraining_question(name, seed):
    splits = make_splits(load_task(name), DataConfig(num_train=40, num_test_seen=20, num_test_unseen=20), seed)
    assert not any(is_pretraining_question(problem.question) for problem in splits.problems)


@pytest.mark.parametrize(("name", "subtask"), SEEN)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_pretraining_draws_from_its_side(name, subtask, seed):
    problems = pretraining_problems(name, subtask, 5, random.Random(seed))
    assert problems and all(is_pretraining_question(problem.question) for problem in problems)
    assert len({canonical_question(problem.question) for problem in problems}) == len(problems)


@given(words=st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=6), data=st.data())
def test_the_side_of_a_word_list_does_not_depend_on_its_order(words, data):
    start = "Sort the following words alphabetically:"
    shuffled = data.draw(st.permutations(words))
    assert is_pretraining_question(f"{start}\nList: {' '.join(words)}") == is_pretraining_question(
        f"Q: {start} List:  {' '.join(shuffled)} "
    )


@pytest.mark.parametrize("name", TASKS)
def test_no_reference_test_question_is_in_the_corpus(corpus, name):
    paths = [REFERENCE / f"paper_{name}.jsonl", *REFERENCE.glob(f"bbh_{name}*.json")]
    if len(paths) < 2 or not paths[0].exists():
        pytest.skip("the reference data are not beside this checkout")
    rows = [json.loads(line) for line in paths[0].read_text().splitlines()]
    examples = [example for path in paths[1:] for example in json.loads(path.read_text())["examples"]]
    asked = [row["question"] for row in rows if row["split"] != "train"] + [row["input"] for row in examples]
    tested = {canonical_question(question) for question in asked}
    assert tested and not tested & {canonical_question(document.question) for document in corpus}


def test_no_document_repairs_an_attempt(corpus):
    for document in corpus:
        assert "Updated" not in document.text
        if document.kind == "gold":
            assert "Feedback" not in document.text
        else:
            assert document.text.count(FEEDBACK) == 1
            assert "\n" not in document.text.split(FEEDBACK)[1], "the feedback line ends the document"


def test_feedback_judges_the_last_step_alone_and_is_true(corpus):
    judged = [document for document in corpus if document.kind == "step_feedback"]
    right = 0
    for document in judged:
        problem = load_task(document.task).parse_question(document.question)
        head = prompt(load_task(document.task), document.question)
        text, sentence = document.text[len(head) + 1 :].split(FEEDBACK)
        attempt = Attempt.parse(text)
        step = attempt.steps[-1]
        assert step.header
        verdict = load_scripted_expert(document.task).feedback(problem, text)
        if sentence == f" Step ({label(step.header)}) is correct.":
            right += 1
            gold_lines = load_task(document.task).rationale(document.question).split("\n")
            assert text.split("\n") == gold_lines[: len(attempt.steps)]
        else:
            feedback = Feedback.parse(sentence)
            assert feedback.error_step == verdict.error_step == step.header
            assert feedback.error_segment == verdict.error_segment and feedback.error_segment in step.line
            assert sentence.startswith(" In step (")
    assert 0.35 < right / len(judged) < 0.65


def test_loss_covers_what_the_student_should_imitate(corpus, tokenizer):
    for document in corpus:
        ids, labels = encode(document, tokenizer)
        assert len(ids) == len(labels) and ids[0] == tokenizer.bos_token_id
        assert ids[-1] == labels[-1] == tokenizer.eos_token_id
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        trained = tokenizer.decode([token for token in labels[:-1] if token != -100])
        body = document.text[len(prompt(load_task(document.task), document.question)) :]
        if document.kind == "gold":
            assert trained == body
            continue
        attempt, sentence = body.split(FEEDBACK)
        mistaken = sentence.startswith(" In step")
        before = attempt[: attempt.rindex("\n(")] if mistaken else attempt
        assert trained == before + sentence


@pytest.mark.parametrize(("name", "subtask"), SEEN)
def test_gold_and_judged_steps_exist_for_every_seen_subtask(name, subtask):
    rng = random.Random(11)
    problems = pretraining_problems(name, subtask, 10, rng)
    assert all(gold(problem).text.endswith(".") for problem in problems)
    assert any(step_feedback(problem, rng) for problem in problems)


def test_shares_of_the_recipe():
    """About a third of what the student reads last is criticism, none of what it reads first."""
    shares = [
        sum(s.weight for s in phase.sources if s.kind == "step_feedback") / sum(s.weight for s in phase.sources)
        for phase in PRESETS["tiny"].phases
    ]
    assert shares[0] == 0 and 0.2 <= shares[-1] <= 0.5
    assert PRESETS["tiny"].context_length >= 4096


class Interrupted(Exception):
    pass


def weights(directory):
    return load_student(directory, device="cpu").model.state_dict()


def test_interrupted_pretraining_ends_like_one_left_alone(tmp_path):
    records = []
    whole = pretrain("debug", tmp_path / "whole", 3, records.append)
    assert whole.steps == PRESETS["debug"].steps and whole.tokens > 0
    assert set(whole.gold_match) == {"multistep_arithmetic/l3-4d2/l3", "multistep_arithmetic/l3-4d2/l4"} | {
        f"{task}/{subtask}" for task, subtask in SEEN if task != "multistep_arithmetic"
    }
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < losses[0]

    def interrupted_at(step, kind):
        seen = []

        def interrupt(record):
            seen.append(record["step"])
            if record["step"] == step and any(key.startswith(kind) for key in record):
                raise Interrupted

        with pytest.raises(Interrupted):
            pretrain("debug", tmp_path / "again", 3, interrupt)
        return seen

    assert interrupted_at(6, "gold_match")[-2:] == [6, 6]
    assert interrupted_at(10, "loss")[0] == 6, "it evaluates again what was not saved"
    assert not (tmp_path / "again").exists(), "no half-made student is to be seen"
    with pytest.raises(ConfigError, match="other settings"):
        pretrain("debug", tmp_path / "again", 4)
    resumed = []
    again = pretrain("debug", tmp_path / "again", 3, resumed.append)
    assert resumed[0]["step"] == 10, "the state is saved with each line of the log"
    logs = [
        [
            {k: v for k, v in json.loads(line).items() if "second" not in k}
            for line in (tmp_path / name / "training_log.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "again")
    ]
    assert logs[0] == logs[1]  # first, for it says where two runs part
    mine, theirs = weights(tmp_path / "again"), weights(tmp_path / "whole")
    assert [key for key in theirs if not torch.equal(mine[key], theirs[key])] == []
    assert again.digest == whole.digest and again.tokens == whole.tokens
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "whole"]


def test_another_seed_is_another_student(tmp_path):
    first = pretrain("debug", tmp_path / "a", 1, minutes=0.01)
    second = pretrain("debug", tmp_path / "b", 2, minutes=0.01)
    assert first.digest != second.digest
    assert re.fullmatch(r"[0-9a-f]{64}", first.digest)


@pytest.mark.parametrize(
    "arguments", [{"preset": "huge"}, {"preset": "debug", "minutes": 0}, {"preset": "debug", "device": "tpu"}]
)
def test_wrong_arguments(tmp_path, arguments):
    with pytest.raises(ConfigError):
        pretrain(**{"out": tmp_path / "x", "seed": 0} | arguments)
    assert not list(tmp_path.iterdir())


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), count=st.integers(1, 3), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_orthogonalised_has_singular_values_near_one(rows, columns, count, seed):
    torch.manual_seed(seed)
    shape = (count, rows, columns)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.rand(count, min(rows, columns)) * 0.9 + 0.1
    result = orthogonalised(u * values[:, None, :] @ v)
    singular = torch.linalg.svdvals(result)
    assert result.shape == shape and (singular > 0.5).all() and (singular < 1.5).all()


def test_muon_agrees_with_torch():
    torch.manual_seed(0)
    start = [torch.randn(24, 16), torch.randn(16, 24), torch.randn(24, 16)]
    mine = [torch.nn.Parameter(x.clone()) for x in start]
    theirs = [torch.nn.Parameter(x.clone()) for x in start]
    optimisers = [Muon(mine, lr=0.02), torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.0)]
    for _ in range(3):
        for group, optimiser in zip((mine, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            sum((p @ p.mT - torch.eye(p.shape[0])).square().sum() for p in group).backward()
            optimiser.step()
    for a, b, x in zip(mine, theirs, start, strict=True):
        assert (a - b).norm() < 0.05 * (a - x).norm(), "torch iterates in bf16"


@pytest.mark.parametrize("name", PRESETS)
def test_learning_rate_warms_up_and_ends_at_zero(name):
    preset = PRESETS[name]
    factors = [preset.lr_factor(step) for step in range(preset.steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[0] == pytest.approx(preset.phases[0].lr_factors[0] / preset.warmup_steps)
    assert preset.lr_factor(preset.steps) == 0
    assert factors[-1] < 2 * max(phase.lr_factors[0] for phase in preset.phases) / preset.phases[-1].steps + 1e-9


@pytest.mark.parametrize("name", PRESETS)
def test_every_step_has_its_phase(name):
    preset = PRESETS[name]
    counted = [preset.phase_at(step) for step in range(preset.steps)]
    assert [counted.count(phase) for phase in preset.phases] == [phase.steps for phase in preset.phases]


@pytest.mark.parametrize(("task_name", "subtask"), SEEN)
def test_a_revision_mends_a_planted_mistake_and_teaches_neither_it_nor_to_judge_unasked(task_name, subtask, tokenizer):
    rng = random.Random(f"revision/{subtask}")
    task, expert = load_task(task_name), load_scripted_expert(task_name)
    problems = pretraining_problems(task_name, subtask, 12, rng)
    documents = [(p, d) for p in problems for _ in range(3) if (d := revision(p, rng)) is not None]
    assert len(documents) > 18
    num_updates = 0
    for problem, document in documents:
        head = prompt(task, problem.question)
        turns = parse_turns(document.text[len(head) :])
        assert turns[0].feedback == expert.feedback(problem, turns[0].attempt).sentence(turns[0].attempt)
        trained = _trained_text(document, tokenizer)
        assert "Feedback:" not in trained
        assert trained.rstrip().endswith(document.text[-20:])
        if len(turns) == 1:
            assert Feedback.parse(turns[0].feedback).terminal and turns[0].attempt in trained
            continue
        num_updates += 1
        said = Feedback.parse(turns[0].feedback)
        untouched = Attempt.parse(turns[0].attempt).untouched(said.error_step)
        assert Attempt.parse(turns[1].attempt).steps[: len(untouched)] == untouched
        assert expert.feedback(problem, turns[1].attempt).correct and turns[1].attempt in trained
        wrong_line = Attempt.parse(turns[0].attempt).steps[len(untouched) :]
        mistaken = document.text[: document.text.index(FEEDBACK)]
        assert not wrong_line or wrong_line[0].line not in _trained_text(document, tokenizer, len(mistaken))
    assert 0.4 < num_updates / len(documents) < 0.9


def _trained_text(document, tokenizer, end=None):
    """What bears loss of the text, or of its first `end` characters."""
    offsets = tokenizer(document.text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    _, labels = encode(document, tokenizer)
    spans = [span for span, label_ in zip(offsets, labels[1:-1], strict=True) if label_ != -100]
    return "".join(document.text[a:b] for a, b in spans if end is None or b <= end)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.start])
def test_a_preset_that_goes_on_begins_with_its_start(name):
    preset = PRESETS[name]
    model, start = build_model(preset, 0), load_student(preset.start, "cpu", torch.float32).model
    for (key, mine), theirs in zip(model.state_dict().items(), start.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), key
    documents = mix(preset.phases[0].sources, 60, "test")
    kinds = {source.kind for phase in preset.phases for source in phase.sources}
    assert {document.kind for document in documents} == kinds >= {"gold", "revision"}
    assert len({document.task for document in documents}) == 1


def test_the_preset_for_a_gpu_has_tens_of_millions_of_parameters_and_the_same_documents():
    tiny, small = PRESETS["tiny"], PRESETS["small"]
    assert 10e6 < build_model(small, 0).num_parameters() < 150e6
    assert [phase.sources for phase in small.phases] == [phase.sources for phase in tiny.phases]


@pytest.mark.gpu
def test_pretraining_on_a_gpu(tmp_path):
    records = []
    made = pretrain("debug", tmp_path / "student", 3, records.append, device="cuda")
    losses = [record["loss"] for record in records if "loss" in record]
    assert made.steps == PRESETS["debug"].steps and losses[-1] < losses[0]


def test_a_drill_teaches_to_call_a_result_wrong_and_not_to_write_it(tokenizer):
    rng = random.Random(6)
    for problem in pretraining_problems("multistep_arithmetic", "l3-4d2", 20, rng):
        document = drill_document(problem, rng)
        head = prompt(load_task(problem.task), problem.question) + FEEDBACK
        assert document.text.startswith(f"{head} (2) Let's calculate A = ")
        wrong = [document.text[start:end] for start, end in document.untrained[1:]]
        assert document.text.count(" No.") == len(wrong)
        trained = _trained_text(document, tokenizer)
        assert trained.count(" No.") == len(wrong)
        # A token may begin before the result (` = -`), so a sign may remain.
        assert len(document.text) - len(head) - len(trained) >= sum(len(text.lstrip("-(")) for text in wrong)


@pytest.mark.parametrize(("task_name", "subtask"), [("multistep_arithmetic", "l3-4d2"), ("word_sorting", "4-7")])
def test_a_worked_rationale_is_the_end_of_an_update(task_name, subtask, tokenizer):
    task, rng = load_task(task_name), random.Random(5)
    workings = 0
    for problem in pretraining_problems(task_name, subtask, 20, rng):
        document = worked(problem, rng)
        head = f"Q: {problem.question}\nUpdated {task.answer_header}"
        assert document.text.startswith(f"{head}\n(1) ")
        answer = document.text.removeprefix(f"{head}\n")
        assert of_task(task_name).without_workings(answer) == task.rationale(problem.question)
        assert _trained_text(document, tokenizer).strip("\n") == answer
        workings += answer != task.rationale(problem.question)
    assert workings > 10


def test_operations_in_columns_are_all_trained_on(tokenizer):
    rng = random.Random(5)
    for problem in pretraining_problems("multistep_arithmetic", "l3-4d2", 5, rng):
        document = columns(problem, rng)
        lines = _trained_text(document, tokenizer).strip("\n").split("\n")
        assert len(lines) == 12 and all(re.fullmatch(r"\(\d+\) \(.*\) \[.*\] = -?\d+\.", line) for line in lines)


def test_revisions_of_chosen_mistakes_mend_those_alone():
    rng = random.Random(4)
    expert = load_scripted_expert("multistep_arithmetic")
    classes = set()
    for problem in pretraining_problems("multistep_arithmetic", "l3-4d2", 20, rng):
        document = revision(problem, rng, classes=("algebraic",))
        attempt = parse_turns(document.text[len(prompt(load_task(problem.task), problem.question)) :])[0].attempt
        classes.add(expert.feedback(problem, attempt).error_class)
    assert classes == {None, "algebraic"}


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=40), st.integers(1, 3))
def test_shares_hold_every_document_once_and_are_about_as_long(lengths, parts):
    rows = [([0] * length, [position]) for position, length in enumerate(lengths)]
    shares = _shares(rows, parts)
    assert sorted(row[1][0] for share in shares for shard in share for row in shard) == list(range(len(rows)))
    assert all(0 < len(shard) <= SHARD_DOCUMENTS for share in shares for shard in share)
    assert len(shares) == min(parts, -(-len(rows) // SHARD_DOCUMENTS))
    computed = [sum(len(shard) * max(len(ids) for ids, _ in shard) for shard in share) for share in shares]
    assert max(computed) - min(computed) <= SHARD_DOCUMENTS * max(lengths)
