"""Training: order, schedule, resuming bit by bit, and what a user is told when it cannot go on."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from tripost_core.buffers import Ref, read_manifest, write_buffer
from tripost_core.config import TrainConfig
from tripost_core.errors import ConfigError, DataError, ModelError, StorageError
from tripost_core.lm.batches import MicroBatches
from tripost_core.lm.encode import encode_rows
from tripost_core.lm.loss import count_trained_tokens, weighted_cross_entropy_sum
from tripost_core.lm.packing import pad as collate
from tripost_core.lm.student import checkpoint_digest, load_student, save_student
from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer
from tripost_core.lm.train import train
from tripost_core.lm.trainer import latest_checkpoint
from tripost_core.stages import StageRequest, execute

STUDENT = {"dtype": "float32", "device": "cpu"}


def make_student(directory, width=16, attention_dropout=0.0, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        attention_dropout=attention_dropout,
        tie_word_embeddings=True,
    )
    return save_student(LlamaForCausalLM(config), build_tokenizer(), directory)


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory):
    """A random Llama. Its attention dropout makes the random state a part of what has to be resumed."""
    return make_student(tmp_path_factory.mktemp("student") / "student", attention_dropout=0.1)


def make_rows(num_rows):
    """Half x_imp, half x_T, of different lengths."""
    rows = []
    for n in range(num_rows):
        attempt = "".join(f"\n({i + 1}) {n} + {i} = {n + i}." for i in range(1 + n % 4))
        texts = {
            "prompt": f"Q: {n} =\nAnswer: Let's think step by step.",
            "attempt": attempt,
            "feedback": "\nFeedback: x",
        }
        if n % 2:
            texts["improvement"] = f"\nUpdated Answer: Let's think step by step.\n(1) {n} = {n}."
        segments = [{"role": role, "text": text} for role, text in texts.items()]
        rows.append({"row_id": f"{n:03d}", "bucket": "gold", "kind": "x_imp" if n % 2 else "x_T", "segments": segments})
    return rows


def make_config(**changes):
    settings = {"learning_rate": 1e-3, "num_epochs": 2, "batch_size": 4, "save_every_steps": 3, **changes}
    return {**TrainConfig(**settings).model_dump(mode="json"), "student": STUDENT}


def run_train(student_dir, work_dir, num_rows=10, num_steps=None, seed=1, progress=None, **changes):
    progress = progress or (lambda *_: None)
    return train(student_dir, make_rows(num_rows), make_config(**changes), num_steps, seed, work_dir, progress)


def weights_of(directory):
    return load_file(directory / "model.safetensors")


class Killed(BaseException):
    """Stands for kill -9 inside the process: nothing of ours catches it."""


def killer(at_step):
    def progress(_what, step, _total):
        if step == at_step:
            raise Killed

    return progress


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    micro=st.none() | st.integers(1, 12),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 5),
)
def test_micro_batches_are_the_steps_cut_up(lengths, batch_size, micro, seed, epoch):
    order = MicroBatches(lengths, batch_size, micro, seed)
    order.set_epoch(epoch)
    batches = list(order)
    assert len(batches) == len(order)
    assert all(1 <= len(batch) <= (micro or batch_size) for batch in batches)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    per_step = order.num_micro_batches_per_step
    of_steps = [[i for batch in batches[at : at + per_step] for i in batch] for at in range(0, len(batches), per_step)]
    assert all(len(step) == batch_size for step in of_steps[:-1])
    steps = list(order.steps((epoch + 1) * order.num_steps_per_epoch))[-order.num_steps_per_epoch :]
    assert [sorted(step) for step in steps] == [sorted(step) for step in of_steps]
    assert all([lengths[i] for i in step] == sorted(lengths[i] for i in step) for step in of_steps)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    micro=st.none() | st.integers(1, 4),
    num_ranks=st.integers(2, 4),
    packed=st.booleans(),
)
def test_ranks_share_a_step(lengths, batch_size, micro, num_ranks, packed):
    orders = [MicroBatches(lengths, batch_size, micro, 0, rank, num_ranks, packed) for rank in range(num_ranks)]
    each = [list(order) for order in orders]
    assert all(len(batches) == len(order) for batches, order in zip(each, orders, strict=True))
    per_step = orders[0].num_micro_batches_per_step
    for number, step in enumerate(orders[0].steps(orders[0].num_steps_per_epoch)):
        parts = [batches[number * per_step : (number + 1) * per_step] for batches in each]
        assert sorted(i for part in parts for batch in part for i in batch) == sorted(step)
        tokens = [sum(lengths[i] for batch in part for i in batch) for part in parts]
        if packed:
            assert max(tokens) - min(tokens) <= max(lengths[i] for i in step)


def test_epochs_and_seeds_have_their_own_order():
    def orders(seed):
        return [tuple(step) for step in MicroBatches([1] * 50, 50, None, seed).steps(3)]

    assert orders(0) == orders(0)
    assert len({order for seed in range(3) for order in orders(seed)}) == 9


def bare_training(student_dir, total_steps, settings):
    """The same training written out: AdamW, linear schedule with warm-up, clipping, one division a step."""
    student = load_student(student_dir, "cpu", torch.float32)
    model = student.model
    encoded = encode_rows(make_rows(10), student.tokenizer, settings.improvement_weight, settings.mask_attempt)
    decayed = [p for name, p in model.named_parameters() if "norm" not in name]
    kept = [p for name, p in model.named_parameters() if "norm" in name]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8)
    warmup = -(-total_steps * settings.warmup_ratio // 1)
    order = MicroBatches([row.num_tokens for row in encoded], settings.batch_size, None, seed=1)
    losses = []
    for step, indices in enumerate(order.steps(total_steps)):
        rate = step / warmup if step < warmup else (total_steps - step) / (total_steps - warmup)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        batch = collate([encoded[i] for i in indices])
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        total = weighted_cross_entropy_sum(logits, batch["input_ids"], batch["weights"])
        loss = total / count_trained_tokens(batch["weights"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        losses.append({"step": step + 1, "loss": loss.item(), "learning_rate": settings.learning_rate * rate})
    return losses, {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
def test_the_trainer_does_what_is_written_out(tmp_path, micro_batch_size):
    """10 rows in steps of 4: the last step of an epoch is smaller, and 3 does not divide 4."""
    still = make_student(tmp_path / "student")
    settings = TrainConfig(learning_rate=1e-3, num_epochs=2, mask_attempt=True, weight_decay=0.1)
    changes = settings.model_dump(exclude={"micro_batch_size", "save_every_steps"})
    result = run_train(still, tmp_path / "work", micro_batch_size=micro_batch_size, **changes)
    losses, weights = bare_training(still, 6, settings)
    assert [entry["step"] for entry in result.losses] == [1, 2, 3, 4, 5, 6]
    for entry, expected in zip(result.losses, losses, strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert entry["learning_rate"] == pytest.approx(expected["learning_rate"], rel=1e-6)
    trained = weights_of(result.checkpoint_dir)
    assert set(trained) <= set(weights)
    for name, tensor in trained.items():
        # AdamW's first steps are the sign of a gradient, so rounding shows where one is nearly zero.
        torch.testing.assert_close(tensor, weights[name], atol=2e-5, rtol=1e-4)


def test_result_and_checkpoint(student_dir, tmp_path):
    seen = []
    result = run_train(student_dir, tmp_path, num_steps=5, progress=lambda *a: seen.append(a), max_length_tokens=30)
    lengths = [row.num_tokens for row in encode_rows(make_rows(10), build_tokenizer())]
    assert (result.num_steps, result.num_rows) == (5, sum(n <= 30 for n in lengths))
    assert 0 < result.num_too_long == sum(n > 30 for n in lengths) < 10
    assert [step for _, step, total in seen if total == 5] == [1, 2, 3, 4, 5]
    assert result.losses[0]["learning_rate"] == 0.0 and len(result.losses) == 5
    encoded = [row for row in encode_rows(make_rows(10), build_tokenizer()) if row.num_tokens <= 30]
    order = MicroBatches([row.num_tokens for row in encoded], 4, None, seed=1)
    assert result.num_trained_tokens == sum(encoded[i].num_trained_tokens for step in order.steps(5) for i in step)
    trained = load_student(result.checkpoint_dir)
    assert trained.digest != checkpoint_digest(student_dir)
    assert trained.model.config.use_cache is True  # the Trainer's training default must not reach generation
    assert {tensor.dtype for tensor in weights_of(result.checkpoint_dir).values()} == {torch.float32}
    assert trained.tokenizer("(1) 12")["input_ids"] == build_tokenizer()("(1) 12")["input_ids"]


def test_training_learns_its_row_and_where_it_ends(tmp_path):
    student_dir = make_student(tmp_path / "student", width=64)
    result = run_train(student_dir, tmp_path, num_rows=1, num_steps=60, learning_rate=1e-2, warmup_ratio=0.1)
    student = load_student(result.checkpoint_dir)
    texts = [segment["text"] for segment in make_rows(1)[0]["segments"]]
    prompt = student.tokenizer(texts[0], return_tensors="pt")["input_ids"]
    written = student.model.generate(
        prompt, max_new_tokens=40, do_sample=False, eos_token_id=student.tokenizer.eos_token_id
    )[0]
    assert student.tokenizer.decode(written[prompt.shape[1] :]) == "".join(texts[1:]) + "</s>"


@pytest.mark.parametrize(("at_step", "resumed_from"), [(2, None), (8, 6)])
def test_resumed_training_is_bit_equal(student_dir, tmp_path, at_step, resumed_from):
    """3 steps an epoch, 10 in all: begins anew, or resumes at an epoch's end."""
    settings = {"num_steps": 10, "micro_batch_size": 3}
    whole = run_train(student_dir, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        run_train(student_dir, tmp_path / "killed", progress=killer(at_step), **settings)
    steps = []
    resumed = run_train(student_dir, tmp_path / "killed", progress=lambda _, step, __: steps.append(step), **settings)
    assert steps == list(range((resumed_from or 0) + 1, 11))
    assert resumed.losses == whole.losses and resumed.num_trained_tokens == whole.num_trained_tokens
    assert checkpoint_digest(resumed.checkpoint_dir) == checkpoint_digest(whole.checkpoint_dir)


def test_resumed_in_the_middle_of_an_epoch(student_dir, tmp_path):
    settings = {"num_steps": 8, "save_every_steps": 4}
    whole = run_train(student_dir, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        run_train(student_dir, tmp_path / "killed", progress=killer(6), **settings)
    resumed = run_train(student_dir, tmp_path / "killed", **settings)
    assert resumed.losses == whole.losses
    assert checkpoint_digest(resumed.checkpoint_dir) == checkpoint_digest(whole.checkpoint_dir)


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "scheduler.pt"])
def test_an_altered_checkpoint_is_not_taken_up(student_dir, tmp_path, name):
    with pytest.raises(Killed):
        run_train(student_dir, tmp_path, progress=killer(7), num_steps=9)
    (complete,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    identity = json.loads((complete / "complete.json").read_text())["identity"]
    assert latest_checkpoint(tmp_path / "checkpoints", identity).step == 6
    data = bytearray((complete / name).read_bytes())
    data[len(data) // 2] ^= 1
    (complete / name).write_bytes(data)
    assert latest_checkpoint(tmp_path / "checkpoints", identity) is None and not complete.exists()


def test_half_written_checkpoints_and_those_of_others_are_not_taken_up(student_dir, tmp_path):
    with pytest.raises(Killed):
        run_train(student_dir, tmp_path, progress=killer(7), num_steps=9)
    checkpoints = tmp_path / "checkpoints"
    (complete,) = checkpoints.glob("checkpoint-*")
    identity = json.loads((complete / "complete.json").read_text())["identity"]
    half = checkpoints / "checkpoint-8"
    half.mkdir()
    (half / "model.safetensors").write_bytes((complete / "model.safetensors").read_bytes()[:100])
    saved = latest_checkpoint(checkpoints, identity)
    assert (saved.directory, saved.step) == (complete, 6) and not half.exists()
    steps = []
    run_train(student_dir, tmp_path, seed=2, num_steps=9, progress=lambda _, step, __: steps.append(step))
    assert steps[0] == 1


KILLED = """
import os, pathlib, signal, sys, traceback
sys.path.insert(0, {tests!r})
import test_train

def start(stop):
    def progress(_, step, total):
        print(stop, step, flush=True)
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()  # twice from a process that has not computed anything: the imports take most of the time
    if pid == 0:
        try:
            test_train.run_train(pathlib.Path({student!r}), pathlib.Path({work!r}), num_steps=12, progress=progress)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print("exit", start(8), pathlib.Path({work!r}, "student").exists(), flush=True)
print("exit", start(99), pathlib.Path({work!r}, "student").exists(), flush=True)
"""


def test_kill_9_and_the_same_command_again(student_dir, tmp_path):
    whole = run_train(student_dir, tmp_path / "whole", num_steps=12)
    code = KILLED.format(tests=str(Path(__file__).parent), student=str(student_dir), work=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, second = [f"8 {step}" for step in range(1, 9)], [f"99 {step}" for step in range(7, 13)]
    expected = [*first, f"exit -{signal.SIGKILL.value} False", *second, "exit 0 True"]
    assert done.stdout.splitlines() == expected, done.stderr
    ours, theirs = weights_of(tmp_path / "killed" / "student"), weights_of(whole.checkpoint_dir)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name].view(torch.int32), theirs[name].view(torch.int32)) for name in ours)


def test_bf16_computation_keeps_fp32_weights(student_dir, tmp_path):
    config = {**make_config(), "student": {"dtype": "bfloat16", "device": "cpu"}}
    result = train(student_dir, make_rows(10), config, 3, 1, tmp_path / "bf16", lambda *_: None)
    exact = run_train(student_dir, tmp_path / "fp32", num_steps=3)
    assert {tensor.dtype for tensor in weights_of(result.checkpoint_dir).values()} == {torch.float32}
    for entry, expected in zip(result.losses, exact.losses, strict=True):
        assert entry["loss"] != expected["loss"] and entry["loss"] == pytest.approx(expected["loss"], rel=0.02)


def test_what_cannot_be_trained_is_one_sentence(student_dir, tmp_path):
    with pytest.raises(DataError, match="none of the 10 rows has at most 16 tokens"):
        run_train(student_dir, tmp_path, max_length_tokens=16)
    with pytest.raises(DataError, match="none of the 0 rows"):
        run_train(student_dir, tmp_path, num_rows=0)
    for device in ("cuda:99", "no such thing"):
        config = {**make_config(), "student": {"dtype": "float32", "device": device}}
        with pytest.raises(ConfigError, match=device):
            train(student_dir, make_rows(4), config, None, 0, tmp_path, lambda *_: None)
    with pytest.raises(ModelError, match="does not exist"):
        run_train(tmp_path / "nowhere", tmp_path)


def test_a_training_that_diverges_stops_and_leaves_no_bad_checkpoint(student_dir, tmp_path):
    with pytest.raises(ModelError, match=r"diverged: the (loss|gradient) of optimiser step"):
        run_train(student_dir, tmp_path, num_steps=60, learning_rate=1e30, warmup_ratio=0.0, save_every_steps=1)
    for directory in (tmp_path / "checkpoints").glob("checkpoint-*"):
        assert all(tensor.isfinite().all() for tensor in weights_of(directory).values())


def test_a_full_disk_is_one_sentence(student_dir, tmp_path):
    """No file may grow beyond 45 kB: the weights still fit, the optimiser's state does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(StorageError, match="cannot be written"):
            run_train(student_dir, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "student").exists()
    assert not list(tmp_path.glob("checkpoints/*/complete.json"))


def test_stage(student_dir, tmp_path):
    defaults = {"problem_id": "p", "triplet_id": None, "iteration": 1}
    rows = write_buffer(str(tmp_path / "rows"), "rows-1", [{**row, **defaults} for row in make_rows(10)])
    student = Ref(uri=str(student_dir), digest=checkpoint_digest(student_dir), kind="checkpoint")
    request = StageRequest(
        stage="train",
        label="tripost-1/train",
        store=str(tmp_path / "stages"),
        config=make_config(max_length_tokens=30),
        params={"task": "multistep_arithmetic", "iteration": 1, "num_steps": None},
        inputs={"student": student, "rows": rows},
        seed=1,
    )
    ref = execute(request)
    manifest = read_manifest(ref.uri)
    direct = run_train(student_dir, tmp_path / "direct", max_length_tokens=30)
    assert ref.digest == checkpoint_digest(direct.checkpoint_dir)
    assert manifest["in"] == 10 and manifest["kept"] == direct.num_rows
    assert manifest["dropped"] == {"too_long": direct.num_too_long}
    assert manifest["metrics"]["num_steps"] == direct.num_steps == len(manifest["metrics"]["losses"])
    assert manifest["metrics"]["losses"] == direct.losses
    assert manifest["metrics"]["num_trained_tokens"] == direct.num_trained_tokens
    assert not os.listdir(tmp_path / "stages" / ".work")
