"""Share of a run that is orchestration: `tripost run` against the same stages called as plain functions.

    python benchmarks/orchestration.py [CONFIG] [--set key=value ...]

Runs the config as a user does (a process of its own, server and report included), then executes the requests that stand
in the manifests, in the same order, in one process without Prefect. Prints both times and the share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tripost_core.buffers import read_manifest
from tripost_core.plan import read_record
from tripost_core.stages import StageRequest, execute


def replay(output: Path, store: Path) -> float:
    """Executes every stage of the run in `output` again, into `store`; wall-clock seconds."""
    record = read_record(output)
    assert record is not None
    manifests = [read_manifest(ref.uri) or {} for ref in record.references()]
    started = time.perf_counter()
    for manifest in sorted(manifests, key=lambda manifest: manifest["started"]):
        request = StageRequest.model_validate({**manifest["request"], "store": str(store)})
        assert execute(request).digest == manifest["digest"], f"{request.label} gave other rows"
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="deployments/multistep_arithmetic.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        output, store = Path(directory) / "run", Path(directory) / "plain"
        command = [sys.executable, "-m", "flows.cli", "run", arguments.config, "--output", str(output)]
        for override in arguments.overrides:
            command += ["--set", override]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        whole_seconds = time.perf_counter() - started
        plain_seconds = replay(output, store)
    print(f"tripost run      {whole_seconds:8.1f} s (process start, server, tasks, report)")
    print(f"plain functions  {plain_seconds:8.1f} s, the same digests")
    print(f"orchestration    {1 - plain_seconds / whole_seconds:8.1%} of the run")


if __name__ == "__main__":
    main()
