"""Split, filter and balance of a million trajectories: columns against plain Python lists.

    .venv/bin/python -m benchmarks.replay [--task multistep_arithmetic] [--trajectories 1000000] [--plain 20000]

Trajectories are made by the project's own stages: questions, attempts with slips and cuts, feedback and repairs of a
script, ten samples a question, of which equal ones count once. Some thousands are made so; the buffer holds as many
copies of them as are asked for, each with questions and trajectories of its own name (a copy is no duplicate: its
problem is another; only Parquet becomes smaller by it). What is timed, on
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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import transformers

from benchmarks import plain_replay
from tripost_core.buffers import Ref, Row, find, read_rows, read_table, write_buffer
from tripost_core.config import BalanceConfig
from tripost_core.config_file import parse_config
from tripost_core.editing import OPEN, graded, improve, judge, new_turn
from tripost_core.experts import load_expert
from tripost_core.lm.encode import row_lengths_tokens
from tripost_core.lm.tokenizer import build_tokenizer
from tripost_core.plan import RunPlan
from tripost_core.problems import TASKS, load_task
from tripost_core.schemas import SCHEMAS
from tripost_core.stages import execute
from tripost_core.stages.generate import trajectory_id
from tripost_core.stages.problems import problem_row

SAMPLES, ROUNDS = 10, 5
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
    experts = [load_expert({"mistake_rate": 0.1}, task_name, f"{seed}/{number}") for number in range(ROUNDS + 1)]
    rows, seconds = [], 0.0
    for problem in problems:
        attempts = dict.fromkeys(attempt_at(problem["rationale"], rng) for _ in range(SAMPLES))
        for sample, attempt in enumerate(attempts):  # equal ones once, as `generate` keeps them
            turns = [new_turn(attempt, "student", "digest")]
            row = {name: problem[name] for name in ("problem_id", "task", "subtask", "seen", "question", "answer")}
            row |= {"trajectory_id": "", "iteration": 1, "sample": sample, "seed": seed, "num_tokens": 0}
            row |= {"truncated": False, "status": "generated", "reason": None, "round": 0, "edited": False}
            row = judge(row | {"turns": turns}, experts[0], ROUNDS)
            while row["status"] == OPEN:
                expert = experts[row["round"] + 1]
                row = judge(improve(row, expert), expert, ROUNDS)
            started = time.perf_counter()
            rows.append(graded(row, task))
            seconds += time.perf_counter() - started
    return rows, seconds


def base(task_name: str, num_questions: int) -> tuple[list[Row], list[Row], float]:
    """(questions with rationales, trajectories, seconds of grading)."""
    task = load_task(task_name)
    names = [subtask.name for subtask in task.subtasks if subtask.seen]
    found: dict[str, Row] = {}
    for number, name in enumerate(names):
        share = num_questions // len(names) + (number < num_questions % len(names))
        for problem in task.generate(name, share, number, "train"):
            row = problem_row(problem)
            found[row["problem_id"]] = row | {"rationale": row["rationale"] or task.rationale(row["question"])}
    problems = list(found.values())
    rows, seconds = edited(task_name, problems)
    return problems, rows, seconds


def copies(base_rows: pa.Table, number: int, id_column: str) -> Iterator[pa.Table]:
    """`number` copies in canonical order, each of questions of its own: `[7] ...` and other names."""
    ids = [name.encode() for name in base_rows["problem_id"].to_pylist()]
    samples = base_rows["sample"].to_pylist() if "sample" in base_rows.column_names else []

    def name(copy: int, row: int) -> str:
        return hashlib.sha256(b"%d/%s" % (copy, ids[row])).hexdigest()[:16]

    def own_name(copy: int, row: int) -> str:
        return trajectory_id(name(copy, row), 1, samples[row]) if samples else name(copy, row)

    order = pl.DataFrame(
        {
            "id": [own_name(copy, row) for copy in range(number) for row in range(len(ids))],
            "copy": [copy for copy in range(number) for _ in range(len(ids))],
            "row": [row for _ in range(number) for row in range(len(ids))],
        }
    ).sort("id")
    for part in order.iter_slices(10_000):
        table = base_rows.take(part["row"].to_arrow())
        pairs = list(zip(part["copy"], part["row"], strict=True))
        questions = [f"[{copy}] {text}" for (copy, _), text in zip(pairs, table["question"].to_pylist(), strict=True)]
        new = {"problem_id": [name(*pair) for pair in pairs], id_column: part["id"].to_list(), "question": questions}
        for column, values in new.items():
            table = table.set_column(table.column_names.index(column), column, pa.array(values))
        yield table.cast(base_rows.schema)


def write_inputs(place: Path, problems: list[Row], rows: list[Row], number: int) -> None:
    """The two buffers and the tokenizer of a run of `number` copies."""
    for name, schema, found in (("problems", "problems-1", problems), ("trajectories", "trajectories-2", rows)):
        table = pa.Table.from_pylist(found, schema=SCHEMAS[schema])
        write_buffer(str(place / name), schema, copies(table, number, table.column_names[0]))
    build_tokenizer().save_pretrained(place / "student")


def inputs_of(place: Path) -> tuple[Ref, Ref, Ref]:
    problems, trajectories = (find(str(place / name)) for name in ("problems", "trajectories"))
    assert problems is not None and trajectories is not None
    return problems, trajectories, Ref(uri=str(place / "student"), digest="tokenizer", kind="checkpoint")


def plan_of(place: Path, task_name: str) -> RunPlan:
    config = {"task": task_name, "filter": {"max_length_tokens": LIMITS.get(task_name, 1024)}}
    return RunPlan(parse_config(config), place / "run")


def by_columns(place: Path, task_name: str) -> dict[str, Any]:
    """The stages, as a run executes them."""
    plan = plan_of(place, task_name)
    problems, trajectories, student = inputs_of(place)
    transformers.AutoTokenizer.from_pretrained(student.uri)  # its import is not what is measured
    started, cpu = time.perf_counter(), time.process_time()
    triplets = execute(plan.filter("tripost-1", trajectories, student, 1))
    filtered = time.perf_counter()
    rows = execute(plan.balance("tripost-1", [triplets], problems, 1))
    ended = time.perf_counter()
    return {
        "filter": filtered - started,
        "balance": ended - filtered,
        "cpu": time.process_time() - cpu,
        "triplets": triplets.model_dump(),
        "rows": rows.model_dump(),
    }


def by_lists(place: Path, task_name: str) -> dict[str, Any]:
    """The same with every row a dictionary, as the stages were before."""
    task = load_task(task_name)
    problems, trajectories, student = inputs_of(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(student.uri)
    limit = LIMITS.get(task_name, 1024)
    started, cpu = time.perf_counter(), time.process_time()
    triplets = plain_replay.filter_triplets(
        plain_replay.split(read_rows(trajectories), task), task, lambda rows: row_lengths_tokens(rows, tokenizer), limit
    )
    plain_replay.write_rows(place / "plain" / "triplets", "triplets-1", triplets)
    filtered = time.perf_counter()
    kept = [row for row in plain_replay.read_table(place / "plain" / "triplets").to_pylist() if row["kept"]]
    gold = [row for row in read_rows(problems) if row["split"] == "train" and row["rationale"]]
    rows = plain_replay.balance(kept, gold, task, BalanceConfig(), 0, 1)
    plain_replay.write_rows(place / "plain" / "rows", "rows-1", rows)
    ended = time.perf_counter()
    return {"filter": filtered - started, "balance": ended - filtered, "cpu": time.process_time() - cpu}


def in_process(way: str, place: Path, task_name: str) -> dict[str, Any]:
    """One way in a process of its own; its peak memory in GiB, what it has imported included."""
    command = [sys.executable, "-m", "benchmarks.replay", "--way", way, "--place", str(place), "--task", task_name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def same_rows(place: Path, columns: dict[str, Any]) -> bool:
    """Whether both ways wrote the same triplets and training rows."""
    return all(
        read_table(Ref.model_validate(columns[name])).equals(plain_replay.read_table(place / "plain" / name))
        for name in ("triplets", "rows")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="multistep_arithmetic")
    parser.add_argument("--trajectories", type=int, default=1_000_000)
    parser.add_argument("--plain", type=int, default=20_000, help="trajectories that the plain lists are timed on")
    parser.add_argument("--way", choices=("columns", "lists"), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        seconds = (by_columns if arguments.way == "columns" else by_lists)(arguments.place, arguments.task)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(seconds | {"peak_gib": peak}))
        return
    with tempfile.TemporaryDirectory(prefix="replay-") as directory:
        compare(Path(directory), arguments.task, arguments.trajectories, arguments.plain)


def compare(directory: Path, task_name: str, num: int, num_plain: int) -> None:
    """Makes the inputs, times both ways and prints what came of it."""
    num_base = min(num_plain, 10_000)
    problems, rows, grading = base(task_name, num_base // SAMPLES)
    statuses = Counter(row["status"] for row in rows)
    turns = sum(len(row["turns"]) for row in rows) / len(rows)
    print(
        f"{task_name}: {len(rows):,} trajectories from {len(problems):,} questions, {turns:.2f} turns, {dict(statuses)}"
    )
    whole, sample = directory / "whole", directory / "sample"
    write_inputs(whole, problems, rows, -(-num // len(rows)))
    write_inputs(sample, problems, rows, -(-num_plain // len(rows)))
    num, num_plain = inputs_of(whole)[1].num_rows, inputs_of(sample)[1].num_rows
    size = sum(path.stat().st_size for path in (whole / "trajectories").iterdir()) / 2**30
    print(f"copied to {num:,} ({size:.2f} GiB of zstd Parquet) and {num_plain:,}")
    lists = in_process("lists", sample, task_name)
    columns = in_process("columns", whole, task_name)
    check = in_process("columns", sample, task_name)
    print(f"the same triplets and rows from both on {num_plain:,}: {same_rows(sample, check)}")
    scaled = (lists["filter"] + lists["balance"]) * num / num_plain
    taken = columns["filter"] + columns["balance"]
    print(f"plain lists   filter {lists['filter']:6.1f} s, balance {lists['balance']:5.1f} s on {num_plain:,}; "
          f"{scaled:,.0f} s for {num:,} if linear; peak {lists['peak_gib']:.2f} GiB on {num_plain:,}")  # fmt: skip
    print(f"columns       filter {columns['filter']:6.1f} s, balance {columns['balance']:5.1f} s on {num:,}; "
          f"{columns['triplets']['num_rows']:,} triplets, {columns['rows']['num_rows']:,} rows; "
          f"peak {columns['peak_gib']:.2f} GiB")  # fmt: skip
    grading *= num / len(rows)
    scaled_cpu = lists["cpu"] * num / num_plain
    print(f"ratio {scaled / taken:.1f}, of CPU {scaled_cpu / columns['cpu']:.1f} ({scaled_cpu:,.0f} s and "
          f"{columns['cpu']:.0f} s); {scaled / (taken + grading):.1f} with {grading:.0f} s of grading, done by the "
          "stage before")  # fmt: skip


if __name__ == "__main__":
    main()
