"""A stage's progress as a Prefect artifact, updated in place."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tripost_core.progress import Pace

SECONDS_BETWEEN_UPDATES = 3.0
SECONDS_AFTER_A_FAILURE = 60.0
"""A server that is away keeps each update waiting, and with it the stage."""
_log = logging.getLogger("tripost_core.tasks")


class ProgressArtifact:
    """Bar of the UI for one stage; at most one update every few seconds, so that it costs nothing. Where the server
    does not answer, the bar stays as it is and the stage goes on."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._id: Any = None
        self._next = 0.0
        self._pace = Pace()
        self._set(0.0, label)

    def update(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units of `what`."""
        left = self._pace.left(what, done, total)
        if time.monotonic() >= self._next:
            self._set(100.0 * done / max(total, 1), f"{self.label}: {what} {done}/{total}{left}")

    def close(self) -> None:
        self._set(100.0, f"{self.label}: done")

    def _set(self, percent: float, description: str) -> None:
        pause_seconds = SECONDS_BETWEEN_UPDATES
        try:
            if self._id is None:
                key = re.sub(r"[^a-z0-9]+", "-", f"progress-{self.label}".lower()).strip("-")
                self._id = create_progress_artifact(progress=min(percent, 100.0), key=key, description=description)
            else:
                update_progress_artifact(self._id, progress=min(percent, 100.0), description=description)
        except Exception as error:  # Prefect's client has no one class for it; nothing is lost but the bar
            _log.warning("%s: its progress cannot be shown: %s", self.label, error)
            pause_seconds = SECONDS_AFTER_A_FAILURE
        self._next = time.monotonic() + pause_seconds
