"""What a long job shows: a live line per stage on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15.0
SECONDS_TO_A_STALL = 30.0
"""So long without another unit, what is left is no longer reckoned from those done: the last answers are long ones."""


def format_seconds(seconds: float) -> str:
    """`7 s`, `3 min 05 s`, `2 h 04 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Pace:
    """How long the rest will take, from what was done since the first look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what = ""
        self._first = self._last = (0.0, 0)

    def left(self, what: str, done: int, total: int) -> str:
        """`, 3 min 05 s left`, or `, no more for 45 s`; empty where nothing can be said yet. `what` up to a colon names
        the work."""
        name = what.partition(":")[0]
        now = self._clock()
        if name != self._what:
            self._what, self._first, self._last = name, (now, done), (now, done)
            return ""
        if done != self._last[1]:
            self._last = (now, done)
        stalled = now - self._last[0]
        if stalled >= SECONDS_TO_A_STALL and done < total:
            return f", no more for {format_seconds(stalled)}"
        seconds, units = now - self._first[0], done - self._first[1]
        if units <= 0 or done >= total:
            return ""
        return f", {format_seconds(seconds * (total - done) / units)} left"


class ProgressDisplay:
    """Shows stages as they start, advance and end; a context manager.

    On a terminal the running stage has a bar with its remaining time; elsewhere there is a line at its start, one every
    15 seconds and one at its end.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live = self.console.is_terminal
        self._bar: Progress | None = None
        self._task_id = None
        self._task_name = ""
        self._last_line = 0.0
        self._started = time.monotonic()
        self._pace = Pace()

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()

    def line(self, text: str) -> None:
        """One line above the bar, with the time since the start."""
        elapsed = format_seconds(time.monotonic() - self._started)
        console = self._bar.console if self._bar else self.console
        console.print(f"[{elapsed:>12}] {text}", markup=False, soft_wrap=True)

    def started(self, label: str) -> None:
        if not self._live:
            self.line(f"{label} ...")

    def advanced(self, label: str, what: str, done: int, total: int) -> None:
        """`what` of the stage `label`: `done` of `total` units."""
        if self._live:
            self._update_bar(label, what, done, total)
            return
        left = self._pace.left(f"{label} {what}", done, total)
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.line(f"{label}: {what} {done}/{total}{left}")

    def finished(self, label: str, text: str) -> None:
        self._stop_bar()
        self.line(f"{label}: {text}")

    def _update_bar(self, label: str, what: str, done: int, total: int) -> None:
        name = f"{label}: {what.partition(':')[0]}"  # what follows changes all the time, and is shown as it does
        if self._bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
        if self._task_id is None or name != self._task_name:
            for task_id in self._bar.task_ids:
                self._bar.remove_task(task_id)
            self._task_id = self._bar.add_task(f"{label}: {what}", total=total)  # type: ignore[assignment]
            self._task_name = name
        self._bar.update(self._task_id, description=f"{label}: {what}", completed=done, total=total)  # type: ignore[arg-type]

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._task_id = None
