"""A training on several processes: started by `torchrun`, one process a GPU (or, for tests, a CPU core), on one or
several machines, with plain data parallelism or DeepSpeed ZeRO.

    parent      writes request.json and rows.jsonl into the work directory, starts torchrun, relays progress, reads
                result.json
    worker      `python -m tripost_core.lm.worker WORK_DIR`: the same training as in one process, on its own rank
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tripost_core.config import RanksConfig
from tripost_core.errors import ConfigError, DataError, ModelError, OutOfMemoryError, StorageError, TripostError
from tripost_core.lm.deepspeed import zero_config
from tripost_core.processes import end_group, group_settings

logger = logging.getLogger(__name__)
PROGRESS = "TRIPOST-PROGRESS "
REQUEST, ROWS, RESULT = "request.json", "rows.jsonl", "result.json"
_ERRORS = {error.__name__: error for error in (ConfigError, DataError, ModelError, OutOfMemoryError, StorageError)}
_TAIL_LINES = 12


def run_ranks(
    ranks: RanksConfig,
    arguments: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    work_dir: Path,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """The result of a training on all ranks. The processes end with the caller, however it ends.

    Raises the TripostError that a rank raised, or ModelError with what the processes said last.
    """
    zero_config(ranks)  # a wrong one is found before anything starts
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / RESULT).unlink(missing_ok=True)
    (work_dir / REQUEST).write_text(json.dumps({**arguments, "ranks": ranks.model_dump(mode="json")}))
    with (work_dir / ROWS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    if ranks.nodes > 1:
        logger.warning(
            "The training waits for %d more machines; on each of them, with the same files in sight: tripost join %s",
            ranks.nodes - 1,
            work_dir,
        )
    process = subprocess.Popen(
        command(ranks, work_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        **group_settings(),
    )
    tail: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(PROGRESS):
                what, done, total = json.loads(line[len(PROGRESS) :])
                progress(what, done, total)
            elif line.strip():
                tail = [*tail[-_TAIL_LINES:], line.rstrip()]
        code = process.wait()
    except BaseException:
        end_group(process)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    return _result(work_dir, code, tail)


def join(work_dir: Path) -> int:
    """Takes part in a training that another machine has begun; the exit code of this machine's processes.

    `work_dir`: as the other machine has said it. Raises ConfigError where no training has begun there.
    """
    try:
        request = json.loads((work_dir / REQUEST).read_text())
    except (OSError, ValueError):
        raise ConfigError(f"No training on several machines has begun in {work_dir}.") from None
    ranks = RanksConfig.model_validate(request["ranks"])
    if ranks.nodes == 1:
        raise ConfigError(f"The training in {work_dir} runs on one machine.")
    return subprocess.run(command(ranks, work_dir), env=_environment(), check=False).returncode


def command(ranks: RanksConfig, work_dir: Path) -> list[str]:
    """The command line of one machine; the same on every one of several."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks.processes_per_node)]
    if ranks.nodes == 1:
        start.append("--standalone")
    else:
        assert ranks.rendezvous is not None
        start += ["--nnodes", str(ranks.nodes), "--rdzv_backend", "c10d", "--rdzv_endpoint", ranks.rendezvous]
        start += ["--rdzv_id", work_dir.name]
    return [*start, "-m", "tripost_core.lm.worker", str(work_dir)]


def _environment() -> dict[str, str]:
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}


def _result(work_dir: Path, code: int, tail: Sequence[str]) -> dict[str, Any]:
    path = work_dir / RESULT
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "error" in found:
        raise _ERRORS.get(found["kind"], TripostError)(found["error"])
    if code == 0 and found:
        return found
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = " | ".join(tail[-3:]) or "nothing"
    raise ModelError(f"The processes of the training ended with {how}; the last they said: {said}")
