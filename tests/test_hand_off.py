"""What becomes of a flow run on the pool that is lost, silent or wanted no more, and of a server that is away."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from tasks import hand_off
from tripost_core.config import ComputeConfig
from tripost_core.stages import StageRequest


@pytest.fixture
def client(prefect_server, monkeypatch):
    from prefect.client.orchestration import get_client

    monkeypatch.setattr(hand_off, "_pauses", lambda: iter(lambda: 0.05, None))
    monkeypatch.setattr(hand_off, "END_SECONDS", 0.5)
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def request_(tmp_path):
    return StageRequest(stage="train", label="tripost-1/train", store=str(tmp_path))


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


def flow_run(client, request, state):
    """A flow run of `heavy-stage` in this state. The server stamps a state, so its age is that of the copy here."""
    from prefect.states import Pending

    from flows.gpu import heavy_stage

    run = client.create_flow_run(heavy_stage, parameters={"request": request}, state=Pending())
    client.set_flow_run_state(run.id, state, force=True)
    run = client.read_flow_run(run.id)
    run.state.timestamp = state.timestamp
    return run


def attempts(monkeypatch, runs):
    """Answers for the deployment: these flow runs, by the number of the attempt. Collects the idempotency keys."""
    asked = []

    def run_deployment(name, parameters, flow_run_name, idempotency_key, timeout):
        asked.append(idempotency_key)
        return runs[int(idempotency_key.rpartition("-")[2]) - 1]

    monkeypatch.setattr(hand_off, "run_deployment", run_deployment)
    return asked


def history(client, run):
    """The types of all its states, the oldest first."""
    states = client.request("GET", "/flow_run_states/", params={"flow_run_id": str(run.id)}).json()
    return [state["type"] for state in sorted(states, key=lambda state: state["timestamp"])]


def test_a_run_under_way_on_the_pool_is_taken_up_and_a_lost_one_is_not(client, request_, monkeypatch):
    from prefect.states import Cancelling, Crashed, Failed, Pending, Running

    silent, stuck = ago(2 * hand_off.SILENCE_SECONDS), ago(2 * hand_off.PENDING_SECONDS)
    states = [Failed(), Cancelling(), Running(timestamp=silent), Pending(timestamp=stuck)]
    states += [Crashed(message=hand_off.GIVEN_UP_MESSAGES[0]), Crashed(message="It ended by itself."), Running()]
    runs = [flow_run(client, request_, state) for state in states]
    asked = attempts(monkeypatch, runs)
    found = hand_off._under_way(client, request_, "heavy-stage/a100", False, "key")
    assert found.id == runs[6].id and asked == [f"key-{n}" for n in (1, 2, 3, 4, 5, 6, 7)]
    assert client.read_flow_run(runs[0].id).state.is_failed()
    assert history(client, runs[5])[-2:] == ["PENDING", "CRASHED"]
    # Cancelling comes first, so that a worker that lives can act on it; none does here.
    for run in runs[1:5]:
        assert history(client, run)[-2:] == ["CANCELLING", "CRASHED"]
        assert not hand_off._is_lost(client, client.read_flow_run(run.id))  # once is enough


def test_the_next_attempt_begins_when_the_worker_has_cancelled_the_silent_one(client, request_, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled, Running

    monkeypatch.setattr(hand_off, "END_SECONDS", 60.0)
    silent = flow_run(client, request_, Running(timestamp=ago(2 * hand_off.SILENCE_SECONDS)))
    following = flow_run(client, request_, Running())
    asked = attempts(monkeypatch, [silent, following])
    asked_before_its_end = []

    def worker():
        with get_client(sync_client=True) as own:
            while not own.read_flow_run(silent.id).state.is_cancelling():
                time.sleep(0.05)
            time.sleep(0.5)  # it ends the training
            asked_before_its_end.extend(asked)
            own.set_flow_run_state(silent.id, Cancelled(), force=True)

    thread = threading.Thread(target=copy_context().run, args=(worker,))  # with the server's address
    thread.start()
    found = hand_off._under_way(client, request_, "heavy-stage/a100", False, "key")
    thread.join()
    assert found.id == following.id
    assert asked_before_its_end == ["key-1"] and asked == ["key-1", "key-2"]
    assert history(client, silent)[-2:] == ["CANCELLING", "CANCELLED"]


@pytest.mark.parametrize("name", [None, "Late", "AwaitingConcurrencySlot", "AwaitingRetry"])
def test_a_run_that_waits_for_a_worker_or_a_slot_is_never_lost(name):
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Pending, Scheduled

    long_ago = ago(100 * hand_off.PENDING_SECONDS)
    waits = FlowRun(flow_id=uuid4(), state=Scheduled(name=name, timestamp=long_ago))
    assert not hand_off._is_lost(None, waits)
    taken = FlowRun(flow_id=uuid4(), state=Pending(timestamp=ago(hand_off.PENDING_SECONDS / 2)))
    assert not hand_off._is_lost(None, taken)
    assert hand_off._is_lost(None, FlowRun(flow_id=uuid4(), state=Pending(timestamp=long_ago)))


class Answers:
    """A client that gives these answers, one after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def read_flow_run(self, _):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def http_error(status):
    request = httpx.Request("GET", "http://server")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


def test_a_server_or_a_database_that_is_away_for_a_while_is_waited_for(monkeypatch):
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Completed

    monkeypatch.setattr(hand_off, "_pauses", lambda: iter(lambda: 0.0, None))
    over = FlowRun(flow_id=uuid4(), state=Completed())
    assert hand_off._wait(Answers(httpx.ConnectError("no"), http_error(503), http_error(500), over), over.id) is over
    with pytest.raises(httpx.HTTPStatusError):
        hand_off._wait(Answers(http_error(404), over), over.id)
    monkeypatch.setattr(hand_off, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(httpx.ConnectError):
        hand_off._wait(Answers(httpx.ConnectError("no"), over), over.id)


def test_a_stage_goes_on_without_its_progress_where_no_server_answers(monkeypatch):
    from tasks import progress

    now, answers = [0.0], [RuntimeError("no"), "identifier", RuntimeError("no")]
    shown = []

    def answer(*arguments, progress, **_):
        shown.append(progress)
        if isinstance(found := answers.pop(0) if answers else None, Exception):
            raise found
        return found

    monkeypatch.setattr(progress, "create_progress_artifact", answer)
    monkeypatch.setattr(progress, "update_progress_artifact", answer)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    artifact = progress.ProgressArtifact("tripost-1/train")
    for now[0] in (5.0, 61.0, 62.0, 65.0, 70.0):
        artifact.update("steps", int(now[0]), 100)
    artifact.close()
    assert shown == [0.0, 61.0, 65.0, 100.0]


@pytest.mark.timeout(120)
def test_shards_on_the_pool_are_cancelled_when_the_run_is_ended(client, tmp_path, monkeypatch):
    """A signal reaches the thread alone that waits for all shards, while each is waited for by a thread of its own."""
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from tasks.generate import generate
    from tasks.stage import RunOptions, options

    requests = [StageRequest(stage="generate", label=f"tripost-1/generate-shard-{n}", store=str(tmp_path), seed=n)
                for n in range(3)]  # fmt: skip
    runs = []

    def run_deployment(name, parameters, flow_run_name, idempotency_key, timeout):
        with get_client(sync_client=True) as own:
            runs.append(flow_run(own, parameters["request"], Running()))
        return runs[-1]

    class Interrupted(ThreadPoolExecutor):
        """What a signal does to who waits for a future, without one: it would end the process that runs the tests."""

        def submit(self, *arguments):
            future = super().submit(*arguments)
            future.result = interrupt
            return future

    def interrupt():
        while len(runs) < len(requests):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(hand_off, "run_deployment", run_deployment)
    monkeypatch.setattr("tasks.stage.ThreadPoolExecutor", Interrupted)
    token = options.set(RunOptions(compute=ComputeConfig(heavy="pool")))
    try:
        with pytest.raises(KeyboardInterrupt):
            generate.each(requests)
    finally:
        options.reset(token)
    assert len(runs) == 3
    assert {client.read_flow_run(run.id).state.type.value for run in runs} == {"CANCELLING"}
