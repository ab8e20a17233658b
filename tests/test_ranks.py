"""Training on several processes, with adapters, and with less memory than it asks for."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from test_train import make_config, make_rows, make_student, run_train, weights_of

from tripost_core.buffers import Ref
from tripost_core.config import LoraConfig, RanksConfig, RunConfig, TrainConfig
from tripost_core.errors import ConfigError, ModelError, OutOfMemoryError
from tripost_core.lm import train as train_module
from tripost_core.lm.deepspeed import zero_config
from tripost_core.lm.ranks import join
from tripost_core.lm.student import load_student
from tripost_core.lm.train import train
from tripost_core.plan import RunPlan

REF = Ref(uri="file:///nowhere", digest="0" * 64, kind="buffer", num_rows=1)


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory):
    return make_student(tmp_path_factory.mktemp("student") / "student")


@pytest.fixture(scope="module")
def alone(student_dir, tmp_path_factory):
    return run_train(student_dir, tmp_path_factory.mktemp("alone"), num_steps=5)


def run_ranks(student_dir, work_dir, progress=lambda *_: None, num_steps=5, micro=None, **ranks):
    settings, config = RanksConfig(processes_per_node=2, **ranks), make_config(micro_batch_size=micro)
    return train(student_dir, make_rows(10), config, num_steps, 1, work_dir, progress, settings)


def noting(steps):
    return lambda _what, done, _total: steps.append(done)


def assert_same_training(result, expected):
    for entry, other in zip(result.losses, expected.losses, strict=True):
        assert entry["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert entry["learning_rate"] == pytest.approx(other["learning_rate"])
    mine, theirs = weights_of(result.checkpoint_dir), weights_of(expected.checkpoint_dir)
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], atol=2e-5, rtol=1e-4)
    assert (result.num_trained_tokens, result.num_rows) == (expected.num_trained_tokens, expected.num_rows)


@pytest.mark.timeout(600)  # DeepSpeed compiles an operator at its first start on a machine
@pytest.mark.parametrize(
    ("deepspeed", "micro"),
    [
        ("none", None),
        ("zero2", None),
        pytest.param("zero3", None, marks=pytest.mark.slow),
        pytest.param("zero2", 1, marks=pytest.mark.slow),
        pytest.param("zero2-offload", 1, marks=pytest.mark.slow),
    ],
)
def test_two_ranks_train_the_student_of_one(student_dir, alone, tmp_path, deepspeed, micro):
    """10 rows in steps of 4: the last step of an epoch has 2, so with micro-batches of 2 a rank has none. With those of
    1 a step accumulates gradients over two, and the last of an epoch over one."""
    steps = []
    result = run_ranks(student_dir, tmp_path, noting(steps), deepspeed=deepspeed, micro=micro)
    assert steps == [1, 2, 3, 4, 5] and result.micro_batch_size == (micro or 2)
    assert_same_training(result, alone)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_training_on_two_ranks_goes_on_from_its_checkpoint(student_dir, alone, tmp_path):
    """It is killed after the checkpoint of step 3, with optimiser and gradients spread over both ranks."""

    class Killed(BaseException):
        pass

    def killer(_what, done, _total):
        if done == 4:
            raise Killed

    steps = []
    with pytest.raises(Killed):
        run_ranks(student_dir, tmp_path, killer, deepspeed="zero2", micro=1)
    assert not (tmp_path / "student").exists()
    result = run_ranks(student_dir, tmp_path, noting(steps), deepspeed="zero2", micro=1)
    assert steps == [4, 5]
    assert_same_training(result, alone)


@pytest.mark.timeout(300)
def test_what_a_rank_raises_is_what_the_caller_gets(student_dir, tmp_path):
    with pytest.raises(ModelError, match="diverged"):
        train(
            student_dir, make_rows(10), make_config(learning_rate=1e30, max_grad_norm=1e30), 8, 1, tmp_path,
            lambda *_: None, RanksConfig(processes_per_node=2),
        )  # fmt: skip


PARENT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_ranks import run_ranks
run_ranks(Path({student!r}), Path({work!r}), num_steps=100000)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_machines(student_dir, alone, tmp_path):
    """Two launchers that meet at a port, as two machines do that see the same files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{free.getsockname()[1]}"
    settings = RanksConfig(processes_per_node=1, nodes=2, rendezvous=rendezvous)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(train, student_dir, make_rows(10), make_config(), 5, 1, tmp_path, lambda *_: None, settings)
        while not (tmp_path / "rows.jsonl").exists():
            time.sleep(0.1)
        time.sleep(1)
        assert join(tmp_path) == 0
        result = first.result()
    assert [e["loss"] for e in result.losses] == pytest.approx([e["loss"] for e in alone.losses], abs=1e-5)


def test_joining_nothing(tmp_path):
    with pytest.raises(ConfigError, match="has begun"):
        join(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_caller_leaves_no_process_behind(student_dir, tmp_path):
    code = PARENT.format(tests=str(Path(__file__).parent), student=str(student_dir), work=str(tmp_path / "work"))
    parent = subprocess.Popen([sys.executable, "-c", code])

    def children():
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        return [line for line in lines if str(tmp_path / "work") in line and "tripost_core.lm.worker" in line]

    deadline = time.monotonic() + 120
    while not (tmp_path / "work" / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(children()) >= 3  # torchrun and two workers
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while children() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not children()


def test_ranks_are_no_part_of_a_stage_key(tmp_path):
    def key(**ranks):
        config = RunConfig.model_validate({"compute": {"ranks": ranks}})
        plan = RunPlan(config, tmp_path)
        return plan.train_rationale(REF).key

    assert key() == key(processes_per_node=4, deepspeed="zero2")


def test_several_machines_have_to_meet_somewhere(tmp_path):
    with pytest.raises(ValueError, match="rendezvous"):
        RanksConfig(nodes=2)
    with pytest.raises(ConfigError, match="is none of none, zero2"):
        zero_config(RanksConfig(deepspeed=str(tmp_path / "nothing.json")))
    (tmp_path / "own.json").write_text('{"zero_optimization": {"stage": 1}}')
    assert zero_config(RanksConfig(deepspeed=str(tmp_path / "own.json")))["zero_optimization"]["stage"] == 1


# -- memory ------------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_micro_batches_and_keeps_the_steps(student_dir, alone, tmp_path, monkeypatch):
    """It runs out after the checkpoint of step 3 and goes on from there with other pieces."""
    rank = train_module.train_rank
    tried = []

    def short_of_memory(student, rows, config, *rest):
        tried.append(config["micro_batch_size"])
        if config["micro_batch_size"] > 1:
            *arguments, progress, ranks, tracking, label = rest

            def until_four(what, done, total):
                if done == 4:
                    raise OutOfMemoryError("no memory")
                progress(what, done, total)

            return rank(student, rows, config, *arguments, until_four, ranks, tracking, label)
        return rank(student, rows, config, *rest)

    monkeypatch.setattr(train_module, "train_rank", short_of_memory)
    steps = []
    result = run_train(student_dir, tmp_path, num_steps=5, progress=lambda _what, done, _total: steps.append(done))
    assert tried == [4, 2, 1] and steps == [1, 2, 3, 4, 5]
    assert result.micro_batch_size == 1
    assert [e["loss"] for e in result.losses] == pytest.approx([e["loss"] for e in alone.losses], abs=1e-5)


def test_the_model_that_ran_out_of_memory_is_gone_before_the_next_one_is_loaded(student_dir, tmp_path, monkeypatch):
    """Nothing may hold it: on a GPU its memory is what the next attempt needs."""
    models, left = [], []

    def loading(*arguments, **settings):
        left.append([model for model in models if model() is not None])
        student = load_student(*arguments, **settings)
        models.append(weakref.ref(student.model))
        return student

    def until_two(_what, done, _total):
        if done == 2 and len(models) < 3:
            raise MemoryError

    monkeypatch.setattr(train_module, "load_student", loading)
    result = run_train(student_dir, tmp_path, num_steps=3, progress=until_two)
    assert result.micro_batch_size == 1
    assert left == [[], [], []]


def test_out_of_memory_with_one_row_at_a_time_is_said(student_dir, tmp_path, monkeypatch):
    def never(*_):
        raise OutOfMemoryError("Training ran out of memory.")

    monkeypatch.setattr(train_module, "train_rank", never)
    with pytest.raises(ConfigError, match="out of memory"):
        run_train(student_dir, tmp_path, micro_batch_size=2)


# -- adapters ----------------------------------------------------------------------------------------------------------


def test_adapters_are_merged_into_a_plain_student(tmp_path):
    student_dir = make_student(tmp_path / "student", width=64)
    lora = LoraConfig(rank=8, alpha=16).model_dump(mode="json")
    result = run_train(student_dir, tmp_path / "work", num_steps=20, learning_rate=1e-2, lora=lora)
    before, after = weights_of(student_dir), weights_of(result.checkpoint_dir)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed and all("proj" in name for name in changed)  # the embeddings stay as they were
    assert result.losses[-1]["loss"] < result.losses[0]["loss"]
    assert not list(result.checkpoint_dir.glob("adapter*"))
    assert load_student(result.checkpoint_dir).model.config.use_cache is True


def test_a_training_with_adapters_goes_on_where_it_was(tmp_path):
    student_dir = make_student(tmp_path / "student")
    lora = LoraConfig(rank=4).model_dump(mode="json")
    whole = run_train(student_dir, tmp_path / "whole", num_steps=8, lora=lora)

    class Killed(BaseException):
        pass

    def killer(_what, done, _total):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        run_train(student_dir, tmp_path / "killed", num_steps=8, lora=lora, progress=killer)
    steps = []
    again = run_train(
        student_dir, tmp_path / "killed", num_steps=8, lora=lora, progress=lambda _w, done, _t: steps.append(done)
    )
    assert steps == [4, 5, 6, 7, 8]
    for name, tensor in weights_of(whole.checkpoint_dir).items():
        assert torch.equal(tensor, weights_of(again.checkpoint_dir)[name]), name


def test_under_bf16_the_frozen_weights_are_bf16_and_the_merged_student_starts_from_the_exact_ones(
    student_dir, tmp_path
):
    lora = LoraConfig(target_modules=["q_proj"]).model_dump(mode="json")
    config = {**make_config(lora=lora), "student": {"dtype": "bfloat16", "device": "cpu"}}
    result = train(student_dir, make_rows(10), config, 4, 1, tmp_path, lambda *_: None)
    before, after = weights_of(student_dir), weights_of(result.checkpoint_dir)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "q_proj" in name}
    assert all(math.isfinite(entry["loss"]) for entry in result.losses)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["nothing_like_it"]}, "does not fit the student"),
        ({"quantize": "4bit"}, "needs a CUDA device"),
    ],
)
def test_adapters_that_cannot_be_had(student_dir, tmp_path, lora, message):
    with pytest.raises(ConfigError, match=message):
        run_train(student_dir, tmp_path, lora=LoraConfig(**lora).model_dump(mode="json"))


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.learning_rate, config.num_epochs, config.warmup_ratio, config.batch_size) == (1e-6, 4, 0.2, 4)
    assert (config.max_length_tokens, config.improvement_weight) == (1024, 1.5)
