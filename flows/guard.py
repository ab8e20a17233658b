"""Runs one command as long as it is wanted, and leaves nothing of it behind.

    python flows/guard.py PID_FILE LOG_FILE COMMAND ...

The guard's standard input is a pipe from whoever started it. When the pipe closes before the line `stay` came through
(its owner ended, by whatever signal), the guard ends the command with everything that the command started; after `stay`
it does so on SIGTERM only. The kernel ends the command when the guard itself is killed (Linux). Standard library only:
it must start in no time and has to work when everything else is broken.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE_SECONDS = 10.0
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_guard() -> None:
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Children, grandchildren, ... of a process, from /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command's name, in brackets, may hold anything; the parent is the second field after it.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo += (below := children.get(todo.pop(), []))
        found += below
    return found


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it ended by itself


class Guard:
    """One guarded command."""

    def __init__(self, pid_file: Path, command: list[str]) -> None:
        self.pid_file = pid_file
        self.command = command
        self.wanted = threading.Event()
        self.wanted.set()

    def run(self) -> int:
        """Runs the command to its end, or until it is no longer wanted. Returns its exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self.wanted.clear())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then closes the pipe
        _prctl(_SET_CHILD_SUBREAPER, 1)  # what outlives its parent becomes our child, so that we can end it too
        threading.Thread(target=self._watch_owner, daemon=True).start()
        process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)
        self.pid_file.write_text(f"{os.getpid()}\n")
        while self.wanted.is_set() and process.poll() is None:
            time.sleep(0.05)
        self._end(process)
        self.pid_file.unlink(missing_ok=True)
        return process.returncode

    def _watch_owner(self) -> None:
        if sys.stdin.readline().strip() != "stay":
            self.wanted.clear()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        family = _descendants(os.getpid())
        if process.poll() is None:
            process.terminate()  # the command first: a worker reports its runs before they are ended under it
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                pass  # killed with the rest
        family = sorted({*family, *_descendants(os.getpid())})
        _signal(family, signal.SIGKILL)
        process.wait()


def main() -> int:
    pid_file, log_file, *command = sys.argv[1:]
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return Guard(Path(pid_file), command).run()


if __name__ == "__main__":
    sys.exit(main())
