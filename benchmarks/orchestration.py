"""Share of a run that is orchestration: all that `tripost run` does besides the stages themselves.

    python benchmarks/orchestration.py [CONFIG] [--set key=value ...] [--replay]

Runs the config as a user does (a process of its own, server and report included) and takes off the seconds that the
stages, which are plain functions, spent inside: every manifest has them. So both times are of one run on one machine.
`--replay` then executes the same requests, in the same order, in one process without Prefect, and compares the digests;
on a machine with other work the two halves differ by more than what is measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tripost_core.buffers import read_manifest
from tripost_core.record import read_record
from tripost_core.stages import StageRequest, execute


def stage_manifests(output: Path) -> list[dict[str, Any]]:
    record = read_record(output)
    assert record is not None
    return [read_manifest(ref.uri) or {} for ref in record.references()]


def replay(manifests: list[dict[str, Any]], store: Path) -> float:
    """Executes every stage again, into `store`; wall-clock seconds."""
    started = time.perf_counter()
    for manifest in sorted(manifests, key=lambda manifest: manifest["started"]):
        request = StageRequest.model_validate({**manifest["request"], "store": str(store)})
        assert execute(request).digest == manifest["digest"], f"{request.label} gave other rows"
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="deployments/multistep_arithmetic.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--replay", action="store_true", help="execute the stages again without Prefect")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        output, store = Path(directory) / "run", Path(directory) / "plain"
        command = [sys.executable, "-m", "flows.cli", "run", arguments.config, "--output", str(output)]
        for override in arguments.overrides:
            command += ["--set", override]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        whole_seconds = time.perf_counter() - started
        manifests = stage_manifests(output)
        inside_seconds = sum(manifest["seconds"] for manifest in manifests)
        print(f"tripost run      {whole_seconds:8.1f} s (process start, server, tasks, report)")
        print(f"inside stages    {inside_seconds:8.1f} s, {len(manifests)} of them")
        print(f"orchestration    {1 - inside_seconds / whole_seconds:8.1%} of the run")
        if arguments.replay:
            print(f"plain functions  {replay(manifests, store):8.1f} s, the same digests")


if __name__ == "__main__":
    main()
