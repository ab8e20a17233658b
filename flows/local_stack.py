"""`tripost up` and `tripost down`: a Prefect server, its work pools with a worker each, and the deployments.

State under the project's `.prefect/`: the server's database, results, `processes/*.pid`, `logs/*.log`. Every process
has a guard (`guard.py`), so an `up` that is killed takes what it had started with it. No Prefect import.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from flows import database
from flows.processes import Guarded, PrefectApi, clean_environment, is_taken
from tripost_core.errors import ConfigError, StoppedError, StorageError
from tripost_core.processes import HOST

ROOT = Path(__file__).resolve().parents[1]
PROJECT_HOME = ROOT / ".prefect"
POOLS = ("cpu", "a100")
_PREFECT_FILE = Path("deployments/prefect.yaml")
_AUTOMATIONS = Path("deployments/automations")
_TEMPLATES = Path("deployments/pools")


def project_port() -> int:
    """The port in the checkout's `prefect.toml`. Raises ConfigError outside a checkout."""
    if not (ROOT / _PREFECT_FILE).exists():
        raise ConfigError(f"The local stack is started from a checkout of the project, and {ROOT} is none.")
    return int(tomllib.loads((ROOT / "prefect.toml").read_text(encoding="utf-8"))["server"]["api"]["port"])


def running_url(home: Path = PROJECT_HOME) -> str | None:
    """The API of the server that `up` started under `home`, if it runs and answers."""
    try:
        url = (home / "api-url").read_text().strip()
    except OSError:
        return None
    return url if Guarded(home, "server").pid() is not None and PrefectApi(url).answers() else None


def is_up(home: Path = PROJECT_HOME) -> bool:
    """Whether the server answers and every pool has its worker."""
    return running_url(home) is not None and all(Guarded(home, f"worker-{pool}").pid() is not None for pool in POOLS)


def up(home: Path = PROJECT_HOME, port: int | None = None) -> str:
    """Starts what is not there yet and waits until each part answers. Returns the API's URL.

    Raises ConfigError (port taken, no checkout), StoppedError (a part that does not start), StorageError.
    """
    port = port or project_port()
    home = home.absolute()
    with _one_at_a_time(home):
        if is_up(home):
            url = running_url(home)
            assert url is not None
            print(f"Already up: {_ui(url)}")
            return url
        url = f"http://{HOST}:{port}/api"
        environment = clean_environment(PREFECT_HOME=str(home), PREFECT_API_URL=url, PWD=str(ROOT))
        # A flow run asks for `prefect` and `python` by name; they are those of this environment.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        started: list[Guarded] = []
        try:
            _start_all(home, port, url, environment, started)
        except BaseException:
            for process in reversed(started):
                process.stop()
            raise
        for process in started:
            process.stay()
    print(f"Up: {_ui(url)}  (state and logs in {os.path.relpath(home)})")
    print("Next: prefect deployment run tripost/iterate --watch")
    return url


def down(home: Path = PROJECT_HOME) -> list[str]:
    """Stops all that `up` started under `home`; flow runs that were under way end as crashed. Returns their names."""
    home = home.absolute()
    if not home.exists():
        print("Nothing is up.")
        return []
    with _one_at_a_time(home):
        url = running_url(home)
        stopped = [f"worker-{pool}" for pool in POOLS if Guarded(home, f"worker-{pool}").stop()]
        if url is not None and stopped:
            _end_runs(PrefectApi(url))
        if Guarded(home, "server").stop():
            stopped.append("server")
        (home / "api-url").unlink(missing_ok=True)
    print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing is up.")
    return stopped


def _start_all(home: Path, port: int, url: str, environment: dict[str, str], started: list[Guarded]) -> None:
    api = PrefectApi(url)
    server = Guarded(home, "server")
    if server.pid() is None:
        if is_taken(port):
            raise ConfigError(
                f"Port {port} of {HOST} is taken by another program; stop it, or set another port in prefect.toml."
            )
        print(f"Server on port {port} ...", flush=True)
        is_new = not (home / database.NAME).exists()
        database.prepare(home, PROJECT_HOME)
        started.append(server)
        server.start(_prefect("server", "start", "--host", HOST, "--port", str(port)), environment, ROOT)
        server.wait_until(api.answers, "The Prefect server")
        if is_new:
            database.keep(home, PROJECT_HOME)
        (home / "api-url").write_text(f"{url}\n")
    print(f"Work pools {' and '.join(POOLS)}, workers, deployments ...", flush=True)
    missing = [pool for pool in POOLS if not api.has(f"/work_pools/{pool}")]
    create = ("work-pool", "create", "--type", "process", "--base-job-template")
    _commands(environment, *((*create, str(_TEMPLATES / f"process-{pool}.json"), pool) for pool in missing))
    since = datetime.now(UTC)
    workers = [(pool, Guarded(home, f"worker-{pool}")) for pool in POOLS]
    for pool, worker in workers:
        if worker.pid() is None:
            started.append(worker)
            worker.start(_prefect("worker", "start", "--pool", pool, "--name", f"worker-{pool}"), environment, ROOT)
    deploy = ("--no-prompt", "deploy", "--all", "--prefect-file", str(_PREFECT_FILE))
    _commands(environment, deploy, *_missing_automations(api))
    for pool, worker in workers:
        if worker in started:
            worker.wait_until(partial(api.worker_is_online, pool, since), f"The worker of the pool {pool}")


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _commands(environment: dict[str, str], *commands: tuple[str, ...]) -> None:
    """Runs `prefect` commands in the checkout, side by side. Raises StoppedError with the words of one that fails."""
    running = [
        subprocess.Popen(
            _prefect(*command),
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    outputs = [process.communicate()[0] for process in running]
    for command, process, output in zip(commands, running, outputs, strict=True):
        if process.returncode != 0:
            raise StoppedError(f"`prefect {' '.join(command)}` failed: {' '.join(output.split())[-400:]}")


def _missing_automations(api: PrefectApi) -> list[tuple[str, ...]]:
    """The commands that create the automations of the checkout that the server does not have."""
    present = {automation["name"] for automation in api.call("/automations/filter", {})}
    files = sorted((ROOT / _AUTOMATIONS).glob("*.yaml"))
    names = {file: yaml.safe_load(file.read_text(encoding="utf-8"))["name"] for file in files}
    return [("automation", "create", "--from-file", str(file)) for file in files if names[file] not in present]


def _end_runs(api: PrefectApi) -> None:
    """No worker is left to report on runs that were under way: they crashed, and nobody should wait for them."""
    under_way = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    for run in api.call("/flow_runs/filter", {"flow_runs": under_way, "limit": 200}):
        state: dict[str, Any] = {"type": "CRASHED", "message": "`tripost down` stopped the worker."}
        api.call(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / "up.lock", "w")  # noqa: SIM115  closed below, which is what unlocks it
    except OSError as error:
        raise StorageError(f"{home} cannot be written: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoppedError("Another `tripost up` or `tripost down` is at work; wait for its end.") from None
        yield


def _ui(url: str) -> str:
    return url.removesuffix("/api")
