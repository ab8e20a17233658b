"""Commands that run in the background under `flows/guard.py`, and the Prefect API they answer on. No Prefect import:
`tripost down` and the check for a running server have to be instant."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tripost_core.errors import StoppedError, StorageError
from tripost_core.processes import HOST

STARTUP_SECONDS = 300.0
_GUARD = Path(__file__).with_name("guard.py")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment with these Prefect settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**inherited, **settings}


def is_taken(port: int) -> bool:
    """Whether somebody listens on this port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class Guarded:
    """A command under a guard, as its pid and log files under `home` describe it."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.pid_file = home / "processes" / f"{name}.pid"
        self.log_file = home / "logs" / f"{name}.log"
        self._owned: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], environment: dict[str, str], directory: Path | None = None) -> None:
        """Starts it in `directory` (default: `home`); it ends with this process unless `stay` is called.

        Raises StorageError.
        """
        try:
            for file in (self.pid_file, self.log_file):
                file.parent.mkdir(parents=True, exist_ok=True)
            self.pid_file.unlink(missing_ok=True)
            self.log_file.touch()
        except OSError as error:
            raise StorageError(f"{self.log_file.parents[1]} cannot be written: {error.strerror}.") from None
        self._owned = subprocess.Popen(
            [sys.executable, "-I", str(_GUARD), str(self.pid_file), str(self.log_file), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory or self.pid_file.parents[1],
            env=environment,
            start_new_session=True,
        )

    def stay(self) -> None:
        """Lets it outlive this process."""
        if self._owned is not None:
            assert self._owned.stdin is not None
            self._owned.stdin.write(b"stay\n")
            self._owned.stdin.close()
            self._owned = None

    def pid(self) -> int | None:
        """Of the guard, if it runs; a process that merely got the same number later does not count."""
        if self._owned is not None:
            return self._owned.pid if self._owned.poll() is None else None
        try:
            pid = int(self.pid_file.read_text())
            return pid if str(self.pid_file) in psutil.Process(pid).cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def stop(self, timeout_seconds: float = 20.0) -> bool:
        """Ends it with all that it started. Returns whether it ran."""
        pid = self.pid()
        if pid is None:
            self._forget()
            return False
        guard = psutil.Process(pid)
        family = guard.children(recursive=True)
        guard.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([guard, *family], timeout_seconds)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout_seconds)
        self._forget()
        return True

    def _forget(self) -> None:
        self.pid_file.unlink(missing_ok=True)
        if self._owned is not None:
            assert self._owned.stdin is not None
            self._owned.stdin.close()
            self._owned.wait()
            self._owned = None

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_seconds: float = STARTUP_SECONDS) -> None:
        """Waits for `ready`. Raises StoppedError if the command ends, or the time is over, before that."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if self.pid() is None:
                raise StoppedError(f"{what} ended at its start: {self.last_line()}")
            if time.monotonic() > deadline:
                raise StoppedError(f"{what} did not answer within {timeout_seconds:.0f} s; see {self.log_file}.")
            time.sleep(0.1)

    def last_line(self) -> str:
        """The last line of the log that says something."""
        lines = [line.strip() for line in self.log_file.read_text(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), f"{self.log_file} is empty.")


class PrefectApi:
    """The few calls that are needed before, or without, importing Prefect."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: Any = None, timeout_seconds: float = 10.0) -> Any:
        """GET, or POST where there is a body. Raises OSError (urllib's URLError and HTTPError are)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        # A proxy that the environment names is not asked for the loopback interface.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout_seconds) as response:
            return json.loads(response.read() or b"null")

    def answers(self) -> bool:
        try:
            return self.call("/health", timeout_seconds=2.0) is True
        except (OSError, ValueError):
            return False

    def has(self, path: str) -> bool:
        """Whether there is something to read at `path`."""
        try:
            self.call(path)
        except urllib.error.HTTPError:
            return False
        return True

    def worker_is_online(self, pool: str, since: datetime) -> bool:
        """Whether a worker of the pool has reported after `since`; one that was killed counts as online for a while."""
        workers = self.call(f"/work_pools/{pool}/workers/filter", {"limit": 200})
        return any(datetime.fromisoformat(worker["last_heartbeat_time"]) > since for worker in workers)
