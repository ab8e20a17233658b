"""A run that is cancelled takes with it what it has on the pool, to the last process."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from flows import local_stack
from flows.processes import PrefectApi, clean_environment
from tripost_core.processes import free_port

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def prefect(url, home, *arguments):
    environment = clean_environment(PREFECT_API_URL=url, PREFECT_HOME=str(home))
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ranks_in(directory):
    """The processes of a training on several ranks whose work directory lies there: torchrun and its workers."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "tripost_core.lm.worker" in line and str(directory) in line:
            found.append(process)
    return found


def wait_until(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def test_a_cancelled_run_leaves_no_process_of_its_training(tmp_path):
    from tripost_core.cli import pretrain

    student, output, home = tmp_path / "student", tmp_path / "run", tmp_path / "home"
    pretrain(out=student, preset="debug", seed=0)
    config = yaml.safe_load((ROOT / "deployments" / "debug.yaml").read_text())
    config["student"] = {"model": str(student)}
    config["compute"] = {"heavy": "pool", "ranks": {"processes_per_node": 2}}
    config["rationale"] |= {"num_epochs": 5000, "save_every_steps": 5}
    url = local_stack.up(home, free_port())
    try:
        api = PrefectApi(url)
        given = json.dumps({"config": config, "output": str(output)})
        prefect(url, home, "deployment", "run", "tripost/iterate", "--params", given)
        wait_until(
            "no training", lambda: list(output.glob("stages/.work/*/checkpoints/checkpoint-*/complete.json")), 400
        )
        assert len(ranks_in(tmp_path)) >= 3

        def states():
            return {run["name"]: run["state_type"] for run in api.call("/flow_runs/filter", {"limit": 50})}

        assert states() == {"multistep_arithmetic run": "RUNNING", "ft-rationale/train": "RUNNING"}
        (parent,) = [run["id"] for run in api.call("/flow_runs/filter", {"limit": 50}) if " run" in run["name"]]
        prefect(url, home, "flow-run", "cancel", parent)
        wait_until(f"ranks are left: {ranks_in(tmp_path)}", lambda: not ranks_in(tmp_path), 150)
        wait_until(f"not cancelled: {states()}", lambda: set(states().values()) == {"CANCELLED"}, 60)
        # The pool is free again: nothing of the run is left there, and no other attempt was made.
        assert len(states()) == 2
    finally:
        local_stack.down(home)
