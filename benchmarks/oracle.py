"""Seconds that `tripost oracle` takes for 1,000 lines of each mode and task, process start included.

python benchmarks/oracle.py
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.problems import TASKS, load_task

NUM_LINES = 1000


def make_lines(task_name: str) -> list[dict[str, str]]:
    """Questions of all subtasks, each with an attempt that holds a planted mistake."""
    task, rng = load_task(task_name), random.Random(0)
    per_subtask = NUM_LINES // len(task.subtasks) + 1
    problems = [p for s in task.subtasks for p in task.generate(s.name, per_subtask, seed=0)][:NUM_LINES]
    lines = []
    for problem in problems:
        planted = plant(problem, rng.choice(error_classes(task_name)), rng)
        attempt = planted.attempt if planted else task.rationale(problem.question)
        lines.append({"question": problem.question, "attempt": attempt})
    return lines


def run_oracle(mode: str, task_name: str, rows: list[dict[str, str]]) -> tuple[float, list[dict[str, str]]]:
    """Wall-clock seconds of one process, and its answers."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    command = [sys.executable, "-m", "flows.cli", "oracle", mode, "--task", task_name]
    started = time.perf_counter()
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    print(f"{'task':24}{'mode':12}{'lines':>6}{'seconds':>9}")
    for task_name in TASKS:
        rows = make_lines(task_name)
        for mode in ("rationale", "feedback", "improve"):
            seconds, answers = run_oracle(mode, task_name, rows)
            print(f"{task_name:24}{mode:12}{len(answers):6}{seconds:9.2f}")
            rows = answers if mode == "feedback" else rows


if __name__ == "__main__":
    main()
