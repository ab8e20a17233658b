"""One process at a time in a run's directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tripost_core.errors import ConfigError, StorageError

_ours: set[Path] = set()


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Holds the directory for this process; within a block that holds it already it does nothing.

    The lock ends with the process, so a killed run leaves none. Raises ConfigError where another process has it,
    StorageError where the directory cannot be written.
    """
    output = output.absolute()
    if output in _ours:
        yield
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open(output / ".lock", "a+")  # noqa: SIM115  closed below, which is what unlocks it
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(f"{output} is in use by another run (process {holder}); choose another output.") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _ours.add(output)
        try:
            yield
        finally:
            _ours.discard(output)
