"""The stages `generate` and `evaluate`: pytest tests/test_stage_generate.py"""

import pytest

from tripost_core.buffers import read_manifest, read_rows, write_buffer
from tripost_core.config import EvaluateConfig, GenerateConfig
from tripost_core.errors import DataError, ModelError
from tripost_core.lm.self_improve import SelfImprovement, Turn
from tripost_core.metrics import evaluate_rows
from tripost_core.problems import load_task
from tripost_core.problems.base import Problem, subtask_names
from tripost_core.stages import Ref, StageRequest, committed, execute
from tripost_core.stages.evaluate import answer_row
from tripost_core.stages.generate import sample_seed

TASK = load_task("multistep_arithmetic")
ON_CPU = {"dtype": "float32", "device": "cpu"}


def problem_row(problem, split):
    return {
        "problem_id": problem.id,
        "task": problem.task,
        "subtask": problem.subtask,
        "seen": problem.seen,
        "question": problem.question,
        "answer": problem.answer,
        "split": split,
        "rationale": problem.rationale,
    }


@pytest.fixture(scope="module")
def student_ref(toy_student, tmp_path_factory):
    from tripost_core.lm.student import checkpoint_digest, save_student

    directory = save_student(toy_student.model, toy_student.tokenizer, tmp_path_factory.mktemp("student") / "toy")
    return Ref(uri=str(directory), digest=checkpoint_digest(directory), kind="checkpoint")


def problems_ref(directory, num_train, num_test):
    names = subtask_names(TASK)
    problems = TASK.generate(names[0], num_train + num_test, seed=1)
    rows = [problem_row(p, "train" if i < num_train else "test") for i, p in enumerate(problems)]
    return write_buffer(str(directory / "problems"), "problems-1", rows)


def request(stage, store, problems, student, config, **params):
    return StageRequest(
        stage=stage,
        label=stage,
        store=str(store),
        config={**config, "student": ON_CPU},
        params={"task": TASK.name, **params},
        inputs={"problems": problems, "student": student},
        seed=7,
    )


def test_generate(tmp_path, student_ref):
    problems = problems_ref(tmp_path, 4, 2)
    config = GenerateConfig(num_samples=3, max_new_tokens=16).model_dump()
    one = request("generate", tmp_path / "a", problems, student_ref, config, iteration=2)
    ref = execute(one)
    rows = read_rows(ref)
    train = {row["problem_id"]: row for row in read_rows(problems) if row["split"] == "train"}
    assert {(row["problem_id"], row["sample"]) for row in rows} == {(p, k) for p in train for k in range(3)}
    for row in rows:
        assert row["question"] == train[row["problem_id"]]["question"]
        assert row["seed"] == sample_seed(7, 2, row["problem_id"], row["sample"])
        assert (row["status"], row["iteration"], row["round"], row["edited"]) == ("generated", 2, 0, False)
        assert row["truncated"] == (row["num_tokens"] == 16)
        for turn in row["turns"]:
            assert (turn["attempt_source"], turn["attempt_by"]) == ("student", student_ref.digest)
            assert turn["feedback"] is turn["correct"] is turn["error_step"] is None
    about = read_manifest(ref.uri)
    assert (about["in"], about["kept"], about["dropped"]) == (12, 12, {})
    assert about["metrics"]["tokens"] == sum(row["num_tokens"] for row in rows)
    # The same work elsewhere, in batches of another width, gives the same rows.
    narrow = request("generate", tmp_path / "b", problems, student_ref, {**config, "batch_tokens": 256}, iteration=2)
    assert execute(narrow).digest == ref.digest


def test_equal_trajectories_of_a_problem_are_kept_once(tmp_path, student_ref):
    config = GenerateConfig(num_samples=5, max_new_tokens=8, temperature=1e-4).model_dump()
    problems = problems_ref(tmp_path, 2, 1)
    ref = execute(request("generate", tmp_path / "a", problems, student_ref, config, iteration=1))
    assert [row["sample"] for row in read_rows(ref)] == [0, 0]
    assert read_manifest(ref.uri)["dropped"] == {"duplicate": 8}
    every = request("generate", tmp_path / "a", problems, student_ref, config, iteration=1, keep_duplicates=True)
    rows = read_rows(execute(every))
    assert [row["sample"] for row in rows] == [0, 1, 2, 3, 4] * 2 and len({row["trajectory_id"] for row in rows}) == 10


@pytest.mark.parametrize("num_shards", [2, 5])
def test_shards_gathered_are_what_one_worker_writes(tmp_path, student_ref, num_shards):
    """Also where a shard is left without a question."""
    problems = problems_ref(tmp_path, 4, 1)
    config = GenerateConfig(num_samples=3, max_new_tokens=16, temperature=0.2).model_dump()
    whole = execute(request("generate", tmp_path / "a", problems, student_ref, config, iteration=1))
    shards = {
        f"shard-{n}": execute(
            request("generate", tmp_path / "b", problems, student_ref, config, iteration=1, shard=[n, num_shards])
        )
        for n in range(num_shards)
    }
    gathering = StageRequest(stage="gather", label="gather", store=str(tmp_path), inputs=shards)
    gathered = execute(gathering)
    assert gathered.digest == whole.digest and gathered.num_rows == whole.num_rows
    one, other = (read_manifest(ref.uri) for ref in (whole, gathered))
    assert [one[name] for name in ("in", "kept", "dropped")] == [other[name] for name in ("in", "kept", "dropped")]
    assert one["metrics"]["tokens"] == other["metrics"]["tokens"]
    assert one["metrics"]["num_truncated"] == other["metrics"]["num_truncated"]


def test_evaluate(tmp_path, student_ref):
    problems = problems_ref(tmp_path, 1, 3)
    config = EvaluateConfig(max_new_tokens=16).model_dump()
    ref = execute(request("evaluate", tmp_path / "a", problems, student_ref, config))
    rows = read_rows(ref)
    assert {row["problem_id"] for row in rows} == {r["problem_id"] for r in read_rows(problems) if r["split"] == "test"}
    assert {row["attempt_by"] for row in rows} == {student_ref.digest}
    metrics = read_manifest(ref.uri)["metrics"]
    assert metrics["eval"] == evaluate_rows(rows)
    assert metrics["eval"]["n"]["total"] == 3
    assert metrics["num_truncated"] == sum(row["truncated"] for row in rows)
    assert metrics["own_feedback"]["n"] == 3
    assert not any(row["right"] for row in rows if row["truncated"])


@pytest.mark.parametrize(("stage", "splits"), [("generate", (1, 0)), ("evaluate", (0, 1))])
def test_one_question_is_enough_and_none_is_one_sentence(tmp_path, student_ref, stage, splits):
    config = (GenerateConfig if stage == "generate" else EvaluateConfig)(max_new_tokens=8).model_dump()
    ref = execute(request(stage, tmp_path / "a", problems_ref(tmp_path, *splits), student_ref, config, iteration=1))
    assert ref.num_rows == 1
    with pytest.raises(DataError, match="There is no question in the"):
        execute(
            request(
                stage, tmp_path / "b", problems_ref(tmp_path / "c", *splits[::-1]), student_ref, config, iteration=1
            )
        )


@pytest.mark.parametrize("stage", ["generate", "evaluate"])
def test_a_checkpoint_that_is_not_the_one_that_is_named_writes_nothing(tmp_path, student_ref, stage):
    config = (GenerateConfig if stage == "generate" else EvaluateConfig)(max_new_tokens=8).model_dump()
    other = student_ref.model_copy(update={"digest": "d" * 64})
    one = request(stage, tmp_path / "a", problems_ref(tmp_path, 1, 1), other, config, iteration=1)
    with pytest.raises(ModelError, match=rf"has been altered: its digest is {student_ref.digest[:16]}.*not d{{16}}"):
        execute(one)
    assert committed(one) is None


def test_a_sample_seed_depends_on_all_that_names_the_sample():
    names = [(0, 1, "a", 0), (1, 1, "a", 0), (0, 2, "a", 0), (0, 1, "b", 0), (0, 1, "a", 1)]
    seeds = [sample_seed(*name) for name in names]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [sample_seed(*name) for name in names]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_answer_rows_count_a_cut_off_output_as_wrong():
    problem = Problem(TASK.name, "((1 + 2) - (3 + 4)) =", "-4", "l3-4d2", True)
    right, wrong = (f"(1) Some step.\n(Final response) So the answer is {answer}." for answer in (-4, 5))

    def flags(*turns, truncated=False):
        trajectory = SelfImprovement("", tuple(Turn(*turn) for turn in turns), 9, truncated)
        row = answer_row(TASK, problem, trajectory, "d" * 64)
        return row["right"], row["first_right"], row["attempted"], row["final_answer"]

    assert flags((right, None)) == (True, True, False, "-4")
    assert flags((wrong, "x")) == (False, False, False, "5")
    assert flags((wrong, "x"), (right, "y")) == (True, False, True, "-4")
    assert flags((right, "x"), (wrong, "y")) == (False, True, True, "5")
    assert flags((right, None), truncated=True) == (False, False, False, "-4")
    assert flags((right, "x"), truncated=True) == (False, True, False, "-4")
    assert flags((right, "x"), (right, None), truncated=True) == (False, True, True, "-4")
    assert flags(("", None)) == (False, False, False, None)
