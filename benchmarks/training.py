"""Training: non-padding tokens per second, ours against the authors' way, on the same rows of all tasks.

    .venv/bin/python -m benchmarks.training [--rows 160] [--student tiny] [--ranks 2]

The authors' way (their research code): every row padded to 256, 448, 640, 832 or 1,024 tokens, one row a forward pass,
four accumulated, the model's own loss computed besides the weighted one, logits and loss over the padding too. Ours:
`train` of this project, rows packed, logits of trained tokens alone, on two threads of one process (the default for a
small student) and on a process a core. Both take the same optimiser steps over the same rows, with the same AdamW. The
time is that of the steps, without starting processes and loading the student. Each is timed several times, in turns,
and the best one counts. `real_share_ours`: of the ids in the batches that the run in this process really made, those
that a row has.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tripost_core.config import RanksConfig, TrainConfig
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.experts.scripted import load_scripted_expert
from tripost_core.lm.batches import MicroBatches, Rows
from tripost_core.lm.encode import EncodedRow, encode_rows
from tripost_core.lm.packing import Batch
from tripost_core.lm.student import load_student, resolve_student
from tripost_core.lm.train import train
from tripost_core.problems import TASKS, load_task, prompt

LENGTHS = (256, 448, 640, 832, 1024)


def make_rows(num_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """x_imp rows of planted mistakes and their repairs, from the seen subtasks of every task in turn."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < num_rows:
        name = TASKS[len(rows) % len(TASKS)]
        task, expert = load_task(name), load_scripted_expert(name)
        subtask = rng.choice([s.name for s in task.subtasks if s.seen])
        (problem,) = task.generate(subtask, 1, rng.randrange(2**32))
        planted = plant(problem, rng.choice(error_classes(name)), rng)
        if planted is None or not planted.attempt:
            continue
        feedback = expert.feedback(problem, planted.attempt).sentence(planted.attempt)
        improved = expert.improve(problem, planted.attempt, feedback)
        parts = {
            "prompt": prompt(task, problem.question),
            "attempt": f"\n{planted.attempt}",
            "feedback": f"\nFeedback: {feedback}",
            "improvement": f"\nUpdated {task.answer_header}\n{improved}",
        }
        segments = [{"role": role, "text": text} for role, text in parts.items()]
        rows.append({"row_id": f"{len(rows):05}", "bucket": "improvement", "kind": "x_imp", "segments": segments})
    return rows


def authors_way(student_dir: Path, rows: list[EncodedRow], order: MicroBatches, rate: float) -> float:
    """Seconds of one epoch."""
    student = load_student(student_dir, device="cpu", dtype=torch.float32)
    model = student.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    started = time.perf_counter()
    for step in order.steps(order.num_steps_per_epoch):
        for i in step:
            row = rows[i]
            length = next(n for n in LENGTHS if n >= row.num_tokens)
            ids = torch.zeros(1, length, dtype=torch.long)
            mask = torch.zeros(1, length, dtype=torch.long)
            weights = torch.ones(1, length)
            ids[0, : row.num_tokens] = torch.tensor(row.input_ids)
            mask[0, : row.num_tokens] = 1
            weights[0, : row.num_tokens] = torch.tensor(row.weights)
            outputs = model(ids, attention_mask=mask, labels=ids)  # its own loss, which nobody uses
            logits = outputs.logits[:, :-1].float()
            each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            loss = (each * weights[:, 1:].flatten()).sum() / (length - 1)
            (loss / len(step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - started


@contextmanager
def counted_ids() -> Iterator[dict[str, int]]:
    """Counts, while it lasts, the ids of the batches that `Rows.collate` makes in this process, and the rows' ids."""
    counts = {"made": 0, "real": 0}
    collate = Rows.collate

    def counting(self: Rows, rows: Sequence[EncodedRow]) -> Batch:
        batch = collate(self, rows)
        counts["made"] += sum(share["input_ids"].numel() for share in batch.get("shares", [batch]))
        counts["real"] += sum(row.num_tokens for row in rows)
        return batch

    Rows.collate = counting  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        Rows.collate = collate  # type: ignore[method-assign]


def ours(student_dir: Path, rows: list[dict[str, Any]], settings: dict[str, Any], ranks: int) -> tuple[float, int]:
    """(seconds of an epoch's steps but the first, which waits for what is made ready at its first use; steps timed)."""
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        train(
            student_dir, rows, {**settings, "student": {"dtype": "float32", "device": "cpu"}}, None, 0, Path(work),
            lambda *_: marks.append(time.perf_counter()), RanksConfig(processes_per_node=ranks),
        )  # fmt: skip
    return marks[-1] - marks[0], len(marks) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--student", default="tiny")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--micro-batch-size", type=int, default=None)
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    student_dir = resolve_student(arguments.student)
    tokenizer = load_student(student_dir, device="cpu").tokenizer
    rows = [row for row in make_rows(2 * arguments.rows) if encode_rows([row], tokenizer)[0].num_tokens <= LENGTHS[-1]]
    rows = rows[: arguments.rows]
    encoded = encode_rows(rows, tokenizer)
    settings = TrainConfig(
        learning_rate=1e-4,
        num_epochs=1,
        batch_size=4,
        micro_batch_size=arguments.micro_batch_size,
        save_every_steps=10**6,
    ).model_dump(mode="json")
    order = MicroBatches([row.num_tokens for row in encoded], 4, None, seed=0)
    tokens = sum(row.num_tokens for row in encoded)
    padded = sum(next(n for n in LENGTHS if n >= row.num_tokens) for row in encoded)
    first_step = next(iter(order.steps(1)))
    tokens_but_first = tokens - sum(encoded[i].num_tokens for i in first_step)
    speeds: dict[str, float] = {}
    counts = {"made": 0, "real": 0}
    for _ in range(arguments.repeat):
        speeds["authors"] = max(speeds.get("authors", 0), tokens / authors_way(student_dir, encoded, order, 1e-4))
        for ranks in sorted({1, arguments.ranks}):
            with counted_ids() as found:
                seconds, _steps = ours(student_dir, rows, settings, ranks)
            counts = {key: counts[key] + found[key] for key in counts}  # other processes' batches are not seen here
            name = "ours, two threads" if ranks == 1 else f"ours, {ranks} processes"
            speeds[name] = max(speeds.get(name, 0), tokens_but_first / seconds)
    result = {
        "rows": len(rows),
        "tokens": tokens,
        "real_share_authors": tokens / padded,
        "real_share_ours": counts["real"] / counts["made"],
        "tokens_per_second": speeds,
        "ratio": {name: speed / speeds["authors"] for name, speed in speeds.items()},
        "torch_threads": torch.get_num_threads(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
