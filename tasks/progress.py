"""A stage's progress as a Prefect artifact, updated in place."""

from __future__ import annotations

import re
import time
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tripost_core.progress import Pace

SECONDS_BETWEEN_UPDATES = 3.0


class ProgressArtifact:
    """Bar of the UI for one stage; at most one update every few seconds, so that it costs nothing."""

    def __init__(self, label: str) -> None:
        self.label = label
        key = re.sub(r"[^a-z0-9]+", "-", f"progress-{label}".lower()).strip("-")
        self._id: Any = create_progress_artifact(progress=0.0, key=key, description=label)
        self._updated = time.monotonic()
        self._pace = Pace()

    def update(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units of `what`."""
        left = self._pace.left(what, done, total)
        if time.monotonic() - self._updated >= SECONDS_BETWEEN_UPDATES:
            self._updated = time.monotonic()
            self._set(100.0 * done / max(total, 1), f"{self.label}: {what} {done}/{total}{left}")

    def close(self) -> None:
        self._set(100.0, f"{self.label}: done")

    def _set(self, percent: float, description: str) -> None:
        update_progress_artifact(self._id, progress=min(percent, 100.0), description=description)
