"""A Prefect server on Postgres and two workers, each in a directory of its own with its own copy of the code, which
share nothing but the run's directory; each of the workers is killed, with all it runs, and replaced, and so are the
server and the database.

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
from typing import NamedTuple

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


class Postgres:
    """A cluster of its own, never run as root; `kill` is what a power cut is."""

    def __init__(self, directory):
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.as_user:
            shutil.chown(directory, "postgres", pwd.getpwnam("postgres").pw_gid)
        self.port, self.data = free_port(), directory / "data"
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/prefect"
        self.options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {directory} -c fsync=off"
        self.log = str(directory / "log")

    def run(self, name, *arguments):
        command = [*self.as_user, str(POSTGRES / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")

    def start(self):
        self.run("pg_ctl", "-D", str(self.data), "-o", self.options, "-l", self.log, "-w", "start")

    def kill(self):
        family = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        family = [family, *family.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, 30)


@contextmanager
def postgres():
    """A database that runs, for asyncpg."""
    directory = Path(tempfile.mkdtemp(prefix="tripost-postgres-"))  # pytest's own is closed to other users
    cluster = Postgres(directory)
    cluster.run("initdb", "-D", str(cluster.data), "-U", "prefect", "--auth", "trust", "--no-sync")
    cluster.start()
    try:
        there = ("-h", "127.0.0.1", "-p", str(cluster.port), "-U", "prefect")
        cluster.run("createdb", *there, "prefect")
        cluster.run("psql", *there, "-c", "create extension pg_trgm", "prefect")
        yield cluster
    finally:
        cluster.run("pg_ctl", "-D", str(cluster.data), "-m", "immediate", "-w", "stop")
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


class Site(NamedTuple):
    """All that runs; `serve` is the command of the server."""

    api: PrefectApi
    database: Postgres
    server: Machine
    light: Machine
    heavy: Machine
    serve: tuple[str, ...]

    def runs(self, name):
        """The flow runs of this name as (id, type of state)."""
        wanted = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
        return [(run["id"], run["state_type"]) for run in self.api.call("/flow_runs/filter", wanted)]


@pytest.fixture
def site(tmp_path):
    """A worker for light stages and one for heavy ones, each on its machine."""
    with postgres() as database:
        port = free_port()
        environment = clean_environment(
            PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
            PREFECT_SERVER_DATABASE_CONNECTION_URL=database.url,
            PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="prefect.server.concurrency.lease_storage.filesystem",
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
        serve = ("server", "start", "--host", "127.0.0.1", "--port", str(port))
        try:
            server.start(*serve)
            wait_for("no server", api.answers)
            for pool in ("cpu", "a100"):
                template = f"deployments/pools/process-{pool}.json"
                server.run("work-pool", "create", "--type", "process", "--base-job-template", template, pool)
            for machine, name in ((light, "iterate"), (heavy, "a100")):
                machine.run("--no-prompt", "deploy", "--name", name, "--prefect-file", "deployments/prefect.yaml")
            for automation in sorted((ROOT / "deployments" / "automations").glob("*.yaml")):
                server.run("automation", "create", "--from-file", str(automation))
            light.start("worker", "start", "--pool", "cpu")
            heavy.start("worker", "start", "--pool", "a100")
            yield Site(api, database, server, light, heavy, serve)
        finally:
            for machine in (light, heavy, server):
                machine.kill()


def parameters(tmp_path, num_epochs=60):
    """Of a run whose first training is long enough to be disturbed in, as JSON; and the run's directory."""
    from tripost_core.cli import pretrain

    student, output = tmp_path / "shared" / "student", tmp_path / "shared" / "run"
    pretrain(out=student, preset="debug", seed=0)
    config = yaml.safe_load((ROOT / "deployments" / "debug.yaml").read_text())
    config |= {"student": {"model": str(student)}, "compute": {"heavy": "pool"}}
    config["rationale"] |= {"num_epochs": num_epochs, "save_every_steps": 5}
    return json.dumps({"config": config, "output": str(output)}), output


def is_training(site, output):
    """The work directory holds a checkpoint: it is in the middle."""
    saved = list(output.glob("stages/.work/*/checkpoints/checkpoint-*/complete.json"))
    return bool(saved) and any(state == "RUNNING" for _, state in site.runs("ft-rationale/train"))


def test_each_worker_is_killed_and_replaced(site, tmp_path):
    given, output = parameters(tmp_path)
    site.light.run("deployment", "run", "tripost/iterate", "--params", given)
    wait_for("no training", lambda: is_training(site, output))
    site.heavy.kill()
    (lost,) = [run for run, _ in site.runs("ft-rationale/train")]
    site.heavy.start("worker", "start", "--pool", "a100")

    # The heartbeats of the killed run stop, the automation notices, and the stage is tried again.
    wait_for("the loss is not noticed", lambda: (lost, "CRASHED") in site.runs("ft-rationale/train"), 420)
    wait_for(
        "no second attempt", lambda: ("RUNNING" in [state for _, state in site.runs("ft-rationale/train")]) or None, 120
    )

    # Now the other machine goes, with the run that waits.
    (parent,) = [run for run, state in site.runs("multistep_arithmetic run") if state == "RUNNING"]
    site.light.kill()
    site.light.start("worker", "start", "--pool", "cpu")
    site.light.run("deployment", "run", "tripost/iterate", "--params", given)
    states = lambda: [state for run, state in site.runs("multistep_arithmetic run") if run != parent]  # noqa: E731
    wait_for("the second run does not end", lambda: states() == ["COMPLETED"] or None, 900)
    assert (output / "report.html").exists()
    # The training that was under way when the second run began was taken up: there is no third.
    training = site.runs("ft-rationale/train")
    assert sorted(state for _, state in training) == ["COMPLETED", "CRASHED"], training
    wait_for(
        "the first run is still running", lambda: (parent, "CRASHED") in site.runs("multistep_arithmetic run"), 420
    )


def test_the_server_and_its_database_are_killed_and_come_back(site, tmp_path):
    """The run goes on, and nothing is begun a second time."""
    given, output = parameters(tmp_path, num_epochs=150)
    site.light.run("deployment", "run", "tripost/iterate", "--params", given)
    wait_for("no training", lambda: is_training(site, output))
    ((training, _),) = site.runs("ft-rationale/train")

    site.server.kill()
    time.sleep(15)  # longer than a client's first tries
    site.server.start(*site.serve)
    wait_for("no server", site.api.answers)
    # The slot that the training holds at its deployment outlived the server: else it ends with its next renewal.
    lease = site.api.call(f"/flow_runs/{training}")["state"]["state_details"]["deployment_concurrency_lease_id"]
    site.api.call(f"/v2/concurrency_limits/leases/{lease}/renew", {"lease_duration": 300})

    wait_for("no evaluation", lambda: site.runs("ft-rationale/evaluate") or None, 900)
    assert site.runs("ft-rationale/train") == [(training, "COMPLETED")]
    site.database.kill()
    time.sleep(15)
    site.database.start()

    def is_over():
        ((_, state),) = site.runs("multistep_arithmetic run")
        return state not in ("RUNNING", "PENDING") and state

    def over():
        try:
            return is_over()
        except OSError:  # the server has not found its database again
            return None

    assert wait_for("the run does not end", over, 900) == "COMPLETED"
    assert (output / "report.html").exists()
    heavy = site.api.call("/flow_runs/filter", {"flow_runs": {"deployment_id": {"is_null_": False}}, "limit": 100})
    assert sorted(run["state_type"] for run in heavy) == ["COMPLETED"] * 8, [
        (r["name"], r["state_name"]) for r in heavy
    ]
