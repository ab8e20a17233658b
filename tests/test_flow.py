"""The flow, its tasks and `tripost run`, on a real server with small stages."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from small_stages import SmallStages, make_config, make_student

from tasks import errors as task_errors
from tripost_core import record as records
from tripost_core.errors import ConfigError, DataError, ModelError, StorageError
from tripost_core.stages import STAGES, StageRequest

ROOT = Path(__file__).parents[1]
ONE_ITERATION = [
    "problems",
    "ft-rationale/balance",
    "ft-rationale/train",
    "ft-rationale/evaluate",
    "tripost-1/generate",
    "tripost-1/feedback-0",
    "tripost-1/improve-1",
    "tripost-1/feedback-1",
    "tripost-1/improve-2",
    "tripost-1/feedback-2",
    "tripost-1/filter",
    "tripost-1/balance",
    "tripost-1/train",
    "tripost-1/evaluate",
    "ft-rationale-continued/train-1",
    "ft-rationale-continued/evaluate",
]

ENDS_EARLY = ONE_ITERATION[: ONE_ITERATION.index("tripost-1/balance")]  # with too few improvements


@pytest.fixture
def stages(monkeypatch):
    """Small stages in place of the real ones; unless told otherwise they give too few improvements to go on."""
    small = SmallStages(num_improvements=3)
    for stage in STAGES:
        monkeypatch.setitem(sys.modules, f"tripost_core.stages.{stage}", small.module(stage))
    monkeypatch.setattr("tripost_core.report.write_report", lambda record, output: None)
    return small


@pytest.fixture
def student(tmp_path):
    return make_student(tmp_path / "student")


@pytest.fixture
def no_delay(monkeypatch):
    from tasks.generate import generate
    from tasks.train import train

    for stage_task in (generate, train):
        monkeypatch.setattr(stage_task.task, "retry_delay_seconds", [0, 0])
        monkeypatch.setattr(stage_task.task, "retry_jitter_factor", None)


def run_flow(config, output, **options):
    """The flow's final state, and the record of the run."""
    from flows.tripost import tripost

    state = tripost(config=config, output=str(output), return_state=True, **options)
    return state, records.read_record(output)


def api(url, path, **body):
    return httpx.post(f"{url}{path}", json=body, trust_env=False, timeout=60).raise_for_status().json()


def flow_run_rows(url, state, path):
    """What the server has of this flow run, once all of it has arrived."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=60)
    EventsWorker.drain_all(timeout=60)
    flow_run = {"id": {"any_": [str(state.state_details.flow_run_id)]}}
    if path == "/logs/filter":
        return api(url, path, logs={"flow_run_id": flow_run["id"]})
    return api(url, path, flow_runs=flow_run)


def test_runs_algorithm_1_and_shows_it(prefect_server, stages, student, tmp_path):
    stages.num_improvements = 100
    state, record = run_flow(make_config(student), tmp_path / "run")

    assert state.is_completed()
    assert stages.calls == ONE_ITERATION
    assert record.finished and not record.message
    assert [entry.name for entry in record.entries] == ["ft-rationale", "tripost-1", "ft-rationale-continued"]
    noted = ["problems"] + [f"{entry.name}/{stage}" for entry in record.entries for stage in entry.stages]
    assert sorted(noted) == sorted(ONE_ITERATION)

    artifacts = flow_run_rows(prefect_server, state, "/artifacts/filter")
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert {"tripost-scores-multistep-arithmetic", "tripost-buffers-multistep-arithmetic"} <= set(by_key)
    assert "tripost-report-multistep-arithmetic" in by_key
    assert {"progress-tripost-1-generate", "progress-tripost-1-train", "progress-tripost-1-evaluate"} <= set(by_key)
    assert by_key["progress-tripost-1-train"]["data"] == 100.0
    # One version after every iteration, in the order in which the server happens to list them.
    counts = [a["data"] for a in artifacts if a["key"] == "tripost-buffers-multistep-arithmetic"]
    assert any('"too_long": 1' in data for data in counts)

    logs = flow_run_rows(prefect_server, state, "/logs/filter")
    assert [log for log in logs if log["name"].startswith("tripost_core") and log["task_run_id"]]

    expected = {" ".join(reversed(label.split("/"))) for label in ONE_ITERATION}
    names = set()
    deadline = time.monotonic() + 60
    while not expected <= names and time.monotonic() < deadline:  # the server records task runs a moment later
        names = {run["name"] for run in flow_run_rows(prefect_server, state, "/task_runs/filter")}
        time.sleep(0.2)
    assert expected <= names


START = ONE_ITERATION[: ONE_ITERATION.index("tripost-1/generate")]
DEMO = [
    "tripost-1/generate",
    "tripost-1/feedback-0",
    *(
        f"si-demo/{stage}"
        for stage in ("demonstrate", "feedback-0", "improve-1", "feedback-1", "improve-2", "feedback-2")
    ),
    "si-demo/filter",
]


@pytest.mark.parametrize(
    ("method", "expected", "names"),
    [
        (
            "rationale",
            [f"ft-rationale-continued/{s}" for s in ("train-1", "train-2", "evaluate")],
            ["ft-rationale-continued"],
        ),
        (
            "workings",
            ["workings/balance", *(f"workings-{i}/{s}" for i in (1, 2) for s in ("train", "evaluate"))],
            ["workings-1", "workings-2"],
        ),
        (
            "lmsi",
            [f"lmsi-{i}/{s}" for i in (1, 2) for s in ("generate", "select", "train", "evaluate")],
            ["lmsi-1", "lmsi-2"],
        ),
        ("si-demo", [*DEMO, *(f"si-demo/{s}" for s in ("balance", "train", "evaluate"))], ["si-demo"]),
    ],
)
def test_the_baselines_are_made_of_the_same_tasks(prefect_server, stages, student, tmp_path, method, expected, names):
    from tripost_core.report.numbers import is_complete

    stages.num_improvements = 100
    expert = {"checks": True} if method == "workings" else {}
    state, record = run_flow(make_config(student, iterations=2, method=method, expert=expert), tmp_path / "run")
    assert state.is_completed() and record.finished and not record.message
    assert stages.calls == START + expected
    assert [entry.name for entry in record.entries] == ["ft-rationale", *names]
    assert is_complete(record.model_copy(update={"finished": False}))
    assert not is_complete(record.model_copy(update={"finished": False, "entries": record.entries[:-1]}))


@pytest.mark.parametrize(
    ("method", "last", "message"),
    [("lmsi", "lmsi-1/select", "kept no attempt"), ("si-demo", "si-demo/filter", "collected 0 improvements")],
)
def test_a_baseline_with_nothing_to_train_on_ends_and_says_so(
    prefect_server, stages, student, tmp_path, method, last, message
):
    stages.num_improvements = 0
    state, record = run_flow(make_config(student, method=method), tmp_path / "run")
    assert state.is_completed() and message in record.message
    assert stages.calls[-1] == last


def test_runs_that_share_a_store_share_equal_stages(prefect_server, stages, student, tmp_path):
    stages.num_improvements = 100
    compute = {"store": str(tmp_path / "stages"), "store_by_run": False}
    _, first = run_flow(make_config(student, compute=compute), tmp_path / "one")
    stages.calls.clear()
    _, second = run_flow(make_config(student, compute=compute, method="si-demo"), tmp_path / "two")
    assert stages.calls == [*DEMO[2:], *(f"si-demo/{s}" for s in ("balance", "train", "evaluate"))]
    assert second.entries[0] == first.entries[0]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"student": {"model": "no/such/place"}}, "no/such/place does not exist"),
        ({"expert": {"kind": "llm", "model": "m"}}, "is not set"),
        ({"expert": {"kind": "llm", "model": "m", "base_url": "http://[bad"}}, "is not an http or https address"),
        (
            {"expert": {"kind": "llm", "model": "m", "prompts": "nope.yaml", "base_url": "http://here"}},
            "no prompts for",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_stage(
    prefect_server, stages, student, tmp_path, monkeypatch, parts, message
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    state, record = run_flow(
        make_config(student).model_validate({**make_config(student).model_dump(), **parts}), tmp_path
    )
    with pytest.raises((ConfigError, ModelError), match=message):
        state.result()
    assert stages.calls == [] and record is None


def test_a_rerun_computes_nothing_and_fresh_everything(prefect_server, stages, student, tmp_path):
    config = make_config(student)
    _, first = run_flow(config, tmp_path / "run")
    stages.calls.clear()
    _, second = run_flow(config, tmp_path / "run")
    assert stages.calls == []
    assert second.references() == first.references()
    _, third = run_flow(config, tmp_path / "run", fresh=True)
    assert stages.calls == ENDS_EARLY
    assert third.references() == first.references()


def test_only_what_a_changed_setting_touches_is_computed_again(prefect_server, stages, student, tmp_path):
    run_flow(make_config(student), tmp_path / "run")
    stages.calls.clear()
    run_flow(make_config(student, evaluate={"max_new_tokens": 99}), tmp_path / "run")
    assert stages.calls == ["ft-rationale/evaluate"]


@pytest.mark.parametrize("damage", ["gone", "truncated"])
def test_a_cache_hit_whose_files_are_not_intact_is_a_miss(prefect_server, stages, student, tmp_path, damage):
    config = make_config(student)
    _, record = run_flow(config, tmp_path / "run")
    entry = next(entry for entry in record.entries if entry.name == "tripost-1")
    place = Path(entry.stages["filter"].uri.removeprefix("file://"))
    if damage == "gone":
        shutil.rmtree(place)
    else:
        shard = next(place.glob("*.parquet"))
        shard.write_bytes(shard.read_bytes()[:-5])
    stages.calls.clear()
    _, again = run_flow(config, tmp_path / "run")
    assert stages.calls == ["tripost-1/filter"]
    assert again.references() == record.references()


def test_a_cached_reference_to_files_that_were_written_anew_is_not_used(prefect_server, stages, student, tmp_path):
    config = make_config(student)
    run_flow(config, tmp_path / "run")
    # A run with another Prefect home does not share the cache; its training gave other weights.
    shutil.rmtree(tmp_path / "run" / "stages" / "ft-rationale")
    from prefect.settings import temporary_settings

    original = stages.train
    stages.train = lambda context: original(_with_other_key(context))
    with temporary_settings({"results.local_storage_path": tmp_path / "elsewhere"}):
        _, other = run_flow(config, tmp_path / "run")
    _, again = run_flow(config, tmp_path / "run")
    assert again.references() == other.references()


def _with_other_key(context):
    from dataclasses import replace

    return replace(context, request=context.request.model_copy(update={"seed": 99}))


def test_two_outputs_never_share_a_result(prefect_server, stages, student, tmp_path):
    config = make_config(student)
    run_flow(config, tmp_path / "one")
    stages.calls.clear()
    _, record = run_flow(config, tmp_path / "two")
    assert stages.calls == ENDS_EARLY
    assert all("/two/stages/" in ref.uri for ref in record.references())


def test_a_transient_error_is_retried(prefect_server, stages, student, tmp_path, no_delay):
    stages.errors["tripost-1/generate"] = [ConnectionResetError(), OSError(errno.EIO, "I/O error")]
    state, record = run_flow(make_config(student), tmp_path / "run")
    assert state.is_completed() and record.finished
    assert stages.calls.count("tripost-1/generate") == 3


def test_two_retries_and_no_more(prefect_server, stages, student, tmp_path, no_delay):
    stages.errors["ft-rationale/train"] = [ConnectionResetError(f"number {n}") for n in range(1, 9)]
    state, record = run_flow(make_config(student), tmp_path / "run")
    assert state.is_failed() and not record.finished
    assert stages.calls.count("ft-rationale/train") == 3


@pytest.mark.parametrize("error", [ConfigError("no"), DataError("no"), ModelError("no"), AssertionError("ours")])
def test_what_would_fail_again_is_not_retried(prefect_server, stages, student, tmp_path, no_delay, error):
    from flows.tripost import tripost

    stages.errors["ft-rationale/train"] = [error]
    with pytest.raises(type(error)) as raised:
        tripost(config=make_config(student), output=str(tmp_path / "run"))
    assert raised.value is error
    assert stages.calls.count("ft-rationale/train") == 1


def test_a_run_that_failed_goes_on_where_it_was(prefect_server, stages, student, tmp_path):
    stages.errors["tripost-1/filter"] = [DataError("no")]
    run_flow(make_config(student), tmp_path / "run")
    stages.calls.clear()
    _, record = run_flow(make_config(student), tmp_path / "run")
    assert record.finished
    assert stages.calls == ["tripost-1/filter"]


def _storage_error(cause):
    try:
        try:
            raise cause
        except OSError:
            raise StorageError("disk") from None
    except StorageError as error:
        return error


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError(), True),
        (OSError(errno.EIO, "I/O error"), True),
        (OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (httpx.ConnectError("refused"), True),
        (task_errors.RunLost("lost"), True),
        (_storage_error(OSError(errno.ETIMEDOUT, "network file system")), True),
        (_storage_error(OSError(errno.ENOSPC, "full")), False),
        (_storage_error(OSError(errno.EROFS, "read-only")), False),
        (StorageError("truncated"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (ConfigError("no"), False),
        (AssertionError("ours"), False),
        (task_errors.PoolFailure("theirs"), False),
    ],
)
def test_which_errors_are_transient(error, transient):
    assert task_errors.is_transient(error) is transient


@pytest.mark.parametrize(
    "error", [ConfigError("a sentence."), StorageError("full."), ConnectionResetError("x"), AssertionError("ours")]
)
def test_an_error_crosses_the_pool(error):
    name = task_errors.state_name(error)
    told = task_errors.from_state(name or "Failed", str(error), crashed=False)
    assert task_errors.is_transient(told) is task_errors.is_transient(error)
    assert str(told) == str(error)
    if isinstance(error, ConfigError | StorageError):
        assert type(told) is type(error)


def test_too_few_improvements_end_the_run_with_a_message(prefect_server, stages, student, tmp_path):
    state, record = run_flow(make_config(student, iterations=3), tmp_path / "run")
    assert state.is_completed() and record.finished
    assert "3 improvements" in record.message
    assert stages.calls == ENDS_EARLY


def test_the_seed_follows_the_scheduled_date_and_a_retry_keeps_it(prefect_server, stages, student, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow as engine
    from prefect.states import Scheduled

    from flows.tripost import tripost

    when = datetime(2026, 11, 19, 3, 0, tzinfo=UTC)
    parameters = {"config": make_config(student), "output": str(tmp_path / "run"), "seed_from_date": True}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(tripost, parameters=parameters, state=Scheduled(scheduled_time=when))
    stages.errors["tripost-1/filter"] = [DataError("no")]
    with pytest.raises(DataError):
        engine(tripost, flow_run=run, parameters=parameters)
    assert records.read_record(tmp_path / "run").config["seed"] == 20261119
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Scheduled(), force=True)
        engine(tripost, flow_run=client.read_flow_run(run.id), parameters=parameters)
    record = records.read_record(tmp_path / "run")
    assert record.finished and record.config["seed"] == 20261119
    assert stages.calls.count("problems") == 1


def test_without_an_output_every_configuration_has_its_own(student):
    from flows.start import default_output

    one, other = make_config(student), make_config(student, seed=20261119)
    assert default_output(one) != default_output(other)
    assert default_output(other).startswith("runs/multistep_arithmetic-seed-20261119-")
    assert default_output(one) == default_output(make_config(student, compute={"heavy": "pool"}))


def test_a_directory_in_use_is_refused(student, tmp_path):
    from flows.in_process import run

    output = tmp_path / "run"
    output.mkdir()
    with open(output / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        with pytest.raises(ConfigError, match=r"in use by another run \(process 4711\)"):
            run(make_config(student), output)
    assert not (output / ".prefect").exists()


@pytest.fixture
def pool(prefect_server, monkeypatch):
    """A pool whose worker runs each flow run at once, in this process; the flow runs, their states and results are
    real. Collects the flow runs."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow as engine
    from prefect.states import Scheduled

    from flows.gpu import heavy_stage
    from tasks import hand_off

    runs = []

    def run_deployment(name, parameters, flow_run_name, idempotency_key, timeout):
        assert (name, timeout) == ("heavy-stage/a100", 0)
        for run, key in runs:
            if key == idempotency_key:
                with get_client(sync_client=True) as client:
                    return client.read_flow_run(run.id)
        parameters["request"] = StageRequest.model_validate(parameters["request"])
        with get_client(sync_client=True) as client:
            run = client.create_flow_run(heavy_stage, parameters=parameters, name=flow_run_name, state=Scheduled())
        runs.append((run, idempotency_key))
        engine(heavy_stage, flow_run=run, parameters=parameters, return_type="state")
        return run

    monkeypatch.setattr(hand_off, "run_deployment", run_deployment)
    monkeypatch.setattr(hand_off, "_pauses", lambda: iter(lambda: 0.05, None))
    yield runs


def test_heavy_stages_are_handed_to_the_pool(pool, stages, student, tmp_path):
    stages.num_improvements = 100
    state, record = run_flow(make_config(student, compute={"heavy": "pool"}), tmp_path / "run")
    assert state.is_completed() and record.finished
    heavy = [label for label in ONE_ITERATION if STAGES[label.split("/")[-1].split("-")[0]].heavy]
    assert [run.name for run, _ in pool] == heavy
    assert len({key for _, key in pool}) == len(pool)


def test_shards_are_handed_to_the_pool_side_by_side_and_gathered_here(pool, stages, student, tmp_path):
    compute = {"heavy": "pool", "generate_shards": 3}
    state, record = run_flow(make_config(student, compute=compute), tmp_path / "run")
    assert state.is_completed() and record.finished
    names = [run.name for run, _ in pool]
    assert [name for name in sorted(names) if "shard" in name] == [f"tripost-1/generate-shard-{n}" for n in range(3)]
    assert "tripost-1/generate" in stages.calls and "tripost-1/generate" not in names


def test_an_error_on_the_pool_ends_the_run_with_its_own_sentence(pool, stages, student, tmp_path, no_delay):
    from flows.tripost import tripost

    stages.errors["ft-rationale/train"] = [ModelError("The student has no weights.")]
    with pytest.raises(ModelError, match=r"^The student has no weights\.$"):
        tripost(config=make_config(student, compute={"heavy": "pool"}), output=str(tmp_path / "run"))
    assert len(pool) == 1


def test_a_retry_is_a_new_run_on_the_pool(pool, stages, student, tmp_path, no_delay):
    stages.errors["ft-rationale/train"] = [ConnectionResetError("a moment")]
    state, _ = run_flow(make_config(student, compute={"heavy": "pool"}), tmp_path / "run")
    assert state.is_completed()
    first, second = (key for run, key in pool if run.name == "ft-rationale/train")
    assert first.removesuffix("-1") == second.removesuffix("-2")


def test_a_run_on_the_pool_that_nobody_waits_for_is_cancelled(pool, stages, student, tmp_path, monkeypatch):
    from prefect.client.orchestration import get_client

    from flows.tripost import tripost
    from tasks import hand_off

    def interrupted(client, flow_run_id):
        client.set_flow_run_state(flow_run_id, hand_off.Cancelling().model_copy(update={"type": "RUNNING"}), force=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(hand_off, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tripost(config=make_config(student, compute={"heavy": "pool"}), output=str(tmp_path / "run"))
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(pool[0][0].id).state.type.value == "CANCELLING"


def _start(output, student, *seconds):
    command = [sys.executable, ROOT / "tests" / "small_stages.py", output, student, *seconds]
    return subprocess.Popen(
        command, cwd=output.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _guard_of(process, deadline_seconds=120):
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        if children := psutil.Process(process.pid).children():
            return children[0]
        time.sleep(0.05)
    raise AssertionError("no server was started")


@pytest.mark.timeout(900)
def test_a_killed_run_leaves_no_process_and_goes_on_later(student, tmp_path):
    output = tmp_path / "run"
    process = _start(output, student, "600")
    guard = _guard_of(process)
    deadline = time.monotonic() + 280
    while not list(output.glob("stages/*/balance/*/manifest.json")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    family = [guard, *guard.children(recursive=True)]
    assert len(family) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []

    process = _start(output, student)
    guard = _guard_of(process)
    out, err = process.communicate(timeout=280)
    assert err == ""
    assert out.strip() == f"{','.join(ONE_ITERATION[2:])} True"
    _, alive = psutil.wait_procs([guard], timeout=20)
    assert alive == []
    assert not (output / ".prefect" / "processes" / "server.pid").exists()
