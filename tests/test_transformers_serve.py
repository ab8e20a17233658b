"""An endpoint that nobody here wrote: `transformers serve` with the built-in student as the expert, which is useless as
one. The stage ends cleanly, and what it could not use is counted."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_llm_run import make_request, stored_trajectories

from tripost_core.buffers import read_manifest, read_rows
from tripost_core.stages import execute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
STUDENT = Path(__file__).parents[1] / "tripost_core" / "students" / "tiny"


@contextmanager
def serve(directory):
    """Base URL of a server on the CPU; its log goes to `directory`."""
    command = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("transformers has no command line here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    arguments = [command, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (directory / "serve.log").open("wb") as log:
        process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            for _ in range(240):
                assert process.poll() is None, (directory / "serve.log").read_text()
                try:
                    opener.open(f"http://127.0.0.1:{port}/health", timeout=2)
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def served(tmp_path):
    """Base URL and model name."""
    from transformers import AutoTokenizer

    model = tmp_path / "student"
    shutil.copytree(STUDENT, model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    with serve(tmp_path) as url:
        yield url, str(model)


def test_a_useless_expert_is_filtered_out_and_counted(served, tmp_path):
    url, model = served
    generated = stored_trajectories(tmp_path, num=6)
    request = make_request(
        *(tmp_path, "feedback", url, {"trajectories": generated}),
        **{"model": model, "max_tokens": 64, "max_samples": 2, "calls": {"max_in_flight": 2, "timeout_seconds": 300}},
    )
    ref = execute(request)
    manifest, rows = read_manifest(ref.uri), read_rows(ref)
    assert manifest["expert"]["calls"] > 0
    lost = {row["reason"] for row in rows if row["status"] == "discarded"}
    known = ("not_the_form", "cut_off", "empty", "bad_request", "server_error", "malformed", "no_such_step")
    assert lost and lost <= {f"feedback_{name}" for name in known}
    assert sum(manifest["dropped"].values()) == sum(row["status"] == "discarded" for row in rows)
    for turn in (turn for row in rows for turn in row["turns"]):
        assert turn["correct"] is None or turn["feedback"]
