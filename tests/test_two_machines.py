"""A Prefect server on Postgres and two workers, each in a directory of its own with its own copy of the code, which
share nothing but the run's directory; each of the workers is killed, with all it runs, and replaced.

It stands for two machines as far as one machine can.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from flows.processes import PrefectApi, clean_environment
from tripost_core.processes import free_port

ROOT = Path(__file__).parents[1]
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(POSTGRES is None, reason="Postgres is not installed (Debian: postgresql, postgresql-contrib)"),
]


@contextmanager
def postgres():
    """URL of a database in a cluster of its own, for asyncpg. Never run as root."""
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    directory = Path(tempfile.mkdtemp(prefix="tripost-postgres-"))  # pytest's own is closed to other users
    if as_user:
        shutil.chown(directory, "postgres", pwd.getpwnam("postgres").pw_gid)
    port = free_port()

    def run(name, *arguments):
        subprocess.run([*as_user, str(POSTGRES / name), *arguments], check=True, capture_output=True, cwd="/")

    data = str(directory / "data")
    run("initdb", "-D", data, "-U", "prefect", "--auth", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {directory} -c fsync=off"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(directory / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect")
        run("psql", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "-c", "create extension pg_trgm", "prefect")
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory)


class Machine:
    """A directory with a copy of the code, in which commands run; `kill` is what a power cut is."""

    def __init__(self, directory, environment):
        self.directory, self.environment = directory, {**environment, "PWD": str(directory)}
        self.started = []
        for name in ("flows", "tasks", "tripost_core", "deployments"):
            shutil.copytree(ROOT / name, directory / name)

    def start(self, *command):
        log = (self.directory / f"log-{len(list(self.directory.glob('log-*')))}.txt").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=self.directory, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *command):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            cwd=self.directory, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill(self):
        for process in self.started:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for member in family:
                try:
                    member.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    pass
            process.wait()
        self.started = []


def wait_for(what, condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := condition()) is not None and found is not False:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} after {seconds} s")


@pytest.fixture
def machines(tmp_path):
    """(API, machine of the light stages, machine of the heavy ones), each with its worker."""
    with postgres() as database:
        port = free_port()
        environment = clean_environment(
            PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
            PREFECT_SERVER_DATABASE_CONNECTION_URL=database,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            PREFECT_WORKER_QUERY_SECONDS="2",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_RESULTS_DEFAULT_SERIALIZER="json",
            # Results are read on the other machine, so they lie where both see them.
            PREFECT_LOCAL_STORAGE_PATH=str(tmp_path / "shared" / "results"),
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        )
        homes = {
            name: {**environment, "PREFECT_HOME": str(tmp_path / f"home-{name}")} for name in ("s", "light", "heavy")
        }
        server = Machine(tmp_path / "server", homes["s"])
        light, heavy = Machine(tmp_path / "light", homes["light"]), Machine(tmp_path / "heavy", homes["heavy"])
        api = PrefectApi(environment["PREFECT_API_URL"])
        try:
            server.start("server", "start", "--host", "127.0.0.1", "--port", str(port))
            wait_for("no server", api.answers)
            for pool in ("cpu", "a100"):
                server.run("work-pool", "create", "--type", "process", pool)
            for machine, name in ((light, "iterate"), (heavy, "a100")):
                machine.run("--no-prompt", "deploy", "--name", name, "--prefect-file", "deployments/prefect.yaml")
            for automation in sorted((ROOT / "deployments" / "automations").glob("*.yaml")):
                server.run("automation", "create", "--from-file", str(automation))
            light.start("worker", "start", "--pool", "cpu")
            heavy.start("worker", "start", "--pool", "a100")
            yield api, light, heavy
        finally:
            for machine in (light, heavy, server):
                machine.kill()


def test_each_worker_is_killed_and_replaced(machines, tmp_path):
    from tripost_core.cli import pretrain

    api, light, heavy = machines
    student, output = tmp_path / "shared" / "student", tmp_path / "shared" / "run"
    pretrain(out=student, preset="debug", seed=0)
    config = yaml.safe_load((ROOT / "deployments" / "debug.yaml").read_text())
    config |= {"student": {"model": str(student)}, "compute": {"heavy": "pool"}}
    config["rationale"] = {
        **config["rationale"],
        "num_epochs": 60,
        "save_every_steps": 5,
    }  # long enough to be killed in
    parameters = json.dumps({"config": config, "output": str(output)})

    def runs(name):
        found = api.call("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"})
        return [(run["id"], run["state_type"]) for run in found]

    def is_training():
        # The work directory holds a checkpoint: it is in the middle.
        saved = list(output.glob("stages/.work/*/checkpoints/checkpoint-*/complete.json"))
        return bool(saved) and any(state == "RUNNING" for _, state in runs("ft-rationale/train"))

    light.run("deployment", "run", "tripost/iterate", "--params", parameters)
    wait_for("no training", is_training)
    heavy.kill()
    (lost,) = [run for run, _ in runs("ft-rationale/train")]
    heavy.start("worker", "start", "--pool", "a100")

    # The heartbeats of the killed run stop, the automation notices, and the stage is tried again.
    wait_for("the loss is not noticed", lambda: (lost, "CRASHED") in runs("ft-rationale/train"), 420)
    wait_for(
        "no second attempt", lambda: ("RUNNING" in [state for _, state in runs("ft-rationale/train")]) or None, 120
    )

    # Now the other machine goes, with the run that waits.
    (parent,) = [run for run, state in runs("multistep_arithmetic run") if state == "RUNNING"]
    light.kill()
    light.start("worker", "start", "--pool", "cpu")
    light.run("deployment", "run", "tripost/iterate", "--params", parameters)
    states = lambda: [state for run, state in runs("multistep_arithmetic run") if run != parent]  # noqa: E731
    wait_for("the second run does not end", lambda: states() == ["COMPLETED"] or None, 900)
    assert (output / "report.html").exists()
    # The training that was under way when the second run began was taken up: there is no third.
    training = runs("ft-rationale/train")
    assert sorted(state for _, state in training) == ["COMPLETED", "CRASHED"], training
    wait_for("the first run is still running", lambda: (parent, "CRASHED") in runs("multistep_arithmetic run"), 420)
