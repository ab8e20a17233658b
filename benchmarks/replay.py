"""Split, filter and balance of a million trajectories: columns against plain Python lists.

    .venv/bin/python -m benchmarks.replay [--task multistep_arithmetic] [--trajectories 1000000] [--plain 20000]

Trajectories are made by the project's own stages: questions, attempts with slips and cuts, feedback and repairs of a
script, ten samples a question. Some thousands are made so; the buffer holds as many copies of them as are asked for,
each with questions and trajectories of its own name (a copy is no duplicate: its problem is another). What is timed, on
both sides, begins with the Parquet shards of the trajectories and of the questions and ends with the Parquet buffers of
the triplets and of the training rows: reading, split, filter, lengths in tokens, duplicates, balance, hashes, writing.

Plain lists (`benchmarks/plain_replay.py`) are timed on `--plain` trajectories, the first of the same buffer, and their
time is scaled to the whole; columns work on the whole, in a process of their own, whose peak memory is reported with
all that it has loaded. Which attempts are right and consistent stands in the turns (`trajectories-2`), where the lists
ask the task; what it costs to say so once, where the turns are written, is measured too and added in the second ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks import plain_replay
from tripost_core.buffers import Ref, Row, read_batches, read_rows, write_buffer
from tripost_core.config import BalanceConfig
from tripost_core.config_file import parse_config
from tripost_core.editing import CORRECT, OPEN, graded, improve, judge, new_turn
from tripost_core.experts import load_expert
from tripost_core.lm.encode import row_lengths_tokens
from tripost_core.lm.tokenizer import build_tokenizer
from tripost_core.plan import RunPlan
from tripost_core.problems import TASKS, load_task
from tripost_core.replay.rows import gold_rows
from tripost_core.schemas import SCHEMAS
from tripost_core.stages import execute

SAMPLES = 10
LIMITS = {"logical_deduction": 4096}
"""`filter.max_length_tokens` of the shipped configurations; 1024 elsewhere."""

_SLIPS = re.compile(r"(?<= )-?\d+(?=[ ).])|(?<=\")[a-z]{3,}(?=\")|(?<=Combining \()\d+|(?<=\()[A-G](?=\)\.$)")


def attempt_at(rationale: str, rng: random.Random) -> str:
    """A quarter right, a twentieth cut short, else a number, a word or a letter of one line altered."""
    if rng.random() < 0.25:
        return rationale
    if rng.random() < 0.05:
        return rationale[: rng.randrange(1, len(rationale))]
    lines = rationale.split("\n")
    index = rng.randrange(len(lines))
    places = list(_SLIPS.finditer(lines[index]))
    if not places:
        return rationale
    place = rng.choice(places)
    other = str(int(place[0]) + rng.choice((-2, 3))) if place[0].lstrip("-").isdigit() else place[0][1:] or "A"
    lines[index] = lines[index][: place.start()] + other + lines[index][place.end() :]
    return "\n".join(lines)


def edited(task_name: str, problems: list[Row], seed: int = 0) -> tuple[list[Row], float]:
    """(trajectories at their end, seconds that grading their turns took)."""
    rng, task = random.Random(seed), load_task(task_name)
    expert = load_expert({"mistake_rate": 0.1}, task_name, seed)
    rows, seconds = [], 0.0
    for problem in problems:
        for sample in range(SAMPLES):
            turns = [new_turn(attempt_at(problem["rationale"], rng), "student", "digest")]
            row = {name: problem[name] for name in ("problem_id", "task", "subtask", "seen", "question", "answer")}
            row |= {"trajectory_id": "", "iteration": 1, "sample": sample, "seed": seed, "num_tokens": 0}
            row |= {"truncated": False, "status": "generated", "reason": None, "round": 0, "edited": False}
            row = judge(row | {"turns": turns}, expert, 5)
            while row["status"] == OPEN:
                row = judge(improve(row, expert), expert, 5)
            started = time.perf_counter()
            rows.append(graded(row, task))
            seconds += time.perf_counter() - started
    return rows, seconds
