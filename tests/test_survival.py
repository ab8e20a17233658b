"""A real run, killed with -9 in every stage: the same command ends with the digests of a run left alone. Minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tripost_core.record import read_record

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "deployments" / "debug.yaml"
STAGES = (
    "ft-rationale/train",
    "ft-rationale/evaluate",
    "generate",
    "feedback-0",
    "filter",
    "tripost-1/train",
    "continued",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def command(output: Path) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", str(CONFIG), "--output", str(output)]


def digests(output: Path) -> dict[str, str]:
    record = read_record(output)
    assert record is not None and record.finished
    return {f"{e.name}/{stage}": ref.digest for e in record.entries for stage, ref in e.stages.items()}


def kill_in(stage: str, output: Path) -> None:
    """Starts the run and kills it as soon as it says that `stage` has begun."""
    with subprocess.Popen(command(output), cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if stage in line and line.rstrip().endswith("..."):
                time.sleep(0.3)
                os.kill(process.pid, signal.SIGKILL)
                return
    raise AssertionError(f"the run ended before {stage}")


def test_killed_in_every_stage_the_same_command_ends_with_the_same_digests(tmp_path):
    left_alone, killed = tmp_path / "left alone", tmp_path / "killed"
    subprocess.run(command(left_alone), cwd=ROOT, check=True)
    committed: dict[Path, float] = {}
    for stage in STAGES:
        kill_in(stage, killed)
        for manifest in killed.glob("stages/**/manifest.json"):
            modified = manifest.stat().st_mtime
            assert committed.setdefault(manifest, modified) == modified, f"{manifest} was computed twice"
    subprocess.run(command(killed), cwd=ROOT, check=True)
    assert digests(killed) == digests(left_alone)
    assert all(manifest.stat().st_mtime == modified for manifest, modified in committed.items())


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    outputs = [tmp_path / "one", tmp_path / "two"]
    processes = [subprocess.Popen(command(output), cwd=ROOT) for output in outputs]
    assert [process.wait() for process in processes] == [0, 0]
    assert digests(outputs[0]) == digests(outputs[1])
