"""A Prefect database that is migrated already. Creating one costs several times as much CPU as all else at a server's
start, and every run directory has its own; so the first one that is created in a checkout serves as a template.

    python -m flows.database        makes the template, if there is none (`make setup`)
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from tripost_core.errors import StorageError

NAME = "prefect.db"


def template_path(templates: Path) -> Path:
    """One per release of Prefect."""
    return templates / f"template-{version('prefect')}.db"


def prepare(home: Path, templates: Path) -> None:
    """Gives a new `home` its database; without a template the server makes its own. Raises StorageError."""
    template = template_path(templates)
    if (home / NAME).exists() or not template.exists():
        return
    temporary = home / f"{NAME}.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, temporary)
        os.replace(temporary, home / NAME)
    except OSError as error:
        raise StorageError(f"{home} cannot be written: {error.strerror}.") from None


def keep(home: Path, templates: Path) -> None:
    """Makes the template from the database of a server that has just started on a new `home`."""
    template = template_path(templates)
    if template.exists():
        return
    temporary = template.with_suffix(f".{os.getpid()}")
    try:
        templates.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(home / NAME)) as source, closing(sqlite3.connect(temporary)) as target:
            source.backup(target)  # consistent, whatever the server writes meanwhile
        os.replace(temporary, template)
    except OSError:
        pass  # a checkout that cannot be written: every server migrates its own database


def main() -> None:
    from flows.local_stack import PROJECT_HOME
    from flows.processes import clean_environment

    if template_path(PROJECT_HOME).exists():
        return
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        # A failure is that of the first server, which migrates its own database and says what is wrong.
        if subprocess.run(command, env=clean_environment(PREFECT_HOME=home), capture_output=True).returncode == 0:
            keep(Path(home), PROJECT_HOME)


if __name__ == "__main__":
    main()
