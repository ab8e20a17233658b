"""`tripost run`: the flow `tripost` in this process. Prefect is imported while its server starts, not before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.embedded_server import embedded_server
from flows.output_lock import output_lock
from tripost_core.config import RunConfig
from tripost_core.record import RunRecord, read_record

if TYPE_CHECKING:
    from tasks.stage import Display


def run(config: RunConfig, output: Path, fresh: bool = False, display: Display | None = None) -> RunRecord:
    """One TriPosT run in `output`; stages that are done there are kept, unless `fresh`.

    `display` hears of every stage. Raises TripostError (the one that the stage raised).
    """
    output = output.absolute()
    with output_lock(output), embedded_server(output / ".prefect"):
        return run_here(config, output, fresh, display)


def run_here(config: RunConfig, output: Path, fresh: bool = False, display: Display | None = None) -> RunRecord:
    """`run`, on the Prefect server that the settings in force name."""
    from flows.tripost import tripost
    from tasks.stage import RunOptions, options

    token = options.set(RunOptions(display=display))
    try:
        tripost(config=config, output=str(output), fresh=fresh)
    finally:
        options.reset(token)
    record = read_record(output)
    assert record is not None, "a run that ends without an exception has its record"
    return record
