"""Processes beside this one: they end when it ends, and none is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"


def ends_with_parent(sign: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel sends `sign` when the parent dies, however it dies. None off Linux."""
    if sys.platform != "linux":
        return None
    return lambda: ctypes.CDLL(None).prctl(1, sign)


def group_settings() -> dict[str, Any]:
    """For `Popen`: a process group of its own, told to end when this process dies."""
    return {"start_new_session": True, "preexec_fn": ends_with_parent(signal.SIGTERM)}


def end_group(process: subprocess.Popen[Any]) -> None:
    """The whole process group: SIGTERM is passed on to workers; what is left after a while is killed."""
    for sign, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
