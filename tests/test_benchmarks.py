"""What the benchmarks report is what they say: pytest tests/test_benchmarks.py"""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from test_imports import import_all
from test_train import make_rows, make_student, run_train

from benchmarks import generation, gpu
from benchmarks.training import counted_ids
from tripost_core.lm.batches import Rows
from tripost_core.lm.encode import encode_rows
from tripost_core.lm.generate import sample
from tripost_core.lm.packing import pack
from tripost_core.lm.tokenizer import build_tokenizer

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("packing", [True, False])
def test_the_real_share_of_a_training_counts_the_ids_that_were_made(tmp_path, packing):
    collate = Rows.collate
    with counted_ids() as counts:
        run_train(make_student(tmp_path / "student"), tmp_path / "work", num_steps=3, packing=packing)
    assert Rows.collate is collate
    tokens = sum(row.num_tokens for row in encode_rows(make_rows(10), build_tokenizer()))
    assert counts["real"] == tokens  # three steps of 4, 4 and 2 rows are one pass over 10
    assert (counts["made"] == tokens) == packing and counts["made"] >= tokens


def test_the_loss_of_the_gpu_benchmark_is_the_references():
    errors = gpu.loss_errors("cpu")
    assert {name for name in errors if "LoRA" in name} == {"fp32 padded LoRA loss", "fp32 packed LoRA loss"}
    assert gpu.over_tolerance(errors) == []
    assert gpu.over_tolerance({"fp32 packed loss": 2e-5, "bf16 gradient": math.nan, "bf16 loss": 1e-3}) == [
        "fp32 packed loss 2.0e-05",
        "bf16 gradient nan",
    ]


def test_a_loss_that_is_not_the_references_is_found(monkeypatch):
    monkeypatch.setattr(gpu, "pack", lambda rows: pack(rows[:-1]))
    wrong = gpu.over_tolerance(gpu.loss_errors("cpu"))
    assert wrong and not any("padded" in name for name in wrong)


def test_the_gpu_benchmark_needs_no_more_than_it_says():
    assert import_all("benchmarks.gpu", "prefect", "flows", "tasks", "polars", "openai", "aiohttp") == 1


@pytest.mark.gpu
@pytest.mark.timeout(900)
def test_the_gpu_benchmark_in_miniature(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert not [title for title, found in result.items() if str(found).startswith("failed")]


def test_static_batches_hold_every_prompt_and_stay_within_the_bound():
    lengths = [5, 30, 7, 7, 90, 1]
    batches = generation.static_batches(lengths, max_new_tokens=10, batch_tokens=60)
    assert [[lengths[i] for i in batch] for batch in batches] == [[1, 5, 7], [7], [30], [90]]
    assert sorted(place for batch in batches for place in batch) == list(range(6))


def test_static_batches_write_what_the_sampler_writes(toy_student):
    prompts = [f"Q: {n} + {n} =" + " 1" * n for n in range(6)]
    settings = {"temperature": 1.0, "max_new_tokens": 8}
    ours = sample(toy_student, prompts, range(6), batch_tokens=4096, **settings)
    assert generation.static(toy_student, prompts, range(6), 8, 60) == [row.num_tokens for row in ours]
