"""The provider's batch endpoint, on loopback: half the price, and a restart submits nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from misbehaving_endpoint import MisbehavingEndpoint, serving
from test_expert_client import ask, call

from tripost_core.errors import ConfigError, StoppedError
from tripost_core.experts import answers, batches
from tripost_core.experts.prices import price_of
from tripost_core.experts.response_cache import ResponseCache


class BatchProvider:
    """Files and batches as OpenAI has them. A batch is done `delay` seconds after it came."""

    def __init__(self, delay=0.0, fail=(), lose_answer=False, refuse="", errors=()):
        self.delay = delay
        self.refuse = refuse  # a parameter
        self.errors = [{"code": "limit", "message": message} for message in errors]
        self.fail = set(fail)
        self.lose_answer = lose_answer
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}

    async def upload(self, request):
        form = await request.post()
        assert form["purpose"] == "batch"
        return web.json_response(self._file(form["file"].file.read()))

    async def create(self, request):
        body = await request.json()
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {**body, "id": name, "object": "batch", "created_at": 0, "came": time.monotonic()}
        if self.lose_answer:
            self.lose_answer = False
            request.transport.close()
        return web.json_response(self._state(name))

    async def retrieve(self, request):
        return web.json_response(self._state(request.match_info["id"]))

    async def list(self, request):
        data = [self._state(name) for name in self.batches]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def content(self, request):
        return web.Response(body=self.files[request.match_info["id"]])

    def _file(self, content):
        name = f"file-{len(self.files)}"
        self.files[name] = content
        shape = {"object": "file", "bytes": len(content), "created_at": 0, "filename": "f", "purpose": "batch"}
        return {"id": name, "status": "processed", **shape}

    def _state(self, name):
        batch = self.batches[name]
        if "output_file_id" not in batch and time.monotonic() - batch["came"] >= self.delay:
            lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
            out = [self._line(i, line) for i, line in enumerate(lines)]
            batch["output_file_id"] = self._file("\n".join(map(json.dumps, out)).encode())["id"]
        status = "completed" if "output_file_id" in batch else "in_progress"
        if self.errors:
            batch, status = {**batch, "errors": {"object": "list", "data": self.errors}}, "failed"
        return {**{k: v for k, v in batch.items() if k != "came"}, "status": status}

    def _line(self, i, line):
        unsupported = self.refuse in line["body"] if self.refuse else False
        if i in self.fail or unsupported:
            said = f"Unsupported parameter: '{self.refuse}'. Use 'max_completion_tokens' instead."
            body = {"error": {"message": said if unsupported else "refused"}}
            return {"custom_id": line["custom_id"], "response": {"status_code": 400, "body": body}, "error": None}
        question = line["body"]["messages"][-1]["content"]
        choice = {"message": {"role": "assistant", "content": f"answer to {question}"}, "finish_reason": "stop"}
        body = {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}

    @property
    def num_lines(self):
        return sum(len(self.files[b["input_file_id"]].splitlines()) for b in self.batches.values())

    def application(self):
        application = web.Application()
        application.router.add_post("/v1/files", self.upload)
        application.router.add_get("/v1/files/{id}/content", self.content)
        application.router.add_post("/v1/batches", self.create)
        application.router.add_get("/v1/batches", self.list)
        application.router.add_get("/v1/batches/{id}", self.retrieve)
        return application


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(batches, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(batches, "POLL_SECONDS", (0.05, 0.1))


def test_a_batch_answers_at_half_the_price_and_is_kept(tmp_path):
    provider = BatchProvider(delay=0.2, fail=[3])
    with serving(MisbehavingEndpoint(), provider.application()) as url:
        found, statistics = ask(url, [call(i) for i in range(50)], tmp_path, batch=True)
        again, hits = ask(url, [call(i) for i in range(50) if i != 3], tmp_path, batch=True)
    assert len(provider.batches) == 1 and provider.num_lines == 50
    assert found[7].text == "answer to q 7" and found[3].outcome == answers.BAD_REQUEST
    assert statistics.cost_usd == pytest.approx(49 * price_of("gpt-4o-mini").cost_usd(100, 10) / 2)
    assert hits.cache_hits == 49 and all(a.from_cache for a in again)


def test_many_calls_are_several_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_CALLS", 20)
    provider = BatchProvider()
    with serving(MisbehavingEndpoint(), provider.application()) as url:
        found, _ = ask(url, [call(i) for i in range(50)], tmp_path, batch=True)
    assert len(provider.batches) == 3 and [a.text for a in found] == [f"answer to q {i}" for i in range(50)]


def test_a_parameter_that_a_model_does_not_take_is_left_out_of_a_second_batch(tmp_path):
    provider = BatchProvider(refuse="max_tokens")
    with serving(MisbehavingEndpoint(), provider.application()) as url:
        found, _ = ask(url, [call(i) for i in range(30)], tmp_path, batch=True)
        assert [a.text for a in found] == [f"answer to q {i}" for i in range(30)] and provider.num_lines == 60
        _, hits = ask(url, [call(i) for i in range(30)], tmp_path, batch=True)
    assert hits.cache_hits == 30 and len(provider.batches) == 2


def test_a_batch_that_fails_says_why_and_the_next_start_sends_another(tmp_path):
    provider = BatchProvider(errors=["Enqueued token limit reached."])
    with serving(MisbehavingEndpoint(), provider.application()) as url:
        with pytest.raises(StoppedError, match=r"refuses the batch: Enqueued token limit reached\."):
            ask(url, [call(i) for i in range(5)], tmp_path, batch=True)
        provider.errors = []
        provider.batches.clear()
        found, _ = ask(url, [call(i) for i in range(5)], tmp_path, batch=True)
    assert [a.text for a in found] == [f"answer to q {i}" for i in range(5)]


def test_an_endpoint_without_batches_is_one_sentence(tmp_path):
    with serving(MisbehavingEndpoint()) as url, pytest.raises(ConfigError, match="no batch endpoint"):
        ask(url, [call()], tmp_path, batch=True)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tripost_core.experts import batches
batches.QUIET_SECONDS, batches.POLL_SECONDS = 0.1, (0.05, 0.1)
from test_expert_client import ask, call
ask({url!r}, [call(i) for i in range(40)], Path({directory!r}), batch=True)
"""


@pytest.mark.parametrize("moment", ["submitted", "not yet known to be submitted"])
def test_a_kill_submits_nothing_twice(tmp_path, moment):
    provider = BatchProvider(delay=1.5)
    with serving(MisbehavingEndpoint(), provider.application()) as url:
        script = CHILD.format(tests=str(Path(__file__).parent), url=url, directory=str(tmp_path))
        process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
        while not provider.batches:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        cache = ResponseCache(tmp_path / "cache")
        (note,) = cache.open_batches(url)
        assert note.remote == "batch_0" and len(note.keys) == 40
        if moment != "submitted":
            cache.note_batch(note._replace(remote=None))
        cache.close()
        found, _ = ask(url, [call(i) for i in range(45)], tmp_path, batch=True)
    assert [a.text for a in found] == [f"answer to q {i}" for i in range(45)]
    assert len(provider.batches) == 2 and provider.num_lines == 45, "the forty of the first batch were not sent again"
    cache = ResponseCache(tmp_path / "cache")
    assert cache.open_batches(url) == []
    cache.close()
