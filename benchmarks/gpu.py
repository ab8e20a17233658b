"""What one GPU does: the loss on it against numpy, training of a 1B-class model (full, ZeRO-2, LoRA) against TRL,
generation, and the built-in student's whole run. Under ten minutes, without a network, with random weights.

    make bench-gpu                                       # installs what it needs, then python -m benchmarks.gpu
    python -m benchmarks.gpu --smoke --device cpu        # the same in miniature, to see that it runs

Each part that cannot run (no DeepSpeed, no TRL, no Prefect) says why and is left out. MFU counts 6 FLOP a parameter and
token, and 12 x layers x width x length of attention, halved for causality, over the GPU's dense bf16 peak. The exit
code is 1 where the loss is not the reference's (`TOLERANCES`).

Without `make setup` and without a network, in a checkout that is not installed: PACKAGES are what is imported, peft is
for LoRA, trl (which brings datasets) for the comparison, deepspeed for ZeRO-2; the whole run needs all of the lock. Trl
is not in the lock; its bounds are those of the extra `gpu`.

    PACKAGES="torch transformers accelerate tokenizers safetensors numpy pyarrow blake3 pydantic pyyaml fsspec psutil"
    pip download --dest wheels --constraint requirements.lock $PACKAGES peft deepspeed "trl>=1.16,<2"   # elsewhere
    pip install --no-index --find-links wheels $PACKAGES peft deepspeed trl
    python -m benchmarks.gpu --out gpu.json
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.plain_loss import reference_step
from tripost_core.config import LoraConfig, RanksConfig, TrainConfig
from tripost_core.lm.adapters import add_adapters
from tripost_core.lm.encode import EncodedRow, encode_rows
from tripost_core.lm.generate import sample
from tripost_core.lm.loss import attach_weighted_loss, count_trained_tokens
from tripost_core.lm.packing import pack, pad, use_varlen_attention
from tripost_core.lm.student import Student, load_student, save_student
from tripost_core.lm.tokenizer import build_tokenizer
from tripost_core.lm.train import train
from tripost_core.problems import load_task, prompt

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
TOLERANCES = {
    ("fp32", "loss"): 1e-5,
    ("fp32", "gradient"): 1e-4,
    ("bf16", "loss"): 1e-2,  # it has three digits, and a mask that is wrong shows in the first
    ("bf16", "gradient"): 5e-2,
}
"""Of a loss its share, of gradients the share of the largest one."""
ROOT = Path(__file__).parents[1]
Step = tuple[float, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Size:
    """Of the random model and of the work."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    length: int
    batch: int
    micro: int
    steps: int


BIG = Size(2048, 16, 32, 8, 8192, 32_000, length=1024, batch=32, micro=8, steps=12)
SMOKE = Size(64, 2, 2, 2, 128, 1024, length=256, batch=4, micro=2, steps=3)


def make_model(size: Size, directory: Path) -> int:
    """A random Llama with the built-in tokenizer; returns its parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    save_student(model, build_tokenizer(), directory)
    return sum(p.numel() for p in model.parameters())


def make_rows(number: int, length: int) -> list[dict[str, Any]]:
    """x_imp rows of just under `length` tokens each."""
    tokenizer = build_tokenizer()
    rows = []
    for n in range(number):
        digits = [f"{(n * 7919 + i * 104_729) % 100}" for i in range(length)]
        parts = {
            "prompt": f"Q: {n}\nA:",
            "attempt": "\n(1) ",
            "feedback": "\nFeedback: In step (1) ",
            "improvement": "\n",
        }
        spare = length - 3 - sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in parts.values())
        share = spare // 6
        parts["attempt"] += " + ".join(digits[:share])
        parts["improvement"] += " + ".join(digits[share : 3 * share])
        segments = [{"role": role, "text": text} for role, text in parts.items()]
        rows.append({"row_id": f"{n:05}", "bucket": "improvement", "kind": "x_imp", "segments": segments})
    return rows


# -- parts -------------------------------------------------------------------------------------------------------------


def loss_errors(device: str) -> dict[str, float]:
    """How far the trainer's loss and gradients are from those of `plain_loss` in fp32, with padded and packed rows, and
    its loss with adapters that change nothing yet; in bf16 how far packed rows are from padded ones."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        make_model(replace(SMOKE, kv_heads=1), Path(directory) / "m")

        def fresh(dtype: torch.dtype) -> Student:
            return load_student(Path(directory) / "m", device, dtype)

        student = fresh(torch.float32)
        rows = encode_rows(make_rows(5, 96) + make_rows(3, 200), student.tokenizer, 1.5)
        expected = reference_step(student.model, [list(zip(row.input_ids, row.weights, strict=True)) for row in rows])
        for name, packed in (("fp32 padded", False), ("fp32 packed", True)):
            errors = _apart(_step(fresh(torch.float32).model, rows, packed), expected)
            found |= {f"{name} loss": errors[0], f"{name} gradient": errors[1]}
            if importlib.util.find_spec("peft"):
                loss, _ = _step(fresh(torch.float32).model, rows, packed, adapters=True)
                found[f"{name} LoRA loss"] = abs(loss - expected[0]) / expected[0]
        padded, packed_too = (_step(fresh(torch.bfloat16).model, rows, packed) for packed in (False, True))
        found |= dict(zip(("bf16 loss", "bf16 gradient"), _apart(packed_too, padded), strict=True))
    return found


def over_tolerance(errors: Mapping[str, float]) -> list[str]:
    """Which of `loss_errors` are larger than they may be; one that is not a number is."""
    allowed = {name: TOLERANCES[name.split()[0], name.split()[-1]] for name in errors}
    return [f"{name} {error:.1e}" for name, error in errors.items() if not error <= allowed[name]]


def _step(model: Any, rows: Sequence[EncodedRow], packed: bool, adapters: bool = False) -> Step:
    """Loss and gradients of an optimiser step as the trainer takes it: attached loss, in one micro-batch."""
    attach_weighted_loss(model.train())
    if packed:
        use_varlen_attention(model)
    if adapters:
        model = add_adapters(model, LoraConfig(), seed=0)
    device = next(model.parameters()).device
    batch = (pack if packed else pad)(rows)
    count = count_trained_tokens(batch["weights"])
    loss = model(**{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}).loss / count
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _apart(step: Step, expected: Step) -> tuple[float, float]:
    (loss, gradients), (other, others) = step, expected
    largest = max(float(gradient.float().abs().max()) for gradient in others.values())
    apart = max(float((gradients[name].float() - others[name].float()).abs().max()) for name in others)
    return abs(loss - other) / abs(other), apart / largest


def training(size: Size, model: Path, device: str, **settings: Any) -> dict[str, Any]:
    """Tokens per second of optimiser steps but the first two, and peak memory in GiB."""
    ranks = settings.pop("ranks", RanksConfig())
    rows = make_rows(size.batch * size.steps, size.length)
    lengths = [row.num_tokens for row in encode_rows(rows, build_tokenizer(), 1.5)]
    config = TrainConfig(
        num_epochs=1, batch_size=size.batch, micro_batch_size=size.micro, max_length_tokens=size.length,
        learning_rate=1e-5, save_every_steps=10**6, **settings,
    ).model_dump(mode="json")  # fmt: skip
    marks: list[float] = []
    _forget(device)
    watch = _MemoryWatch(device)
    with tempfile.TemporaryDirectory() as work, watch:
        student = {"dtype": "bfloat16" if device != "cpu" else "float32", "device": device}
        train(
            model, rows, {**config, "student": student}, None, 0, Path(work),
            lambda *_: marks.append(time.perf_counter()), ranks,
        )  # fmt: skip
    skipped = 2 if len(marks) > 3 else 1
    speed = (len(marks) - skipped) * size.batch * sum(lengths) / len(lengths) / (marks[-1] - marks[skipped - 1])
    return {"tokens_per_second": speed, "peak_gib": watch.peak_gib}


def trl_training(size: Size, model: Path, device: str, peft: bool) -> dict[str, Any]:
    """TRL's SFTTrainer on the same token ids, with the same batch, in bf16; the rows are of one length, or nearly, so
    there is next to no padding to be saved."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = encode_rows(make_rows(size.batch * size.steps, size.length), tokenizer, 1.5)
    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    _forget(device)
    watch = _MemoryWatch(device)
    with tempfile.TemporaryDirectory() as work, watch:
        arguments = SFTConfig(
            output_dir=work, per_device_train_batch_size=size.micro, max_length=size.length, packing=False,
            gradient_accumulation_steps=size.batch // size.micro, max_steps=size.steps, bf16=device != "cpu",
            use_cpu=device == "cpu", gradient_checkpointing=False, report_to="none", save_strategy="no",
            disable_tqdm=True, logging_steps=1000, learning_rate=1e-5,
        )  # fmt: skip
        adapters = None
        if peft:
            from peft import LoraConfig

            adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
        weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
        trainer = SFTTrainer(
            model=weights, args=arguments, processing_class=tokenizer, callbacks=[Marks()], peft_config=adapters,
            train_dataset=Dataset.from_list([{"input_ids": row.input_ids} for row in encoded]),
        )  # fmt: skip
        trainer.train()
    skipped = 2 if len(marks) > 3 else 1
    mean = sum(row.num_tokens for row in encoded) / len(encoded)
    speed = (len(marks) - skipped) * size.batch * mean / (marks[-1] - marks[skipped - 1])
    return {"tokens_per_second": speed, "peak_gib": watch.peak_gib}


def generation(device: str, number: int) -> dict[str, float]:
    """Tokens up to EOS per second of the built-in student, and of HF generate in batches of four on an eighth of it."""
    from benchmarks.generation import naive

    student = load_student("tiny", device, torch.float32)
    task = load_task("multistep_arithmetic")
    prompts = [prompt(task, problem.question) for problem in task.generate("l3-4d2", number, 0)]
    settings: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 512, "batch_tokens": 2**20}
    sample(student, prompts[:8], range(8), **settings)
    started = time.perf_counter()
    ours = sum(c.num_tokens for c in sample(student, prompts, range(number), **settings))
    ours_seconds = time.perf_counter() - started
    few = prompts[: max(4, number // 8)]
    started = time.perf_counter()
    theirs = sum(naive(student, few, 512))
    speeds = {"ours": ours / ours_seconds, "generate_of_four": theirs / (time.perf_counter() - started)}
    return {**speeds, "ratio": speeds["ours"] / speeds["generate_of_four"]}


def whole_run(device: str, smoke: bool) -> dict[str, Any]:
    """The main job with the built-in student on the GPU."""
    config = "debug" if smoke else "multistep_arithmetic"
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "flows.cli", "run", str(ROOT / f"deployments/{config}.yaml")]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--output", f"{output}/run", "--set", f"student.device={device}"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(" ".join(done.stderr.split())[-400:])
        report = json.loads(Path(f"{output}/run/report.json").read_text())
    accuracy = {
        entry["name"]: entry["eval"]["accuracy"]["total"] for entry in report["iterations"] if entry.get("eval")
    }
    return {"seconds": time.perf_counter() - started, "accuracy": accuracy}


# -- around them -------------------------------------------------------------------------------------------------------


class _MemoryWatch:
    """Peak memory of the device in GiB, other processes' included; None on a CPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak_gib: float | None = None

    def __enter__(self) -> None:
        self.process = None
        if self.device != "cpu":
            query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "200"]
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()
            lines = self.process.communicate()[0].split()
            self.peak_gib = max(float(line) for line in lines if line.replace(".", "").isdigit()) / 1024


def _forget(device: str) -> None:
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    device, size = arguments.device, SMOKE if arguments.smoke else BIG
    if device != "cpu" and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here; --smoke --device cpu runs the same in miniature.")
    name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
    started = time.perf_counter()
    result: dict[str, Any] = {"device": name, "torch": torch.__version__, "size": size.__dict__}
    has = {
        package: importlib.util.find_spec(package) is not None for package in ("deepspeed", "trl", "peft", "prefect")
    }

    def part(title: str, needs: tuple[str, ...], measure: Callable[[], Any]) -> None:
        missing = [package for package in needs if not has[package]]
        try:
            found = f"left out: {', '.join(missing)} not installed" if missing else measure()
        except Exception as error:  # the other parts are worth having all the same
            found = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:400]}"
        if isinstance(found, dict) and title.startswith("train"):
            attention = 6 * size.layers * size.width * size.length
            flops = found["tokens_per_second"] * (6 * num_parameters + attention)
            found["mfu"] = flops / peak if peak else None
        result[title] = found
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"[{time.perf_counter() - started:6.0f} s] {title}: {json.dumps(found)}", flush=True)

    def over_trl(kind: str) -> float:
        ours, theirs = (result[f"train, {whose}{kind}"]["tokens_per_second"] for whose in ("", "TRL "))
        return ours / theirs

    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        num_parameters = make_model(size, model)
        result["parameters"] = num_parameters
        part("loss", (), lambda: loss_errors(device))
        part("train, full", (), lambda: training(size, model, device))
        part("train, TRL full", ("trl",), lambda: trl_training(size, model, device, peft=False))
        part("train, LoRA", ("peft",), lambda: training(size, model, device, lora={"rank": 16}))
        part("train, TRL LoRA", ("trl", "peft"), lambda: trl_training(size, model, device, peft=True))
        part("over TRL, full", ("trl",), lambda: over_trl("full"))
        part("over TRL, LoRA", ("trl", "peft"), lambda: over_trl("LoRA"))
        zero = RanksConfig(deepspeed="zero2")
        part("train, ZeRO-2", ("deepspeed",), lambda: training(size, model, device, ranks=zero))
    part("generation", (), lambda: generation(device, 16 if arguments.smoke else 2000))
    part("whole run", ("prefect",), lambda: whole_run(device, arguments.smoke))
    errors = result["loss"]
    wrong = over_tolerance(errors) if isinstance(errors, dict) else [errors]
    if wrong:
        sys.exit(f"The loss is not the reference's: {', '.join(wrong)}.")


if __name__ == "__main__":
    main()
