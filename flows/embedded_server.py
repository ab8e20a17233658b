"""The Prefect server that `tripost run` brings with it: SQLite, a free port, gone when the run is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import database
from flows.local_stack import PROJECT_HOME, running_url
from flows.processes import Guarded, PrefectApi, clean_environment
from tripost_core.errors import StoppedError
from tripost_core.processes import HOST, free_port

_ATTEMPTS = 3
_SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # Nothing is scheduled on this server, no worker looks at it and it never runs for long.
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}


@contextmanager
def embedded_server(home: Path, stack_home: Path = PROJECT_HOME) -> Iterator[str]:
    """A Prefect API for the flows of this block, as its URL; state and results under `home`.

    That of `tripost up` (under `stack_home`) where it runs, else a server of our own, which ends with the block, and
    with this process however that ends. Raises StorageError, StoppedError.
    """
    home = home.absolute()
    url = running_url(stack_home)
    server = None
    try:
        if url is None:
            server, url = _start(home)
        with _settings(home, url), _quiet_console():
            try:
                yield url
            finally:
                _flush()
    finally:
        if server is not None:
            server.stop()


def _start(home: Path) -> tuple[Guarded, str]:
    server = Guarded(home, "server")
    is_new = not (home / database.NAME).exists()
    database.prepare(home, PROJECT_HOME)
    for attempts_left in reversed(range(_ATTEMPTS)):
        port = free_port()
        url = f"http://{HOST}:{port}/api"
        environment = clean_environment(**_SERVER_SETTINGS, PREFECT_HOME=str(home), PREFECT_API_URL=url)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
        server.start(command, environment)
        import prefect.main  # noqa: F401  takes a second or two, in which the server starts; sets up logging

        try:
            server.wait_until(PrefectApi(url).answers, "The Prefect server")
            if is_new:
                database.keep(home, PROJECT_HOME)
            return server, url
        except StoppedError:
            server.stop()
            # Somebody may have taken the port between our look and the server's.
            if not attempts_left or "already in use" not in server.last_line():
                raise
        except BaseException:
            server.stop()
            raise
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _settings(home: Path, url: str) -> Iterator[None]:
    from prefect.settings import temporary_settings

    with temporary_settings(
        {
            "home": home,
            "api.url": url,
            "results.local_storage_path": home / "storage",
            "results.default_serializer": "json",
            "logging.to_api.when_missing_flow": "ignore",
            # Its thread would hold up the end of the run by a second; nobody watches this server for zombies.
            "flows.heartbeat_frequency": None,
        }
    ):
        yield


class _OurWarnings(logging.Filter):
    """Lets through what a user of `tripost run` should see: no word of Prefect's, and of ours only warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.name.partition(".")[0] in ("tripost_core", "tasks", "flows")
        return record.levelno >= (logging.WARNING if ours else logging.ERROR) and not record.name.startswith("prefect")


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Prefect's console handlers show our warnings alone; everything still goes to the API."""
    import prefect.main  # noqa: F401  sets up logging, which a server that was already there did not make us do
    from prefect.logging.handlers import PrefectConsoleHandler

    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    consoles = [handler for handler in handlers if isinstance(handler, PrefectConsoleHandler)]
    quiet = _OurWarnings()
    for console in consoles:
        console.addFilter(quiet)
    try:
        yield
    finally:
        for console in consoles:
            console.removeFilter(quiet)


def _flush() -> None:
    """Sends what is still queued, so that the record is whole and nothing complains after the server's end."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)
