"""Guarded processes, `tripost up` and `tripost down`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from flows import local_stack
from flows.processes import Guarded, PrefectApi
from tripost_core.errors import ConfigError, StoppedError, StorageError
from tripost_core.processes import free_port

ROOT = Path(__file__).parents[1]
# A command with a child in a session of its own, which ends on nothing but SIGKILL.
FAMILY = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True, stdout=subprocess.PIPE)
process.stdout.readline()
print("ready", process.pid, flush=True)
time.sleep(600)
"""


def start_family(home):
    guarded = Guarded(home, "family")
    guarded.start([sys.executable, "-c", FAMILY], dict(os.environ))
    guarded.wait_until(lambda: "ready" in guarded.log_file.read_text(), "The family")
    guard = psutil.Process(guarded.pid())
    family = guard.children(recursive=True)
    assert len(family) == 2
    return guarded, guard, family


def all_end(processes, timeout=15):
    return psutil.wait_procs(processes, timeout=timeout)[1] == []


def test_stop_ends_the_whole_family(tmp_path):
    guarded, guard, family = start_family(tmp_path)
    assert guarded.stop()
    assert all_end([guard, *family], timeout=1)
    assert guarded.pid() is None and not guarded.stop()


def test_the_family_ends_with_its_owner(tmp_path):
    owner = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import os; from pathlib import Path; from test_local_stack import start_family\n"
        f"print(*(p.pid for p in start_family(Path({str(tmp_path)!r}))[2]), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", owner], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    alive = [psutil.Process(int(pid)) for pid in result.stdout.split() if psutil.pid_exists(int(pid))]
    assert all_end(alive)


def test_who_stays_outlives_its_owner_and_is_stopped_by_anyone(tmp_path):
    owner = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import os; from pathlib import Path; from test_local_stack import start_family\n"
        f"guarded, guard, family = start_family(Path({str(tmp_path)!r})); guarded.stay()\n"
        "print(guard.pid, *(p.pid for p in family), flush=True); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", owner], capture_output=True, text=True)
    everyone = [psutil.Process(int(pid)) for pid in result.stdout.split()]
    time.sleep(0.3)
    assert len(everyone) == 3 and all(process.is_running() for process in everyone)
    guarded = Guarded(tmp_path, "family")
    assert guarded.pid() == everyone[0].pid
    assert guarded.stop()
    assert all_end(everyone, timeout=1)


def test_the_command_ends_with_its_guard(tmp_path):
    guarded, guard, family = start_family(tmp_path)
    guard.kill()
    command, grandchild = family
    assert all_end([command])
    grandchild.kill()
    guarded.stop()


def test_a_pid_that_somebody_else_got_is_not_ours(tmp_path):
    guarded = Guarded(tmp_path, "family")
    guarded.pid_file.parent.mkdir(parents=True)
    guarded.pid_file.write_text(f"{os.getpid()}\n")
    assert guarded.pid() is None
    assert not guarded.stop()


def test_a_command_that_ends_at_once_is_reported_with_its_last_words(tmp_path):
    guarded = Guarded(tmp_path, "short")
    guarded.start([sys.executable, "-c", "print('no such luck')"], dict(os.environ))
    with pytest.raises(StoppedError, match="no such luck"):
        guarded.wait_until(lambda: False, "It")


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Guarded(tmp_path / "file", "server").start(["true"], {})
    with pytest.raises(StorageError, match="cannot be written"):
        local_stack.up(tmp_path / "file")


def test_a_port_that_is_taken_is_one_sentence_and_nothing_is_started(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 is taken"):
            local_stack.up(tmp_path / "home", port)
    assert not list((tmp_path / "home").glob("processes/*"))


def test_down_without_up(tmp_path, capsys):
    assert local_stack.down(tmp_path / "home") == []
    assert capsys.readouterr().out == "Nothing is up.\n"
    assert not (tmp_path / "home").exists()


def test_the_port_is_that_of_prefect_toml():
    assert local_stack.project_port() == 4210
    assert "4210" in (ROOT / "prefect.toml").read_text()


def test_the_automations_that_are_missing_are_created():
    class Api:
        present = ()

        def call(self, *_):
            return [{"name": name} for name in self.present]

    api = Api()
    files = {Path(command[-1]).stem for command in local_stack._missing_automations(api)}
    assert files == {"crashed-runs", "unstarted-runs"}
    api.present = ("crashed-runs", "of somebody else")
    (command,) = local_stack._missing_automations(api)
    assert command[:3] == ("automation", "create", "--from-file") and command[3].endswith("unstarted-runs.yaml")


def _prefect(url, home, *arguments):
    environment = {**os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "prefect", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_up_runs_a_deployment_on_both_pools_and_down_stops_everything(tmp_path):
    from tripost_core.cli import pretrain

    pretrain(out=tmp_path / "student", preset="debug", seed=0)
    home = tmp_path / "home"
    url = local_stack.up(home, free_port())
    try:
        assert local_stack.is_up(home)
        assert local_stack.up(home) == url
        processes = [psutil.Process(int(file.read_text())) for file in (home / "processes").glob("*.pid")]
        assert len(processes) == 3
        everyone = processes + [child for process in processes for child in process.children(recursive=True)]

        config = yaml.safe_load((ROOT / "deployments" / "debug.yaml").read_text())
        config |= {"student": {"model": str(tmp_path / "student")}, "compute": {"heavy": "pool"}}
        parameters = json.dumps({"config": config, "output": str(tmp_path / "run")})
        watched = ("deployment", "run", "tripost/iterate", "--params", parameters, "--watch")
        result = _prefect(url, home, *watched)
        assert result.returncode == 0, result.stdout + result.stderr
        assert (tmp_path / "run" / "report.html").exists()
        runs = PrefectApi(url).call("/flow_runs/filter", {"limit": 50})
        heavy = [run for run in runs if run["work_pool_name"] == "a100"]
        assert {run["state_type"] for run in runs} == {"COMPLETED"}
        assert len(heavy) == 7 and len(runs) == 8
    finally:
        assert set(local_stack.down(home)) == {"server", "worker-cpu", "worker-a100"}
    assert all_end(everyone, timeout=1)
    assert not local_stack.is_up(home)


@pytest.mark.slow
def test_an_up_that_is_killed_leaves_nothing(tmp_path):
    code = f"from pathlib import Path; from flows.local_stack import up; up(Path({str(tmp_path)!r}), {free_port()})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (tmp_path / "processes" / "worker-cpu.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    everyone = psutil.Process(process.pid).children(recursive=True)
    assert len(everyone) >= 4
    process.kill()
    process.wait()
    assert all_end(everyone, timeout=60)
    assert local_stack.down(tmp_path) == []
