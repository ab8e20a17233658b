"""A run on the terminal: its scores, its stages, rows of a buffer, trajectories with their first error marked.

What models wrote is printed as text and never as terminal commands or markup (`report.text.reveal`).
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tripost_core.buffers import Ref, Row, read_rows
from tripost_core.errors import DataError
from tripost_core.record import RunRecord, read_record
from tripost_core.report.diff import Line
from tripost_core.report.numbers import (
    dropped_of,
    is_complete,
    manifest_of,
    ordered_entries,
    ordered_stages,
    print_scores,
    relocated,
    report_json,
)
from tripost_core.report.text import clip, duration, reveal, spaced
from tripost_core.report.trajectories import OUTCOMES, TrajectoryView, choose, load_trajectories

_MAX_CELL_CHARACTERS = 2_000
_OPS = {"keep": "", "ins": "green", "del": "red strike"}
_PLAIN_OPS = {"keep": ("", ""), "ins": ("{+", "+}"), "del": ("[-", "-]")}
_INDENT = "    "


def show(
    run_dir: Path,
    *,
    stage: str | None = None,
    trajectories: int = 0,
    status: str | None = None,
    error_class: str | None = None,
    iteration: int | None = None,
    limit: int = 10,
    as_json: bool = False,
    console: Console | None = None,
) -> None:
    """Prints a run's overview; with `stage` (e.g. `tripost-1/filter`) up to `limit` rows of that buffer; with
    `trajectories` up to so many of them, edited ones first. `status` (correct, discarded; for triplets kept, dropped),
    `error_class` and `iteration` choose among rows and trajectories. `as_json`: one JSON document instead.

    Raises DataError for a directory that holds no run, an unknown stage or a choice that leaves nothing, StorageError
    where a buffer is gone or altered.
    """
    console = console or Console(highlight=False)
    record = read_record(run_dir)
    if record is None:
        raise DataError(f"{run_dir} holds no run: there is no run.json in it.")
    record = relocated(record, run_dir)
    if stage is not None:
        _show_stage(record, stage, status, error_class, iteration, limit, as_json, console)
    elif trajectories or status or error_class or iteration is not None:
        _show_trajectories(record, trajectories or limit, status, error_class, iteration, as_json, console)
    elif as_json:
        state = {"finished": record.finished, "message": record.message}
        _print_json({**report_json(record), **state}, console)
    else:
        _show_overview(record, console)


def _print_json(document: Any, console: Console) -> None:
    # ASCII only, and DEL too: nothing in it can reach the terminal as a command.
    text = json.dumps(document, indent=1, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")
    console.out(text, highlight=False)


def plain(text: str, style: str = "") -> Text:
    return Text(reveal(text), style=style)


# -- overview ----------------------------------------------------------------------------------------------------------


def _show_overview(record: RunRecord, console: Console) -> None:
    config = record.config
    title = f"{record.run_id}: {spaced(record.task_name)}, student {config['student']['model']}"
    console.print(plain(f"{title}, t = {config['iterations']}, seed {config['seed']}", "bold"))
    console.print(plain(f"configuration {record.config_fingerprint}, {_state(record)}"), end="\n\n")
    print_scores(record, console)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("stage", "left"), ("in", "right"), ("kept", "right"), ("time", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("dropped")
    for label, ref in _stages(record).items():
        manifest = manifest_of(ref)
        dropped = dropped_of(manifest)
        table.add_row(
            plain(label),
            f"{manifest.get('in', 0):,}",
            f"{manifest.get('kept', 0):,}",
            duration(float(manifest.get("seconds", 0.0))),
            plain(", ".join(f"{spaced(reason)} {n:,}" for reason, n in dropped), "dim"),
        )
    console.print()
    console.print(table if table.row_count else plain("No stage has run yet."))


def _state(record: RunRecord) -> str:
    if record.message:
        return f"ended early: {record.message}"
    return "finished" if is_complete(record) else "not finished"


def _stages(record: RunRecord) -> dict[str, Ref]:
    """Every stage of the run by the label that `--stage` takes."""
    stages = {} if record.problems is None else {"problems": record.problems}
    for entry in ordered_entries(record):
        stages |= {f"{entry.name}/{stage}": entry.stages[stage] for stage in ordered_stages(entry)}
    return stages


# -- rows of a buffer --------------------------------------------------------------------------------------------------


def _show_stage(
    record: RunRecord,
    stage: str,
    status: str | None,
    error_class: str | None,
    iteration: int | None,
    limit: int,
    as_json: bool,
    console: Console,
) -> None:
    stages = _stages(record)
    if stage not in stages:
        raise DataError(f"The run has no stage {stage}; it has {', '.join(stages) or 'none yet'}.")
    ref = stages[stage]
    manifest = manifest_of(ref)
    if ref.kind == "checkpoint":
        facts = {"stage": stage, "uri": ref.uri, "digest": ref.digest, "metrics": manifest.get("metrics") or {}}
        files = [shard["file"] for shard in manifest.get("shards", [])]
        if as_json:
            _print_json({**facts, "files": files}, console)
            return
        console.print(plain(f"{stage} made a checkpoint: {ref.uri}\n{ref.digest}\n{', '.join(files)}"))
        return
    rows = [row for row in read_rows(ref) if _wanted(row, status, error_class, iteration)]
    shown = rows[:limit]
    if as_json:
        _print_json({"stage": stage, "kind": ref.kind, "num_rows": len(rows), "rows": shown}, console)
        return
    for row in shown:
        _print_row(row, console)
    console.print(plain(f"{len(shown)} of {len(rows):,} rows of {stage} ({ref.kind})", "dim"))


def _wanted(row: Row, status: str | None, error_class: str | None, iteration: int | None) -> bool:
    if iteration is not None and row.get("iteration") != iteration:
        return False
    if status is not None:
        kept = {True: "kept", False: "dropped"}.get(row.get("kept"))  # type: ignore[arg-type]
        if status not in (row.get("status"), kept):
            return False
    if error_class is None:
        return True
    return error_class in [row.get("error_class"), *(turn.get("error_class") for turn in row.get("turns") or [])]


def _print_row(row: Row, console: Console, indent: str = "") -> None:
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, list):
            for number, item in enumerate(value, 1):
                console.print(plain(f"{indent}{name} {number}", "cyan"))
                _print_row(item, console, indent + _INDENT)
            continue
        text = clip(reveal(str(value)), _MAX_CELL_CHARACTERS)
        if "\n" in text:
            text = "\n" + "\n".join(f"{indent}{_INDENT}{line}" for line in text.strip("\n").split("\n"))
        console.print(Text.assemble((f"{indent}{name} ", "cyan"), text))
    if not indent:
        console.print()


# -- trajectories ------------------------------------------------------------------------------------------------------


def _show_trajectories(
    record: RunRecord,
    num: int,
    status: str | None,
    error_class: str | None,
    iteration: int | None,
    as_json: bool,
    console: Console,
) -> None:
    found = [
        trajectory
        for trajectory in load_trajectories(record, iteration)
        if (status is None or status in (trajectory.status, trajectory.outcome))
        and (error_class is None or error_class in [turn.error_class for turn in trajectory.turns])
    ]
    if not found:
        raise DataError("The run has no trajectory like that.")
    chosen = choose(found, num)
    if as_json:
        _print_json([_as_dict(trajectory) for trajectory in chosen], console)
        return
    for trajectory in chosen:
        _print_trajectory(trajectory, console)
    console.print(plain(f"{len(chosen)} of {len(found):,} trajectories", "dim"))


def _as_dict(trajectory: TrajectoryView) -> dict[str, Any]:
    turns = [
        {
            "attempt": turn.attempt,
            "source": turn.source,
            "correct": turn.correct,
            "error_step": turn.error_step,
            "error_segment": turn.error_segment,
            "error_class": turn.error_class,
            "feedback": turn.feedback,
            "feedback_source": turn.feedback_source,
        }
        for turn in trajectory.turns
    ]
    names = ("id", "iteration", "subtask", "question", "answer", "status", "outcome", "reason", "rounds", "edited")
    return {**{name: getattr(trajectory, name) for name in names}, "turns": turns}


def _print_trajectory(trajectory: TrajectoryView, console: Console) -> None:
    about = f"iteration {trajectory.iteration}, {trajectory.subtask}, {trajectory.id}"
    console.rule(Text.assemble((OUTCOMES[trajectory.outcome], "bold"), f"  {about}"), align="left", style="dim")
    console.print(Text.assemble(("Q: ", "cyan"), trajectory.question))
    console.print(Text.assemble(("Right answer: ", "cyan"), trajectory.answer))
    for number, turn in enumerate(trajectory.turns, 1):
        by = "the student" if turn.source == "student" else turn.source
        verdict = {True: ", correct", False: f", {spaced(turn.error_class or 'wrong')}", None: ""}[turn.correct]
        console.print(Text(f"Attempt {number} by {by}{verdict}", "cyan"))
        for line in turn.lines:
            console.print(Padding(line_text(line, plain=console.color_system is None), (0, 0, 0, 2)))
        if turn.student_feedback:
            console.print(Text(f"{_INDENT}the student had said: {turn.student_feedback}", "dim"))
        if turn.feedback:
            console.print(Text.assemble(("Feedback: ", "cyan"), turn.feedback))
    if trajectory.status == "discarded":
        console.print(Text(f"Discarded: {spaced(trajectory.reason or 'no reason given')}", "red"))
    for triplet in trajectory.triplets:
        if not triplet.kept:
            what = "improvement" if triplet.kind == "x_imp" else "answer"
            reason = spaced(triplet.reason or "no reason given")
            console.print(Text(f"Filtered out, {what} of attempt {triplet.turn + 1}: {reason}", "yellow"))
    console.print()


def line_text(line: Line, plain: bool = False) -> Text:
    """A line of an attempt with its wrong segment and its changes in colour; `plain`: »wrong«, [-gone-], {+new+}."""
    text = Text({"added": "+ ", "removed": "- "}.get(line.kind, "  "), style="dim" if line.kind == "same" else "")
    inside = False
    for part in line.parts:
        if plain and part.marked != inside:
            text.append("»" if part.marked else "«")
            inside = part.marked
        start, end = _PLAIN_OPS[part.op] if plain and line.kind == "changed" else ("", "")
        text.append(f"{start}{part.text}{end}", "bold reverse red" if part.marked else _OPS[part.op])
    if inside:
        text.append("«")
    return text


# -- what `tripost cache show` prints ----------------------------------------------------------------------------------


def print_cache(rows: list[dict[str, Any]], path: Path) -> None:
    """One line per endpoint, model and prompt version (`ResponseCache.summary`)."""
    console = Console(highlight=False)
    if not rows:
        console.print(Text(f"No answers in {path}."))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model, prompts, endpoint", overflow="fold")
    for name in ("answers", "tokens", "USD", "last"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        whose = Text("\n").join(Text(reveal(row[name]) or "-") for name in ("model", "tag", "endpoint"))
        tokens = f"{row['prompt_tokens'] + row['completion_tokens']:,}"
        last = datetime.fromtimestamp(row["last"]).strftime("%Y-%m-%d %H:%M")
        table.add_row(whose, f"{row['answers']:,}", tokens, f"{row['cost_usd']:.4f}", last)
    console.print(table)
    console.print(Text(f"{sum(row['answers'] for row in rows):,} answers in {path}"))
