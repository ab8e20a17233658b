"""vLLM, as servers that are started with a checkpoint and stopped when its rows are written.

vLLM cannot share an environment with Prefect, so its executable is that of an environment of its own
(`deployments/vllm/requirements.lock`), named in the config. The servers listen on loopback with a key drawn for them.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tripost_core.config import EngineConfig
from tripost_core.errors import ConfigError, ModelError
from tripost_core.lm.engines.server import Servers
from tripost_core.processes import HOST, end_group, free_port, group_settings

MIN_VERSION = (0, 30)
"""Older ones have other arguments, and have not been tried; an unbounded `pip install vllm` can even end at 0.1.2."""


@contextmanager
def vllm_servers(engine: EngineConfig, student_dir: Path, dtype: str, digest: str) -> Iterator[Servers]:
    """A `Write` on `engine.replicas` servers of the checkpoint, each on GPUs of its own.

    Raises ConfigError (no such executable, a version that is too old), ModelError with a server's last words.
    """
    executable = _executable(engine.command)
    version = _version(executable)
    if version < MIN_VERSION:
        least, found = (".".join(map(str, v)) for v in (MIN_VERSION, version))
        raise ConfigError(f"{executable} is vLLM {found}; at least {least} is needed.")
    name = f"tripost-{digest[:16]}"
    key = secrets.token_urlsafe(24)
    with TemporaryDirectory(prefix="tripost-vllm-") as logs:
        servers: list[_Server] = []
        try:
            for replica in range(engine.replicas):
                servers.append(_Server(executable, engine, student_dir, dtype, name, key, replica, Path(logs)))
            _wait_for(servers, engine.start_seconds)
            urls = [server.url for server in servers]
            yield Servers(engine, urls, name, student_dir, key, as_tokens=True)
        finally:
            for server in servers:
                server.stop()


class _Server:
    def __init__(
        self,
        executable: str,
        engine: EngineConfig,
        student_dir: Path,
        dtype: str,
        name: str,
        key: str,
        replica: int,
        logs: Path,
    ) -> None:
        port = free_port()
        self.url = f"http://{HOST}:{port}/v1"
        self.log = logs / f"{replica}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PYTHON"))}
        environment |= {"VLLM_API_KEY": key, "VLLM_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible_gpus(replica, engine.tensor_parallel))
        command = [
            *(executable, "serve", str(student_dir), "--served-model-name", name),
            *("--host", HOST, "--port", str(port), "--dtype", dtype, "--seed", "0"),
            *("--tensor-parallel-size", str(engine.tensor_parallel)),
            *("--gpu-memory-utilization", str(engine.gpu_memory_share)),
            *("--generation-config", "vllm"),  # else the checkpoint's own top_p and top_k would bend every sample
            *engine.arguments,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
                **group_settings(),
            )  # fmt: skip

    def is_ready(self) -> bool:
        """Raises ModelError where it has ended."""
        if self.process.poll() is not None:
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            said = " | ".join(lines[-3:])[-600:] or "nothing"
            raise ModelError(f"vLLM ended with code {self.process.returncode}; the last it said: {said}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url.removesuffix("/v1") + "/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        end_group(self.process)


def visible_gpus(replica: int, num_gpus: int) -> list[str]:
    """The GPUs of a replica, out of those that this process may use."""
    mine = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    wanted = range(replica * num_gpus, (replica + 1) * num_gpus)
    if not mine:
        return [str(gpu) for gpu in wanted]
    if wanted.stop > len(mine):
        raise ConfigError(f"engine.replicas x engine.tensor_parallel needs more than the {len(mine)} GPUs here.")
    return [mine[gpu] for gpu in wanted]


def _executable(command: str) -> str:
    found = shutil.which(os.path.expanduser(command))
    if found is None:
        raise ConfigError(
            f"engine.command names {command}, which is not there; vLLM has an environment of its own: python -m venv "
            "DIR && DIR/bin/pip install -r deployments/vllm/requirements.lock, then engine.command=DIR/bin/vllm."
        )
    return found


def _version(executable: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=180, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{executable} --version fails: {error}.") from None
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said.stdout)
    if match is None:
        raise ConfigError(f"{executable} does not say which version it is.")
    return tuple(int(part) for part in match.groups() if part is not None)


def _wait_for(servers: Sequence[_Server], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    waiting = list(servers)
    while waiting:
        waiting = [server for server in waiting if not server.is_ready()]
        if waiting and time.monotonic() > deadline:
            raise ModelError(f"vLLM was not ready after {seconds:.0f} seconds (engine.start_seconds).")
        time.sleep(0.5 if waiting else 0)
