"""A small student on a CPU writes in two processes: one operation of such a model is too small for two threads, but its
rows are independent of each other.

Half of the rows are written here and half in a process beside, which gets them as JSON and gives its trajectories back
as JSON. The rows are always cut in two, whatever the number of cores, so a machine's cores do not show in the result.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tripost_core.errors import ModelError
from tripost_core.lm.self_improve import SelfImprovement, Turn, self_improve
from tripost_core.lm.student import Student
from tripost_core.lm.threads import is_small
from tripost_core.problems import TaskReference, load_task
from tripost_core.processes import ends_with_parent

MIN_ROWS = 48
"""Fewer are not worth a second process, which takes some seconds to start."""
SECONDS_BETWEEN_REPORTS = 0.5


def self_improve_in_shards(
    student: Student,
    student_dir: Path,
    task: TaskReference,
    questions: Sequence[str],
    seeds: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[SelfImprovement]:
    """`self_improve` with the same arguments, in two processes where that is faster. `student_dir`: where the other one
    finds the student. Raises ModelError where the other process fails."""
    if len(questions) < MIN_ROWS or not is_small(student.model):
        return self_improve(student, load_task(task), questions, seeds, progress=progress, **settings)
    order = sorted(range(len(questions)), key=lambda i: (len(questions[i]), i))
    mine, other = order[::2], order[1::2]
    num_mine = 0

    def report(beside: _Beside) -> None:
        # Always from this thread: who listens may be known to it alone (Prefect's client is found by context).
        if progress is not None:
            progress(num_mine + beside.num_done, len(questions))

    request = {
        "student_dir": str(student_dir),
        "dtype": str(student.model.dtype).removeprefix("torch."),
        "task": task if isinstance(task, str) else dict(task),
        "questions": [questions[i] for i in other],
        "seeds": [seeds[i] for i in other],
        "settings": settings,
    }
    with _Beside(request) as beside:

        def report_mine(rows: int, _: int) -> None:
            nonlocal num_mine
            num_mine = rows
            report(beside)

        written = self_improve(
            student,
            load_task(task),
            [questions[i] for i in mine],
            [seeds[i] for i in mine],
            progress=report_mine,
            **settings,
        )
        while beside.is_running(SECONDS_BETWEEN_REPORTS):
            report(beside)
        theirs = beside.result()
        report(beside)
    found = dict(zip(mine, written, strict=True)) | dict(zip(other, theirs, strict=True))
    return [found[i] for i in range(len(questions))]


class _Beside:
    """The other process. It ends with this one, however this one ends."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.num_done = 0
        self.lines: list[str] = []
        self.found: list[dict[str, Any]] | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tripost_core.lm.shards"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            preexec_fn=ends_with_parent(signal.SIGKILL),
        )
        assert self.process.stdin is not None
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._errors)]
        for thread in self.threads:
            thread.start()
        try:
            self.process.stdin.write(json.dumps(request))
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it says why on its way out

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def is_running(self, seconds: float) -> bool:
        """Waits so long for its end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def result(self) -> list[SelfImprovement]:
        code = self.process.wait()
        for thread in self.threads:
            thread.join()
        if code or self.found is None:
            said = self.lines[-1] if self.lines else "nothing"
            raise ModelError(f"The second writing process ended with code {code}; the last it said: {said}")
        return [SelfImprovement(**{**row, "turns": tuple(Turn(*turn) for turn in row["turns"])}) for row in self.found]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "done" in message:
                self.num_done = message["done"]
            else:
                self.found = message["rows"]

    def _errors(self) -> None:
        assert self.process.stderr is not None
        self.lines = [line.strip() for line in self.process.stderr if line.strip()]


def main() -> None:
    import torch

    from tripost_core.lm.student import load_student

    request = json.load(sys.stdin)
    student = load_student(Path(request["student_dir"]), "cpu", getattr(torch, request["dtype"]))

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    rows = self_improve(
        student,
        load_task(request["task"]),
        request["questions"],
        request["seeds"],
        progress=lambda done, _: say({"done": done}),
        **request["settings"],
    )
    say({"rows": [{name: getattr(row, name) for name in ("text", "turns", "num_tokens", "truncated")} for row in rows]})


if __name__ == "__main__":
    main()
