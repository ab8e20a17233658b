"""The `tripost` entry point: run, up and down; the commands that need no Prefect come from tripost_core.cli.

Exit codes: 0 done, 1 a check found something (data check, oracle), 2 it could not be done, 130 interrupted.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tripost_core.cli import JsonOption, app
from tripost_core.errors import TripostError

if TYPE_CHECKING:
    from tripost_core.config import RunConfig
    from tripost_core.record import RunRecord


Fresh = Annotated[bool, typer.Option("--fresh", help="compute every stage again, whatever is there")]


@app.callback()
def tripost() -> None:
    """Train a small language model to improve its own answers (TriPosT)."""


class Baseline(StrEnum):
    RATIONALE = "rationale"
    WORKINGS = "workings"
    LMSI = "lmsi"
    SI_DEMO = "si-demo"


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="a run config, e.g. deployments/word_sorting.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="e.g. --set train.learning_rate=1e-4")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="the run's directory; default runs/NAME of the config")] = None,
    fresh: Fresh = False,
    as_json: JsonOption = False,
) -> None:
    """One TriPosT run, in this process. The same command goes on where an earlier one was stopped.

    Example: tripost run deployments/word_sorting.yaml --set iterations=1 --output runs/first-try
    """
    from tripost_core.config_file import load_config

    _run(load_config(config, overrides), output or Path("runs") / config.stem, fresh, as_json)


@app.command()
def baseline(
    method: Annotated[Baseline, typer.Argument(help="what TriPosT is compared with")],
    config: Annotated[Path, typer.Argument(help="the run config of the TriPosT run")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="e.g. --set lmsi.keep=majority")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="default runs/NAME-METHOD, NAME that of the config")] = None,
    fresh: Fresh = False,
    as_json: JsonOption = False,
) -> None:
    """A baseline on the prompts and from the start of a TriPosT run: the same stages, resumed the same way.

    `rationale`: gold rationales, gone on with for t iterations. `workings`: these with every operation worked out as
    in the updates of an expert with `checks`. `lmsi`: the student's own right attempts (or, by
    lmsi.keep, those that most of its samples agree on), t times. `si-demo`: an expert's own mistakes, criticised and
    repaired.

    Example: tripost baseline lmsi deployments/word_sorting.yaml --set lmsi.num_samples=3
    """
    from tripost_core.config_file import load_config

    settings = load_config(config, [*(overrides or []), f"method={method.value}"])
    _run(settings, output or Path("runs") / f"{config.stem}-{method.value}", fresh, as_json)


def _run(settings: RunConfig, directory: Path, fresh: bool, as_json: bool) -> None:
    from tripost_core.record import is_finished, read_record

    record = read_record(directory)
    started = time.monotonic()
    if not fresh and is_finished(record, settings):
        print(f"{directory} is a finished run of this configuration: no stage was executed.", file=sys.stderr)
    else:
        record = _run_with_progress(settings, directory, fresh)
    _print_end(record, directory, as_json, time.monotonic() - started)


def _run_with_progress(settings: RunConfig, directory: Path, fresh: bool) -> RunRecord:
    from flows.in_process import run as run_flow
    from tripost_core.progress import ProgressDisplay

    try:
        with ProgressDisplay() as display:
            return run_flow(settings, directory, fresh=fresh, display=display)
    except KeyboardInterrupt:
        print("tripost: interrupted; the same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None


def _print_end(record: RunRecord | None, directory: Path, as_json: bool, seconds: float) -> None:
    from rich.console import Console

    from tripost_core.progress import format_seconds
    from tripost_core.report.numbers import print_scores

    assert record is not None, "a finished run has its record"
    if as_json:
        print((directory / "report.json").read_text(encoding="utf-8"))
        return
    print_scores(record, Console(highlight=False))
    if record.message:
        print(record.message)
    print(f"Took {format_seconds(seconds)}. Open {directory / 'report.html'} in a browser.")
    print(f"Next: tripost show {shlex.quote(str(directory))} --trajectories 3")
    task = record.config["task"]
    task = shlex.quote(_nearest(task["path"] or "TASK.yaml") if isinstance(task, dict) else task)
    print(f"      tripost solve --task {task} --model {shlex.quote(str(directory))} QUESTION")


def _nearest(path: str) -> str:
    """Relative to the working directory where it lies below it."""
    near = os.path.relpath(path)
    return path if near.startswith(os.pardir) else near


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="a sweep file, e.g. deployments/sweeps/learning-rate.yaml")],
    output: Annotated[Path | None, typer.Option(help="the sweep's directory; default runs/NAME of the file")] = None,
    row: Annotated[list[str] | None, typer.Option(help="compute this row alone; can be repeated")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="compute this seed alone; can be repeated")] = None,
    as_json: JsonOption = False,
) -> None:
    """Many runs that differ in a few settings, and one table of means, intervals and paired differences.

    Every cell is an ordinary run; equal stages are computed once, and the same command goes on where an earlier one
    was stopped. With --row and --seed only a part is computed; the table has all that is finished.

    Example: tripost sweep deployments/sweeps/methods.yaml --output runs/methods --seed 0
    """
    from rich.console import Console

    from flows.sweep import run_sweep
    from tripost_core.progress import ProgressDisplay
    from tripost_core.sweep.page import terminal_table
    from tripost_core.sweep.spec import cells, chosen, read_sweep

    spec = read_sweep(file)
    directory = output or Path("runs") / file.stem
    every = cells(spec, file, directory)
    only = chosen(every, row or [], seed or [])
    try:
        with ProgressDisplay() as display:
            results = run_sweep(spec, every, file.stem, directory, display, only)
    except KeyboardInterrupt:
        print("tripost: interrupted; the same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print((directory / "sweep.json").read_text(encoding="utf-8"))
    else:
        Console(highlight=False).print(terminal_table(results, spec))
        print(f"Open {directory / 'sweep.html'} in a browser; numbers: {directory / 'table.csv'}, cells.csv.")
    for message in results.messages:
        print(f"tripost: {message}", file=sys.stderr)
    if results.num_missing > results.num_failed:
        left = results.num_missing - results.num_failed
        print(f"tripost: {left} of {len(every)} cells not computed yet (--row, --seed).", file=sys.stderr)
    if results.num_failed:
        raise typer.Exit(2)


@app.command()
def up() -> None:
    """Start the local server, the work pools `cpu` and `a100` with a worker each, and the deployments.

    Example: tripost up && prefect deployment run tripost/iterate --watch
    """
    from flows.local_stack import up as start

    start()


@app.command()
def down() -> None:
    """Stop everything that `tripost up` started.

    Example: tripost down
    """
    from flows.local_stack import down as stop

    stop()


def main() -> None:
    """Runs a command; what a user can cause is one sentence on standard error and exit code 2."""
    try:
        app(prog_name="tripost")
    except TripostError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader (`head`, a pager) is gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}.")


def _fail(sentence: str) -> None:
    print(f"tripost: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
