"""`tripost sweep`: its cells one after the other, each an ordinary run, on one Prefect server."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from flows.output_lock import output_lock
from tripost_core.errors import TripostError
from tripost_core.progress import ProgressDisplay
from tripost_core.record import is_finished, read_record
from tripost_core.sweep.page import write_results
from tripost_core.sweep.results import Results, collect
from tripost_core.sweep.spec import Cell, SweepSpec


def run_sweep(
    spec: SweepSpec,
    cells: list[Cell],
    name: str,
    output: Path,
    display: ProgressDisplay,
    only: list[Cell] | None = None,
) -> Results:
    """What the cells come to. A finished cell is found; one that fails is noted, and the others go on. Of `only`, where
    given, those that are not finished are computed; the table is of all.

    The table is written again after every cell, so that a sweep can be read while it runs. Raises ConfigError where
    another process has the directory, StorageError.
    """
    output = output.absolute()
    failures: dict[str, str] = {}
    with output_lock(output), ExitStack() as server:
        started = False
        results = collect(spec, cells, output, failures)
        wanted = cells if only is None else only
        for number, cell in enumerate(wanted, 1):
            directory = output / "cells" / cell.name
            if is_finished(read_record(directory), cell.config):
                continue
            if not started:
                from flows.embedded_server import embedded_server

                server.enter_context(embedded_server(output / ".prefect"))
                started = True
            display.line(f"cell {number} of {len(wanted)}: {cell.name}")
            try:
                _run_cell(cell, directory, display)
            except TripostError as error:
                failures[cell.name] = str(error)
                display.line(f"{cell.name} failed: {error}")
            results = collect(spec, cells, output, failures)
            write_results(results, spec, name, output)
    write_results(results, spec, name, output)
    return results


def _run_cell(cell: Cell, directory: Path, display: ProgressDisplay) -> None:
    from flows.in_process import run_here

    run_here(cell.config, directory, display=display)
