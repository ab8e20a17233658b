"""The stages between generation and training, run one after the other on buffers as a run does."""

import random
import re
from collections import Counter

import pytest

from tripost_core.buffers import Ref, read_manifest, read_rows, write_buffer
from tripost_core.config_file import parse_config
from tripost_core.editing import CORRECT, new_turn
from tripost_core.experts.checks import of_task
from tripost_core.plan import RunPlan
from tripost_core.problems import TASKS, load_task
from tripost_core.replay.filter import FILTER_REASONS
from tripost_core.stages import committed, execute
from tripost_core.stages.demonstrate import favourites
from tripost_core.trajectory import Attempt, Feedback, terminal_feedback


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A checkpoint's tokenizer; these stages read nothing else of it."""
    from tripost_core.lm.tokenizer import build_tokenizer

    directory = tmp_path_factory.mktemp("student")
    build_tokenizer().save_pretrained(directory)
    return Ref(uri=str(directory), digest="tokenizer", kind="checkpoint")


def plan_of(tmp_path, task, mistake_rate=0.0, max_rounds=5, num_train=80, max_length=4096, **balance):
    config = {
        "task": task,
        "data": {"num_train": num_train, "num_test_seen": 4, "num_test_unseen": 4},
        "expert": {"mistake_rate": mistake_rate, "max_rounds": max_rounds},
        "filter": {"max_length_tokens": max_length},
        "balance": balance,
    }
    return RunPlan(parse_config(config), tmp_path / "run")


_SLIPS = r"(?<= )-?\d+(?=[ ).])|(?<=\")[a-z]{3,}(?=\")|(?<= )\?\?(?= )|(?<=Combining \()\d+|(?<=\()[A-G](?=\)\.$)"
"""Numbers, words to be sorted, question marks and references of a deduction, the letter of an option."""


def slip(rationale, rng):
    """One number or one word of one line altered, as a student's slip."""
    lines = rationale.split("\n")
    index = rng.randrange(len(lines))
    places = list(re.finditer(_SLIPS, lines[index]))
    if not places:
        return rationale
    place = rng.choice(places)
    other = str(int(place[0]) + rng.choice((-2, 3))) if place[0].lstrip("-").isdigit() else place[0][1:]
    lines[index] = lines[index][: place.start()] + other + lines[index][place.end() :]
    return "\n".join(lines)


def generated(plan, problems, num_samples=2, seed=0):
    """What a student might write: right, with slips, cut short, empty, with feedback of its own."""
    rng = random.Random(seed)
    rows = []
    for problem in read_rows(problems):
        if problem["split"] != "train":
            continue
        for sample in range(num_samples):
            attempt = problem["rationale"] if rng.random() < 0.25 else slip(problem["rationale"], rng)
            if rng.random() < 0.05:
                attempt = attempt[: rng.randrange(len(attempt))]
            said = rng.choice([None, None, terminal_feedback(Attempt.parse(attempt)), "Step (1) is is"])
            turns = [new_turn(attempt, "student", "digest", said)]
            rows.append(
                {key: problem[key] for key in ("problem_id", "task", "subtask", "seen", "question", "answer")}
                | {"trajectory_id": f"{problem['problem_id']}-{sample}", "iteration": 1, "sample": sample, "seed": seed}
                | {"num_tokens": len(attempt), "truncated": False, "status": "generated", "reason": None, "round": 0}
                | {"edited": False, "turns": turns}
            )
    return write_buffer(f"{plan.store}/generated", "trajectories-2", rows)


def edited(plan, trajectories):
    """Feedback and improvement in rounds, as the flow has it; the references in their order."""
    refs = [execute(plan.feedback("tripost-1", trajectories, 1, 0))]
    for number in range(1, plan.config.expert.max_rounds + 1):
        if not plan.has_open(refs[-1]):
            break
        refs.append(execute(plan.improve("tripost-1", refs[-1], 1, number)))
        refs.append(execute(plan.feedback("tripost-1", refs[-1], 1, number)))
    return refs


def about(ref):
    """The stage's manifest, after a look at its sums."""
    manifest = read_manifest(ref.uri)
    assert manifest["in"] == manifest["kept"] + sum(manifest["dropped"].values()), manifest["label"]
    return manifest


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_expert_mends_every_trajectory_in_one_round(tmp_path, student, task):
    plan = plan_of(tmp_path, task)
    problems = execute(plan.problems())
    refs = edited(plan, generated(plan, problems))
    assert len(refs) == 3
    first, improved, last = map(about, refs)
    rows = read_rows(refs[-1])
    empty = sum(not row["turns"][0]["attempt"].strip() for row in rows)
    assert Counter(row["status"] for row in rows) == Counter(correct=len(rows) - empty, discarded=empty) - Counter()
    assert (
        first["metrics"]["num_open"]
        == improved["metrics"]["num_improved"]
        == last["metrics"]["num_correct"] - (first["metrics"]["num_directly_correct"])
    )
    assert first["metrics"]["judged"] == first["expert"]["calls"] == len(rows) - empty
    assert sum(first["metrics"]["error_classes"].values()) == first["metrics"]["num_open"]
    assert first["metrics"]["agreement"]["unparsable"] > 0
    assert last["metrics"]["num_open"] == 0 and not plan.has_open(refs[-1])
    the_task = load_task(task)
    for row in rows:
        if row["status"] == CORRECT:
            last = row["turns"][-1]
            assert the_task.is_right(last["attempt"], row["answer"]) and last["right"]
            assert last["consistent"] == the_task.is_consistent(last["attempt"], row["question"])
    triplets = execute(plan.filter("tripost-1", refs[-1], student, 1))
    filtered = about(triplets)
    assert set(filtered["dropped"]) <= {"duplicate", "discarded_empty_attempt"}
    assert filtered["metrics"]["num_improvements"] > 60 and not plan.too_few(triplets, 1)


@pytest.mark.parametrize("task", TASKS)
def test_an_expert_that_errs_gives_rounds_discards_and_every_reason_of_the_filter(tmp_path, student, task):
    longest = 200 if task == "date_understanding" else 600  # so that some rows, and not all, are too long
    plan = plan_of(tmp_path, task, mistake_rate=0.3, max_rounds=3, num_train=140, max_length=longest)
    problems = execute(plan.problems())
    refs = edited(plan, generated(plan, problems))
    rows = read_rows(refs[-1])
    assert max(row["round"] for row in rows) == 3
    assert {"max_rounds", "empty_attempt"} >= {row["reason"] for row in rows if row["status"] == "discarded"}
    assert sum(row["reason"] == "max_rounds" for row in rows) > 0
    assert not plan.has_open(refs[-1])
    for ref in refs:
        about(ref)
    triplets = execute(plan.filter("tripost-1", refs[-1], student, 1))
    dropped = about(triplets)["dropped"]
    assert set(dropped) >= {*FILTER_REASONS, "discarded_max_rounds"}
    found = read_rows(triplets)
    assert Counter(row["reason"] for row in found if not row["kept"]) == Counter(dropped)
    the_task = load_task(task)
    by_id = {row["trajectory_id"]: row for row in rows}
    for row in found:
        if not row["kept"]:
            continue
        last = by_id[row["trajectory_id"]]["turns"][-1]["attempt"]
        assert the_task.is_right(last, row["answer"])
        if row["kind"] == "x_imp":
            step = Feedback.parse(row["feedback"]).error_step
            kept = Attempt.parse(row["attempt"]).before(step)
            assert row["updated"] != row["attempt"] and the_task.is_consistent(row["updated"])
            if Attempt.parse(row["attempt"]).index_of(step) is not None:
                assert Attempt.parse(row["updated"]).steps[: len(kept)] == kept


def test_rows_to_train_on_have_the_papers_mix(tmp_path, student):
    plan = plan_of(tmp_path, "word_sorting", replay="all")
    problems = execute(plan.problems())
    gold = execute(plan.gold_rows(problems))
    assert gold.num_rows == 80 and about(gold)["metrics"]["by_bucket"] == {"gold": 80}
    for row in read_rows(gold):
        assert [part["role"] for part in row["segments"]] == ["prompt", "attempt"]
    triplets = execute(plan.filter("tripost-1", edited(plan, generated(plan, problems))[-1], student, 1))
    rows = execute(plan.balance("tripost-1", [triplets], problems, 1))
    metrics = about(rows)["metrics"]
    by_bucket = metrics["by_bucket"]
    assert by_bucket["correct"] == by_bucket["gold"]
    assert abs(by_bucket["improvement"] - 1.5 * by_bucket["gold"]) <= 0.5
    assert metrics["improvement_share"] == pytest.approx(3 / 7, abs=0.005)
    assert metrics["num_direct"] + metrics["num_repaired"] == by_bucket["correct"]
    roles = {(row["kind"], *(part["role"] for part in row["segments"])) for row in read_rows(rows)}
    assert roles <= {
        ("x_imp", "prompt", "attempt", "mistake", "feedback", "improvement"),
        ("x_imp", "prompt", "mistake", "feedback", "improvement"),  # wrong from its first step on
        ("x_T", "prompt", "attempt", "feedback"),
    }
    assert {role[:3] for role in roles} >= {("x_imp", "prompt", "attempt"), ("x_T", "prompt", "attempt")}
    known = {row["triplet_id"] for row in read_rows(triplets) if row["kept"]}
    assert {row["triplet_id"] for row in read_rows(rows) if row["bucket"] != "gold"} <= known
    again = execute(plan.balance("tripost-2", [triplets, triplets], problems, 2))
    assert about(again)["metrics"]["by_bucket"] == by_bucket


def test_the_same_work_elsewhere_has_the_same_digests(tmp_path, student):
    digests = []
    for place in ("a", "b"):
        plan = plan_of(tmp_path / place, "multistep_arithmetic", mistake_rate=0.2, num_train=40)
        problems = execute(plan.problems())
        refs = [problems, *edited(plan, generated(plan, problems))]
        refs.append(execute(plan.filter("tripost-1", refs[-1], student, 1)))
        refs.append(execute(plan.balance("tripost-1", [refs[-1]], problems, 1)))
        digests.append([ref.digest for ref in refs])
        assert all(committed(plan.problems()) == problems for _ in range(2))
    assert digests[0] == digests[1]


def test_too_few_improvements_end_the_run_with_a_message(tmp_path, student):
    plan = plan_of(tmp_path, "multistep_arithmetic", num_train=4, min_improvements=50)
    problems = execute(plan.problems())
    triplets = execute(plan.filter("tripost-1", edited(plan, generated(plan, problems))[-1], student, 1))
    assert plan.too_few(triplets, 1)
    assert "fewer than balance.min_improvements = 50" in plan.record.message


def test_no_trajectory_at_all_is_no_crash(tmp_path, student):
    plan = plan_of(tmp_path, "word_sorting")
    empty = write_buffer(f"{plan.store}/generated", "trajectories-2", [])
    refs = edited(plan, empty)
    triplets = execute(plan.filter("tripost-1", refs[-1], student, 1))
    assert triplets.num_rows == 0 and plan.too_few(triplets, 1)
    rows = execute(plan.balance("tripost-1", [triplets], execute(plan.problems()), 1))
    assert rows.num_rows == 0


# -- baselines ---------------------------------------------------------------------------------------------------------


def test_gold_with_workings_says_the_same_at_greater_length(tmp_path):
    config = {"task": "multistep_arithmetic", "method": "workings", "expert": {"checks": True}}
    plan = RunPlan(parse_config({**config, "data": {"num_train": 12}}), tmp_path / "run")
    problems = execute(plan.problems())
    given = {row["row_id"]: row["segments"] for row in read_rows(execute(plan.gold_rows(problems)))}
    worked = {row["row_id"]: row["segments"] for row in read_rows(execute(plan.worked_rows(problems)))}
    assert given.keys() == worked.keys() and len(given) == 12
    without_workings = of_task("multistep_arithmetic").without_workings
    for name, segments in worked.items():
        assert [s["role"] for s in segments] == ["prompt", "attempt"]
        text = segments[1]["text"]
        assert without_workings(text) == given[name][1]["text"] != text
        assert load_task("multistep_arithmetic").extract_answer(text) is not None


@pytest.mark.parametrize("task", TASKS)
def test_lmsi_trains_on_right_attempts_and_their_answers(tmp_path, task):
    plan = plan_of(tmp_path, task)
    rows_in = {row["trajectory_id"]: row for row in read_rows(generated(plan, execute(plan.problems())))}
    trajectories = write_buffer(f"{plan.store}/again", "trajectories-2", list(rows_in.values()))
    selected = execute(plan.select("lmsi-1", trajectories, 1))
    manifest, rows = about(selected), read_rows(selected)
    loaded = load_task(task)
    right = {
        (row["problem_id"], row["turns"][0]["attempt"])
        for row in rows_in.values()
        if loaded.is_right(row["turns"][0]["attempt"], row["answer"])
    }
    texts = {(row["problem_id"], "".join(s["text"] for s in row["segments"][1:])) for row in rows}
    whole = {(problem, text[1:]) for problem, text in texts if text.startswith("\n")}
    assert whole == right and manifest["kept"] >= len(right) > 20
    short = [row for row in rows if not row["segments"][1]["text"].startswith("\n")]
    assert {row["problem_id"] for row in short} == {problem for problem, _ in right}
    for row in short:
        assert row["segments"][0]["text"].endswith("\nAnswer:")
        assert loaded.extract_answer(f"(Final response){row['segments'][1]['text']}") is not None
    assert {row["bucket"] for row in rows} == {"own"}
    assert set(manifest["dropped"]) <= {"wrong_answer", "no_answer"}


def test_lmsi_by_majority_reads_no_answer(tmp_path):
    config = {"task": "multistep_arithmetic", "method": "lmsi"}
    config["lmsi"] = {"keep": "majority", "formats": "rationale"}
    plan = RunPlan(parse_config(config), tmp_path / "run")
    said = {"p": ["3", "4", "4"], "q": ["5", "6"], "r": [None, "9"]}
    rows = [
        {
            **{
                "problem_id": problem,
                "task": "t",
                "subtask": "s",
                "seen": True,
                "question": f"{problem} =",
                "answer": "1",
            },
            **{"trajectory_id": f"{problem}{i}", "iteration": 1, "sample": i, "seed": 0, "num_tokens": 9},
            **{"truncated": False, "status": "generated", "reason": None, "round": 0, "edited": False},
            "turns": [new_turn("(1) x" if a is None else f"(1) {i}\n(Final response) So the answer is {a}.", "s", "d")],
        }
        for problem, answers in said.items()
        for i, a in enumerate(answers)
    ]
    trajectories = write_buffer(f"{plan.store}/generated", "trajectories-2", rows)
    selected = execute(plan.select("lmsi-1", trajectories, 1))
    kept = sorted((row["problem_id"], row["segments"][1]["text"][-2]) for row in read_rows(selected))
    assert kept == [("p", "4"), ("p", "4"), ("q", "5"), ("r", "9")]
    assert about(selected)["dropped"] == {"no_answer": 1, "not_the_majority": 2}


@pytest.mark.parametrize("task", TASKS)
def test_demonstrations_have_mistakes_that_are_not_the_students(tmp_path, student, task):
    plan = plan_of(tmp_path, task, num_train=120)
    problems = execute(plan.problems())
    judged = execute(plan.feedback("tripost-1", generated(plan, problems, num_samples=1), 1, 0))
    mine = Counter(row["turns"][0]["error_class"] for row in read_rows(judged) if row["turns"][0]["correct"] is False)
    shown = execute(plan.demonstrate("si-demo", problems, judged))
    metrics = about(shown)["metrics"]
    excluded = metrics["excluded"]
    assert sum(mine[name] for name in excluded) >= 0.8 * mine.total() > sum(mine[name] for name in excluded[:-1])
    assert not set(metrics["error_classes"]) & set(excluded)
    rows = read_rows(shown)
    assert len(rows) == 120 and 60 <= metrics["num_planted"] <= 100
    refs = edited(plan, shown)
    last = read_rows(refs[-1])
    empty = [row for row in last if row["reason"] == "empty_attempt"]  # the step that is missing was the only one
    assert all(row["status"] == CORRECT for row in last if row not in empty) and len(empty) < 6
    assert sum(len(row["turns"]) > 1 for row in last) == metrics["num_planted"] - len(empty)
    triplets = about(execute(plan.filter("si-demo", refs[-1], student, 1)))["metrics"]
    assert triplets["num_improvements"] >= 0.8 * metrics["num_planted"]
    assert execute(plan.demonstrate("si-demo", problems, judged)).digest == shown.digest


def test_favourites_are_the_fewest_classes_that_make_up_the_share():
    classes = Counter(a=6, b=3, c=1)
    assert favourites(classes, 0.8) == ["a", "b"]
    assert favourites(classes, 0.6) == ["a"]
    assert favourites(classes, 0.0) == [] == favourites(Counter(), 0.8)
    assert favourites(classes, 1.0) == ["a", "b", "c"]


def test_an_iterations_own_prompts_are_disjoint(tmp_path):
    config = {"task": "word_sorting", "iterations": 3, "generate": {"fresh_prompts": True}}
    plan = RunPlan(parse_config(config), tmp_path / "run")
    student = Ref(uri="s", digest="d", kind="checkpoint")
    problems = Ref(uri="p", digest="p", kind="problems-1")
    parts = [plan.generate(f"tripost-{i}", student, problems, i)[0].params["part"] for i in (1, 2, 3)]
    assert parts == [[0, 3], [1, 3], [2, 3]]
