"""Buffers and checkpoints on an object store: a real S3-compatible server (moto) on loopback."""

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tripost_core import stages
from tripost_core.buffers import Ref, find, is_intact, join, read_manifest, read_rows, write_buffer, write_file
from tripost_core.config import RunConfig
from tripost_core.errors import StorageError
from tripost_core.plan import RunPlan, base_student
from tripost_core.schemas import SCHEMAS
from tripost_core.stages import committed, execute, local_checkpoint

MISSING = [name for name in ("s3fs", "moto") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed (make test-slow has it)")


@pytest.fixture(scope="module")
def endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(200):
            try:
                opener.open(url, timeout=2).read()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        opener.open(urllib.request.Request(f"{url}/runs", method="PUT")).read()
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    """`s3://runs`, by the environment alone, as a user has it."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stages, "_CACHE", tmp_path / "cache")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://runs"
    s3fs.S3FileSystem.clear_instance_cache()


def config(store, **more):
    small = {"num_train": 4, "num_test_seen": 2, "num_test_unseen": 0}
    student = {"model": more.pop("model"), "device": "cpu"} if "model" in more else {"device": "cpu"}
    training = {"num_epochs": 1, "max_length_tokens": 1024}
    return RunConfig(
        task="word_sorting", data=small, student=student, rationale=training, compute={"store": store}, **more
    )


def test_a_buffer_is_what_it_is_on_a_disk(s3, tmp_path):
    names = SCHEMAS["problems-1"].names
    rows = [{**dict.fromkeys(names), "problem_id": f"p{n}", "question": f"{n}é"} for n in range(3)]
    remote, local = (write_buffer(join(root, "b"), "problems-1", rows) for root in (f"{s3}/one", str(tmp_path)))
    assert remote.digest == local.digest and read_rows(remote) == read_rows(local)
    assert is_intact(remote) and find(remote.uri) == remote
    shard = read_manifest(remote.uri)["shards"][0]["file"]
    write_file(join(remote.uri, shard), b"PAR1")
    assert not is_intact(remote)
    with pytest.raises(StorageError, match="truncated or altered"):
        read_rows(remote)


def test_stages_of_two_machines_share_a_store(s3, tmp_path, monkeypatch):
    """One makes questions and trains; the other, with a home of its own, fetches the student and writes with it."""
    from test_train import make_student

    model = str(make_student(tmp_path / "student"))
    here = RunPlan(config(s3, model=model), tmp_path / "here" / "run")
    problems = execute(here.problems())
    gold = execute(here.gold_rows(problems))
    student = execute(here.train_rationale(gold))
    assert all(ref.uri.startswith("s3://runs/run/stages/") for ref in (problems, gold, student))
    assert not list((tmp_path / "cache").rglob("*.safetensors")), "work that is done is removed"

    monkeypatch.setattr(stages, "_CACHE", tmp_path / "there")
    there = RunPlan(config(s3, model=model), tmp_path / "elsewhere" / "run")
    assert committed(there.train_rationale(gold)) == student
    answers = execute(there.evaluate("ft-rationale", student, problems))
    assert len(read_rows(answers)) == 2
    fetched = local_checkpoint(student)
    assert fetched.is_relative_to(tmp_path / "there") and (fetched / "model.safetensors").exists()
    assert not [path for path in fetched.parent.iterdir() if path.name.startswith(".")]


def test_the_digests_are_those_of_a_run_on_a_disk(s3, tmp_path):
    remote = execute(RunPlan(config(f"{s3}/x"), tmp_path / "a").problems())
    local = execute(RunPlan(config(None), tmp_path / "a").problems())
    assert remote.digest == local.digest


@pytest.mark.parametrize(
    ("setting", "value"),
    [("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), ("bucket", "s3://no-such-bucket/x")],
)
def test_a_store_that_is_not_there_is_one_sentence(s3, tmp_path, monkeypatch, setting, value):
    store = f"{s3}/y"
    if setting == "bucket":
        store = value
    else:
        import s3fs

        monkeypatch.setenv(setting, value)
        s3fs.S3FileSystem.clear_instance_cache()  # it has read the environment before
    with pytest.raises(StorageError, match=r"^s3://.* cannot be (read|written)") as caught:
        execute(RunPlan(config(store), tmp_path / "run").problems(), fresh=True)
    assert "\n" not in str(caught.value)


def test_a_reference_to_nothing(s3):
    gone = Ref(uri=f"{s3}/nothing", digest="d" * 64, kind="checkpoint")
    assert not is_intact(gone) and find(gone.uri) is None


def test_the_base_student_is_a_local_one(s3):
    assert not base_student(config(s3)).uri.startswith("s3://")
