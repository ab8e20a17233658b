"""A run's student as a package with its model card, in a directory and at a hub (a real HTTP server on loopback)."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from misbehaving_endpoint import serving
from safetensors import safe_open
from test_train import make_student

from tripost_core.buffers import Ref
from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError, StorageError
from tripost_core.lm.student import checkpoint_digest, load_student
from tripost_core.plan import RunPlan
from tripost_core.publish import model_card, write_package

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    """A run of two iterations whose last student is a random one."""
    directory = tmp_path / "my run"
    config = RunConfig.model_validate({"task": "word_sorting", "student": {"model": "some/base"}})
    plan = RunPlan(config, directory)
    for iteration in (0, 1, 2):
        student = make_student(tmp_path / f"student-{iteration}")
        ref = Ref(uri=student.as_uri(), digest=checkpoint_digest(student), kind="checkpoint", num_rows=0)
        plan.note("ft-rationale" if iteration == 0 else f"tripost-{iteration}", iteration, train=ref)
    scores = dict.fromkeys(("seen", "unseen", "total"), 0.25)
    metrics = ("accuracy", "first_attempt_accuracy", "si_freq", "si_contrib", "n")
    report = {"iterations": [{"name": "tripost-2", "eval": dict.fromkeys(metrics, scores)}]}
    (directory / "report.json").write_text(json.dumps(report))
    return directory, plan.record


def test_the_package_is_a_student_with_its_numbers(run, tmp_path):
    directory, record = run
    entry = record.student_entry()
    assert entry.name == "tripost-2"
    package = write_package(record, directory, entry, tmp_path / "package")
    assert load_student(package).digest == entry.stages["train"].digest
    card = (package / "README.md").read_text()
    assert card.startswith("---\nbase_model: some/base\n") and "| tripost-2 | 25.0 | 25.0 | 25.0 |" in card
    assert "word sorting" in card and "Answer: Let's think step by step." in card
    assert str(tmp_path) not in card
    with pytest.raises(StorageError, match="there already"):
        write_package(record, directory, entry, tmp_path / "package")


def test_a_card_says_how_its_own_student_was_trained(run):
    directory, record = run
    cards = {name: model_card(record, directory, record.student_entry(name)) for name in ("ft-rationale", "tripost-1")}
    assert "trained by ft rationale" in cards["ft-rationale"] and "5 epochs, batches" in cards["ft-rationale"]
    assert ", weight" not in cards["ft-rationale"] and "criticises" not in cards["ft-rationale"]
    assert "trained by TriPosT" in cards["tripost-1"] and "4 epochs, batches" in cards["tripost-1"]
    assert "weight 1.5 on feedback" in cards["tripost-1"] and "criticises its attempt" in cards["tripost-1"]

    config = RunConfig.model_validate({"task": "word_sorting"})
    plan = RunPlan(config, directory)
    plan.note("ft-rationale-continued", None, train_1=record.student_entry("tripost-1").student)
    card = model_card(plan.record, directory, plan.record.student_entry("ft-rationale-continued"))
    assert "trained by ft rationale" in card and "as many steps as TriPosT took" in card and "criticises" not in card


def test_a_student_that_is_gone_leaves_no_package(run, tmp_path):
    directory, record = run
    gone = record.entries[-1].model_copy(update={"stages": {"train": Ref(uri="gone", digest="0", kind="checkpoint")}})
    with pytest.raises(StorageError, match="tripost-2 is gone"):
        write_package(record, directory, gone, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_which_student(run):
    _, record = run
    assert record.student_entry("tripost-1").iteration == 1
    with pytest.raises(ConfigError, match="no trained student 'tripost-9'; it has ft-rationale, tripost-1, tripost-2"):
        record.student_entry("tripost-9")


def test_a_run_without_scores_has_a_card_too(run, tmp_path):
    directory, record = run
    (directory / "report.json").unlink()
    assert "Test questions" not in model_card(record, directory, record.student_entry())


class Hub:
    """What of the hub's protocol an upload of small files needs."""

    def __init__(self, token="hf_right"):
        self.token = token
        self.files = {}

    def application(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "Invalid credentials in Authorization header"}, status=401)
        path = request.path
        if path.endswith("/repos/create"):
            return web.json_response({"url": f"{request.url.origin()}/me/sorter"})
        if path.endswith("/preupload/main"):
            asked = json.loads(await request.text())["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            return web.json_response({"files": modes})
        if "/commit/" in path:
            for line in (await request.text()).splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            url = f"{request.url.origin()}/me/sorter/commit/0"
            return web.json_response({"commitUrl": url, "commitOid": "0" * 40, "success": True})
        if "/revision/main" in path or path.endswith("/me/sorter"):
            return web.json_response({"id": "me/sorter", "sha": "0" * 40, "siblings": [], "tags": [], "private": True})
        if path.endswith("/validate-yaml"):
            return web.json_response({"errors": [], "warnings": []})
        return web.json_response([])


def push(directory, url, token):
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "flows.cli", "push", str(directory), "--to", "me/sorter"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_upload(run, tmp_path):
    directory, _ = run
    hub = Hub()
    with serving(hub) as url:
        done = push(directory, url.removesuffix("/v1"), "hf_right")
    assert done.returncode == 0, done.stderr
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(hub.files)
    (tmp_path / "got.safetensors").write_bytes(hub.files["model.safetensors"])
    with safe_open(tmp_path / "got.safetensors", framework="pt") as file:
        assert "model.embed_tokens.weight" in file.keys()  # noqa: SIM118 - not a dict


def test_a_wrong_token_is_one_sentence(run):
    directory, _ = run
    with serving(Hub()) as url:
        done = push(directory, url.removesuffix("/v1"), "hf_wrong")
    assert done.returncode == 2 and "The hub does not take me/sorter" in done.stderr
    assert "Traceback" not in done.stderr and "hf_wrong" not in done.stderr + done.stdout
