"""An expert model behind HTTP, from question to training row: stages in-process, and (slow) whole runs."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from competent_model import CompetentModel
from misbehaving_endpoint import Behaviour, MisbehavingEndpoint, serving
from test_llm_expert import edited_by_script, trajectory, without_authors

from tripost_core.buffers import read_manifest, read_rows
from tripost_core.editing import graded
from tripost_core.errors import DataError, StoppedError
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.problems import TASKS, load_task
from tripost_core.record import read_record
from tripost_core.stages import StageRequest, execute

ROOT = Path(__file__).parents[1]
SECRETS = {"api_key": "sk-test"}


def model_endpoint(model, **behaviour):
    return MisbehavingEndpoint(
        Behaviour(**behaviour), reply=lambda body: model.reply(body["messages"], body.get("response_format"))
    )


def make_request(tmp_path, stage, url, inputs, label="tripost-1", round_=0, calls=None, **expert):
    return StageRequest(
        stage=stage,
        label=f"{label}/{stage}-{round_}",
        store=str(tmp_path / "stages"),
        config={"kind": "llm", "model": "wise", "base_url": url, "judge_right_answers": True, **expert},
        params={"task": "word_sorting", "iteration": 1, "round": round_},
        inputs=inputs,
        means={"calls": {"cache_dir": str(tmp_path / "cache"), **(calls or {})}, "run_dir": str(tmp_path)},
    )


def stored_trajectories(tmp_path, num=40):
    """A `trajectories-2` buffer of planted attempts, as `generate` leaves it."""
    from tripost_core.buffers import write_buffer

    rows = []
    for i in range(num):
        row = trajectory("word_sorting", i)
        more = {
            "trajectory_id": f"t{i:03}",
            "iteration": 1,
            "sample": 0,
            "seed": i,
            "num_tokens": 9,
            "truncated": False,
        }
        rows.append({**row, **more})
    return write_buffer(str(tmp_path / "generated"), "trajectories-2", rows, [], {"stage": "generate"})


def edit(tmp_path, url, trajectories, **parts):
    """Feedback and improve in rounds until nothing is open; the last buffer and every manifest."""
    ref = execute(make_request(tmp_path, "feedback", url, {"trajectories": trajectories}, **parts), secrets=SECRETS)
    manifests = [read_manifest(ref.uri)]
    for round_ in range(1, 6):
        if not manifests[-1]["metrics"]["num_open"]:
            break
        for stage in ("improve", "feedback"):
            request = make_request(tmp_path, stage, url, {"trajectories": ref}, round_=round_, **parts)
            ref = execute(request, secrets=SECRETS)
            manifests.append(read_manifest(ref.uri))
    return ref, manifests


def test_stages_with_a_model_behind_http_leave_what_the_script_leaves(tmp_path):
    generated = stored_trajectories(tmp_path)
    endpoint = model_endpoint(CompetentModel("word_sorting"), p429=0.1, p500=0.05, retry_after=0.01)
    with serving(endpoint) as url:
        ref, manifests = edit(tmp_path, url, generated)
        sent = endpoint.stats["answered"]
        again, more = edit(tmp_path / "again", url, generated, calls={"cache_dir": str(tmp_path / "cache")})
    assert endpoint.stats["answered"] == sent, "a second run of the same rows pays for nothing"
    assert again.digest == ref.digest
    assert sum(m["expert"]["calls"] for m in manifests) >= sent
    assert sum(m["expert"]["cache_hits"] for m in more) > 0 == sum(m["expert"]["calls"] for m in more)
    script, task = load_scripted_expert("word_sorting"), load_task("word_sorting")
    by_script = {row["trajectory_id"]: edited_by_script(row, script) for row in read_rows(generated)}
    same = 0
    for row in read_rows(ref):
        if row["status"] != "discarded":
            assert without_authors(row) == without_authors(graded(by_script[row["trajectory_id"]], task))
            same += 1
    assert same >= 35


def test_useless_answers_are_counted_and_reach_no_row(tmp_path):
    generated = stored_trajectories(tmp_path)
    model = CompetentModel("word_sorting", mistake_rate=0.2)
    endpoint = model_endpoint(model, garbage=0.3, empty=0.2, cut=0.1, drop=0.02, bad=0.05)
    with serving(endpoint) as url:
        ref, manifests = edit(tmp_path, url, generated)
    dropped = {}
    for manifest in manifests:
        for reason, n in manifest["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + n
    assert any(reason.startswith("feedback_") for reason in dropped)
    rows = read_rows(ref)
    assert sum(dropped.values()) == sum(row["status"] == "discarded" for row in rows)
    task = load_task("word_sorting")
    for row in rows:
        assert row["status"] in ("correct", "discarded")
        if row["status"] == "correct":
            assert task.is_right(row["turns"][-1]["attempt"], row["answer"])


def test_a_budget_stops_the_stage_and_the_next_start_goes_on(tmp_path):
    generated = stored_trajectories(tmp_path)
    prices = tmp_path / "prices.yaml"
    prices.write_text("wise: {input: 10.0, output: 10.0}\n")
    endpoint = model_endpoint(CompetentModel("word_sorting"))
    with serving(endpoint) as url:

        def judged(budget):
            calls = {"budget_usd": budget, "prices_file": str(prices), "max_in_flight": 2}
            request = make_request(tmp_path, "feedback", url, {"trajectories": generated}, calls=calls)
            return execute(request, secrets=SECRETS)

        with pytest.raises(StoppedError, match="budget of"):
            judged(0.3)
        paid = endpoint.stats["answered"]
        assert 0 < paid < 30 and not list((tmp_path / "stages").rglob("manifest.json"))
        ref = judged(100.0)
    assert len(endpoint.answered) == endpoint.stats["answered"] > paid
    assert 0 < read_manifest(ref.uri)["expert"]["cost_usd"] < 100


def test_rationales_that_are_missing_are_written_and_checked(tmp_path):
    from tripost_core.buffers import write_buffer
    from tripost_core.stages.problems import problem_row

    task = load_task("word_sorting")
    problems = [problem_row(p) for p in task.generate("2-3", 12, 0, "train") + task.generate("2-3", 4, 1, "test")]
    given = task.rationale(problems[0]["question"])
    problems[0]["rationale"] = given
    stored = write_buffer(str(tmp_path / "problems"), "problems-1", problems, [], {"stage": "problems"})
    endpoint = model_endpoint(CompetentModel("word_sorting"), garbage=0.4, bad=0.2)
    with serving(endpoint) as url:
        request = make_request(tmp_path, "rationales", url, {"problems": stored}, rationales="expert")
        ref = execute(request, secrets=SECRETS)
        manifest = read_manifest(ref.uri)
        rows = {row["problem_id"]: row for row in read_rows(ref)}
        train = [row for row in rows.values() if row["split"] == "train"]
        with_rationale = [row for row in train if row["rationale"]]
        assert len(rows) == 16 and rows[problems[0]["problem_id"]]["rationale"] == given
        assert manifest["kept"] == len(with_rationale) < manifest["in"] == 12
        assert sum(manifest["dropped"].values()) == 12 - len(with_rationale)
        assert all(task.is_right(row["rationale"], row["answer"]) for row in with_rationale)
        endpoint.reply = lambda body: "I do not know."
        hopeless = make_request(tmp_path, "rationales", url, {"problems": stored}, rationales="expert", model="dull")
        without = [{**p, "rationale": None} for p in problems]
        bare = write_buffer(str(tmp_path / "bare"), "problems-1", without, [], {"stage": "problems"})
        with pytest.raises(DataError, match="no usable rationale"):
            execute(hopeless.model_copy(update={"inputs": {"problems": bare}}), secrets=SECRETS)


def test_the_key_of_a_model_stands_in_no_request(tmp_path, monkeypatch):
    from tasks.secrets import secrets_of

    request = make_request(tmp_path, "feedback", "http://127.0.0.1:1/v1", {})
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    assert secrets_of(request) == {"api_key": "sk-from-the-environment"}
    assert "sk-from" not in request.model_dump_json()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert secrets_of(request) == {}
    assert secrets_of(request.model_copy(update={"means": {}})) == {}


def test_how_it_is_called_is_not_part_of_the_key(tmp_path):
    one = make_request(tmp_path, "feedback", "http://there/v1", {})
    other = make_request(tmp_path, "feedback", "http://there/v1", {}, calls={"budget_usd": 7.0})
    assert one.key == other.key
    assert one.key != make_request(tmp_path, "feedback", "http://elsewhere/v1", {}).key


@pytest.mark.parametrize("task", ("multistep_arithmetic", "word_sorting"))
def test_a_prompted_model_is_scored_by_the_same_metrics(task, tmp_path, monkeypatch):
    """Competent but for its repairs' rate of mistakes; without the answer in any prompt."""
    config = tmp_path / "run.yaml"
    model = CompetentModel(task, mistake_rate=0.3)
    right = model.task.rationale

    # Every third first attempt has a planted mistake.
    def attempt(question):
        rng = random.Random(question)
        planted = plant(load_task(task).parse_question(question), rng.choice(error_classes(task)), rng)
        return planted.attempt if planted and rng.random() < 0.5 else right(question)

    monkeypatch.setattr(model, "solve", attempt)
    endpoint = model_endpoint(model)
    with serving(endpoint) as url:
        expert = {"kind": "llm", "model": "wise", "base_url": url}
        config.write_text(json.dumps({"expert": expert, "calls": {"cache_dir": str(tmp_path / "cache")}}))
        command = [sys.executable, "-m", "flows.cli", "evaluate", "--task", task, "--expert", str(config)]
        done = subprocess.run([*command, "--num-seen", "30", "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["eval"]
    assert result["n"]["total"] == 30
    assert 0.3 < result["first_attempt_accuracy"]["total"] < 1.0
    assert result["repaired"]["total"] > 0 < result["si_freq"]["total"]
    assert not any("right answer is" in json.dumps(body) for body in endpoint.bodies)
    assert "calls" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", TASKS)
def test_a_whole_run_with_a_model_behind_http(task, tmp_path):
    model = CompetentModel(task, mistake_rate=0.1)
    endpoint = model_endpoint(model, garbage=0.05, empty=0.02, p429=0.05, retry_after=0.05)
    with serving(endpoint) as url:
        sizes = ["data.num_train=24", "data.num_test_seen=8", "data.num_test_unseen=4", "balance.min_improvements=1"]
        sizes += [
            "iterations=1",
            "rationale.num_epochs=1",
            "generate.max_new_tokens=512",
            "evaluate.max_new_tokens=512",
        ]
        expert = ["expert.kind=llm", "expert.model=wise", f"expert.base_url={url}", "expert.judge_right_answers=true"]
        expert.append("expert.checks=false")  # which the main job's script has
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "run",
            f"deployments/{task}.yaml",
            "--output",
            str(tmp_path / "run"),
        ]
        for setting in sizes + expert:
            command += ["--set", setting]
        environment = {**os.environ, "TRIPOST_CACHE": str(tmp_path / "cache"), "OPENAI_API_KEY": "sk-secret-of-the-run"}
        subprocess.run(command, cwd=ROOT, check=True, env=environment)
    record = read_record(tmp_path / "run")
    assert record is not None and record.finished
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    entry = next(e for e in report["iterations"] if e["name"] == "tripost-1")
    assert entry["expert"]["calls"] >= len(model.prompts) > 0 and entry["buffers"]["filter"]["kept"] > 0
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"sk-secret-of-the-run" not in path.read_bytes(), path
