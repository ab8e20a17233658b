"""Engines beside transformers: servers that speak the completions protocol, and how vLLM is started and stopped.

No vLLM runs here (it needs a GPU): a program of its command line, which answers with the prompt's tokens, stands for
its process. What a real server does is tested on `transformers serve` (slow).
"""

import json
import shutil
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
from pydantic import ValidationError

from tripost_core.buffers import read_manifest, read_rows
from tripost_core.config import EngineConfig, RunConfig, StudentConfig
from tripost_core.errors import ConfigError, ModelError
from tripost_core.lm.engines import self_improve_with, server, vllm
from tripost_core.lm.engines.server import Servers
from tripost_core.lm.student import checkpoint_digest, resolve_student
from tripost_core.plan import RunPlan, base_student
from tripost_core.record import fingerprint
from tripost_core.stages import execute

TINY = resolve_student("tiny")
ONE = {"temperature": 1.0, "max_new_tokens": 20, "stop": None, "progress": None}


class Endpoint:
    """`/v1/completions` that does what `answer(body)` says: a dict, or a number as the status of a refusal."""

    def __init__(self, answer):
        self.bodies, self.keys = [], []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.keys.append(self.headers.get("Authorization"))
                said = answer(body)
                status = said if isinstance(said, int) else 200
                content = {"error": {"message": "no such model"}} if isinstance(said, int) else said
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # a client that has heard enough hangs up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@contextmanager
def serving(answer):
    endpoint = Endpoint(answer)
    thread = Thread(target=endpoint.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        thread.join()
        endpoint.server.server_close()


def completion(body, text="an answer", finish="stop", model=None):
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    head = {"id": "1", "object": "text_completion", "created": 0, "model": model or body["model"]}
    return {**head, "choices": [choice], "usage": usage}


def servers(*urls, name="student-1", key=None, **settings):
    engine = EngineConfig(kind="server", urls=list(urls), max_retries=0, **settings)
    return Servers(engine, engine.urls, name, TINY, key)


def test_rows_go_to_their_replica_with_their_seed_and_the_key():
    with serving(completion) as one, serving(completion) as two:
        done = []
        write = servers(one.url, two.url, key="secret")
        settings = {**ONE, "progress": lambda *numbers: done.append(numbers)}
        written = write([f"Q: {n}" for n in range(9)], [2**62 + n for n in range(9)], **settings)
    assert [c.text for c in written] == ["an answer"] * 9 and all(c.finished_by_eos for c in written)
    assert {body["prompt"] for body in one.bodies} == {f"Q: {n}" for n in range(0, 9, 2)}
    assert {body["prompt"] for body in two.bodies} == {f"Q: {n}" for n in range(1, 9, 2)}
    assert {body["seed"] for body in one.bodies + two.bodies} == {(2**62 + n) % server.MAX_SEED for n in range(9)}
    assert set(one.keys) == {"Bearer secret"}
    assert sorted(done) == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("all of it", "stop", ("all of it", True, False)),
        ("cut o", "length", ("cut o", False, True)),
        ("right. STOP and more", "stop", ("right. STOP", False, False)),
        ("right. STOP and mo", "length", ("right. STOP", False, False)),
    ],
)
def test_how_a_completion_ended(text, finish, expected):
    with serving(lambda body: completion(body, text, finish)) as endpoint:
        (written,) = servers(endpoint.url)(["Q: ?"], [1], **{**ONE, "stop": "STOP"})
    assert (written.text, written.finished_by_eos, written.truncated) == expected


def test_a_prompt_that_fills_the_context_is_not_sent():
    with serving(completion) as endpoint:
        written = servers(endpoint.url)(["Q: 1 " * 4000, "Q: ?"], [1, 2], **ONE)
    assert [c.truncated for c in written] == [True, False]
    assert [body["prompt"] for body in endpoint.bodies] == ["Q: ?"]


def test_answers_of_other_weights_are_refused():
    with (
        serving(lambda body: completion(body, model="student-0")) as endpoint,
        pytest.raises(ModelError, match="answered with the model 'student-0', not with 'student-1'"),
    ):
        servers(endpoint.url)(["Q: ?"] * 5, range(5), **ONE)


def test_a_refusal_and_a_server_that_is_gone_are_one_sentence():
    with serving(lambda body: 404) as endpoint, pytest.raises(ModelError, match=r"refused.*no such model"):
        servers(endpoint.url)(["Q: ?"], [1], **ONE)
    with pytest.raises(ModelError, match="does not answer"):
        servers(endpoint.url)(["Q: ?"], [1], **ONE)


def test_a_server_config_has_to_say_whose_weights_answer():
    with pytest.raises(ValidationError, match="urls has to name one"):
        EngineConfig(kind="server")
    with pytest.raises(ValidationError, match=r"model has to hold \{directory\} or \{digest\}"):
        EngineConfig(kind="server", urls=["http://x/v1"], model="my-student")
    engine = EngineConfig(kind="server", urls=["http://x/v1"], model="s-{digest}")
    assert engine.served_name(Path("/a"), "abc") == "s-abc"


def test_another_engine_is_another_number_and_another_address_is_not():
    plain = fingerprint(RunConfig())
    one, two = (RunConfig(engine={"kind": "server", "urls": [url]}) for url in ("http://a/v1", "http://b/v1"))
    assert fingerprint(one) == fingerprint(two) != plain


def test_a_stage_written_by_a_server(tmp_path):
    """The question is answered by the server, with the digest of the checkpoint in every row."""
    gold = "(1) Nothing.\n(Final response) So the answer is 3."
    with serving(lambda body: completion(body, f"\n{gold}")) as endpoint:
        engine = {"kind": "server", "urls": [endpoint.url], "model": "s-{digest}"}
        config = RunConfig(data={"num_train": 4, "num_test_seen": 2, "num_test_unseen": 0}, engine=engine)
        plan = RunPlan(config, tmp_path)
        problems = execute(plan.problems())
        student = base_student(config)
        ref = execute(plan.generate("tripost-1", student, problems, 1)[0])
        answers = execute(plan.evaluate("ft-rationale", student, problems))
    rows = read_rows(ref)
    assert len(rows) == 4 and len(read_rows(answers)) == 2
    assert {turn["attempt_by"] for row in rows for turn in row["turns"]} == {student.digest}
    assert {row["attempt_by"] for row in read_rows(answers)} == {student.digest}
    assert {body["model"] for body in endpoint.bodies} == {f"s-{student.digest}"}
    assert read_manifest(ref.uri)["request"]["config"]["engine"] == "server"


# -- vLLM's process ----------------------------------------------------------------------------------------------------

VLLM = '''#!{python}
"""The command line of vLLM as far as it is used, and its protocol."""
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if sys.argv[1] == "--version":
    print({version!r})
    sys.exit()
assert sys.argv[1] == "serve"
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
record = {{"argv": sys.argv[2:], "gpus": os.environ["CUDA_VISIBLE_DEVICES"], "pid": os.getpid()}}
with open({record!r}, "a") as file:
    file.write(json.dumps(record) + "\\n")
if {fails!r}:
    print("loading weights")
    sys.exit("CUDA is not available")

class Handler(BaseHTTPRequestHandler):
    def say(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.say(200, {{}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer " + os.environ["VLLM_API_KEY"]:
            return self.say(401, {{"error": {{"message": "no key"}}}})
        choice = {{"index": 0, "text": str(body["prompt"]), "finish_reason": "stop", "logprobs": None}}
        head = {{"id": "1", "object": "text_completion", "created": 0, "model": options["--served-model-name"]}}
        usage = {{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
        self.say(200, {{**head, "choices": [choice], "usage": usage}})

    def log_message(self, *_):
        pass

ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
'''


def fake_vllm(directory, version="vllm 0.33.0", fails=False):
    path, record = directory / "vllm", directory / "started.jsonl"
    path.write_text(VLLM.format(python=sys.executable, version=version, record=str(record), fails=fails))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path), record


def started(record):
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_vllm_serves_the_checkpoint_by_its_digest_and_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    command, record = fake_vllm(tmp_path)
    engine = EngineConfig(
        kind="vllm", command=command, replicas=2, tensor_parallel=2, arguments=["--max-num-seqs", "9"]
    )
    with vllm.vllm_servers(engine, TINY, "bfloat16", "d" * 64) as write:
        written = write(["Q: 1", "Q: 2"], [1, 2], **ONE)
        pids = [entry["pid"] for entry in started(record)]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert json.loads(written[0].text) == write.tokenizer("Q: 1")["input_ids"]
    one, two = sorted(started(record), key=lambda entry: entry["gpus"])
    assert (one["gpus"], two["gpus"]) == ("3,5", "6,7")
    told = " ".join(one["argv"])
    assert one["argv"][0] == str(TINY) and f"--served-model-name tripost-{'d' * 16}" in told
    assert "--dtype bfloat16" in told and "--tensor-parallel-size 2" in told and "--max-num-seqs 9" in told


def test_vllm_ends_with_the_stage_that_wanted_it(tmp_path):
    command, record = fake_vllm(tmp_path)
    engine = EngineConfig(kind="vllm", command=command)
    code = (
        "import os, sys; from pathlib import Path; from tripost_core.config import EngineConfig\n"
        "from tripost_core.lm.engines.vllm import vllm_servers\n"
        f"with vllm_servers(EngineConfig.model_validate_json({engine.model_dump_json()!r}), Path({str(TINY)!r}), "
        "'float32', 'd' * 64):\n    os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    (entry,) = started(record)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(entry["pid"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(entry["pid"])


@pytest.mark.parametrize(
    ("version", "fails", "error", "message"),
    [
        ("0.1.2", False, ConfigError, r"is vLLM 0\.1\.2; at least 0\.30 is needed"),
        ("no idea", False, ConfigError, "does not say which version"),
        ("0.33.0", True, ModelError, "vLLM ended with code 1.*CUDA is not available"),
    ],
)
def test_what_is_wrong_with_a_vllm_is_said(tmp_path, version, fails, error, message):
    command, _ = fake_vllm(tmp_path, version, fails)
    with (
        pytest.raises(error, match=message),
        vllm.vllm_servers(EngineConfig(command=command), TINY, "float32", "d" * 64),
    ):
        raise AssertionError("it is not ready")


def test_no_vllm_is_said_with_the_way_to_one(tmp_path):
    engine = EngineConfig(kind="vllm", command=str(tmp_path / "vllm"))
    settings = {"temperature": 0.0, "max_new_tokens": 9, "max_improvements": 0, "batch_tokens": 999}
    with pytest.raises(ConfigError, match=r"which is not there; .*deployments/vllm/requirements\.lock"):
        self_improve_with(engine, TINY, StudentConfig(), "d" * 64, "word_sorting", ["a b"], [1], **settings)


def test_gpus_that_are_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match="needs more than the 2 GPUs here"):
        vllm.visible_gpus(1, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert vllm.visible_gpus(1, 2) == ["2", "3"]


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_transformers_serve_writes_the_greedy_answers_of_our_own_engine(tmp_path):
    from test_transformers_serve import serve

    shutil.copytree(TINY, tmp_path / "student")
    lists = ("pear apple", "oven ant bee")
    questions = [f"Sort the following words alphabetically: List: {words}" for words in lists]
    settings = {"temperature": 0.0, "max_new_tokens": 200, "max_improvements": 1, "batch_tokens": 9999}
    rest = (checkpoint_digest(TINY), "word_sorting", questions, [0, 0])
    with serve(tmp_path) as url:
        engine = EngineConfig(kind="server", urls=[url], max_in_flight=1)
        served = self_improve_with(engine, tmp_path / "student", StudentConfig(device="cpu"), *rest, **settings)
    ours = self_improve_with(EngineConfig(), tmp_path / "student", StudentConfig(device="cpu"), *rest, **settings)
    assert [row.turns[0].attempt for row in served] == [row.turns[0].attempt for row in ours]
