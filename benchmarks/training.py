"""Tokens per second of training the built-in student's size, by how an optimiser step is cut into micro-batches.

    .venv/bin/python -m benchmarks.training [--rows 120] [--length 300] [--width 128]

For each (batch_size, micro_batch_size): CPU time of `train`'s optimiser steps on one thread, tokens per second (all
tokens but padding), and the share of it that is not model or optimiser: a bare loop over the same micro-batches takes
the rest.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from tripost_core.config import TrainConfig
from tripost_core.lm.batches import MicroBatches
from tripost_core.lm.encode import encode_rows
from tripost_core.lm.loss import count_trained_tokens, weighted_cross_entropy_sum
from tripost_core.lm.packing import pad as collate
from tripost_core.lm.student import save_student
from tripost_core.lm.tokenizer import VOCAB_SIZE, build_tokenizer
from tripost_core.lm.train import train

CUTS = ((4, None), (4, 2), (4, 1), (8, None), (8, 4), (16, None), (16, 4), (16, 2))


def write_student(directory: Path, width: int) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return save_student(LlamaForCausalLM(config), build_tokenizer(), directory)


def make_rows(num_rows: int, length: int) -> list[dict]:
    """Rows of `length` / 2 to 3/2 `length` tokens, three quarters of them trained."""
    random_ = random.Random(0)
    rows = []
    for i in range(num_rows):
        lines = random_.randint(length // 2, 3 * length // 2) // 11

        def text(count: int) -> str:
            return "".join(
                f"\n({n % 99 + 1}) {random_.randint(10, 99)} + {random_.randint(10, 99)} = 7." for n in range(count)
            )

        parts = [("prompt", lines // 4), ("attempt", lines - lines // 4)]
        segments = [{"role": role, "text": text(count)} for role, count in parts]
        rows.append({"row_id": str(i), "kind": "x_T", "segments": segments})
    return rows


def bare_loop_seconds(student_dir: Path, rows: list[dict], config: TrainConfig) -> float:
    """The same micro-batches, loss, clipping and AdamW, and nothing else."""
    encoded = encode_rows(rows, build_tokenizer())
    order = MicroBatches([row.num_tokens for row in encoded], config.batch_size, config.micro_batch_size, seed=0)
    model = LlamaForCausalLM.from_pretrained(student_dir, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    started = time.process_time()
    batches = [collate([encoded[i] for i in indices]) for indices in order]
    per_step = order.num_micro_batches_per_step
    for at in range(0, len(batches), per_step):
        step = batches[at : at + per_step]
        num_trained_tokens = sum(count_trained_tokens(batch["weights"]) for batch in step)
        for batch in step:
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
            (weighted_cross_entropy_sum(logits, batch["input_ids"], batch["weights"]) / num_trained_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


def trainer_seconds(student_dir: Path, rows: list[dict], config: TrainConfig, work_dir: Path) -> float:
    """From the end of the first optimiser step to the end of the last, scaled to all of them."""
    at: list[float] = []
    settings = {**config.model_dump(), "student": {"dtype": "float32", "device": "cpu"}}
    train(student_dir, rows, settings, None, 0, work_dir, lambda *_: at.append(time.process_time()))
    return (at[-1] - at[0]) * len(at) / (len(at) - 1)


def main() -> None:
    torch.set_num_threads(1)  # CPU time of one thread is comparable on a machine that others use as well
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--length", type=int, default=300, help="mean tokens of a row")
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    logging.disable_progress_bar()
    rows = make_rows(options.rows, options.length)
    num_tokens = sum(row.num_tokens for row in encode_rows(rows, build_tokenizer()))
    print(f"{options.rows} rows, {num_tokens} tokens, width {options.width}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as temporary:
        student_dir = write_student(Path(temporary, "student"), options.width)
        for batch_size, micro_batch_size in CUTS:
            config = TrainConfig(
                num_epochs=1, batch_size=batch_size, micro_batch_size=micro_batch_size, learning_rate=1e-4
            )
            bare = bare_loop_seconds(student_dir, rows, config)
            whole = trainer_seconds(student_dir, rows, config, Path(temporary, f"{batch_size}-{micro_batch_size}"))
            print(
                f"batch {batch_size:3} micro {micro_batch_size or batch_size:3}: {whole:6.1f} s, "
                f"{num_tokens / whole:7.0f} tokens/s, outside the model {1 - bare / whole:6.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
