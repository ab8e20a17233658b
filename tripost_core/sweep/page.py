"""The table of a sweep: on a terminal, as CSV and JSON, and as a page with a plot."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tripost_core.buffers import write_file
from tripost_core.report.text import points, reveal
from tripost_core.sweep.results import FIGURES, JUDGING, Estimate, Line, Results
from tripost_core.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.table import Table

_HEADINGS = {
    "accuracy": "accuracy",
    "first_attempt_accuracy": "first",
    "si_freq": "SI.Freq",
    "si_contrib": "SI.Contrib",
    "repaired": "repaired",
    "harm": "harm",
    "net": "repaired - harm",
}


def write_results(results: Results, spec: SweepSpec, name: str, output: Path) -> None:
    """`table.csv`, `cells.csv`, `sweep.json` and `sweep.html`, each whole or not at all. Raises StorageError."""
    from tripost_core.report.html import render_page

    write_file(str(output / "table.csv"), table_csv(results, spec).encode())
    write_file(str(output / "cells.csv"), cells_csv(results).encode())
    write_file(str(output / "sweep.json"), (json.dumps(as_json(results), indent=1) + "\n").encode())
    headings = list(_HEADINGS.values())
    page = render_page(
        "sweep.html.j2",
        title=name,
        split=spec.split,
        seeds=spec.seeds,
        headings=[headings[0], *(f"minus {name}" for name in spec.against), *headings[1:]],
        rows=[_page_row(line, spec) for line in results.lines],
        plot=accuracy_plot(results.lines),
        messages=results.messages,
    )
    write_file(str(output / "sweep.html"), page.encode())


def terminal_table(results: Results, spec: SweepSpec) -> Table:
    """Percent, and differences in points, with half the width of their intervals; `*`: the interval leaves zero out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    # Folded, not cut: of the rows of a grid the last words differ.
    table.add_column(f"\n%, {spec.split}", overflow="fold")
    table.add_column("\nstudent", overflow="fold")
    table.add_column("\nseeds", justify="right")
    for name in ("\naccuracy", "\nfirst", "SI.\nFreq", "repaired\n- harm", *(f"- {name}" for name in spec.against)):
        table.add_column(name, justify="right", overflow="fold")
    for line in results.lines:
        figures = [line.figures[figure] for figure in ("first_attempt_accuracy", "si_freq")]
        cells = [_half(line.figures["accuracy"]).rstrip("*"), *(f"{100 * found.mean:.1f}" for found in figures)]
        cells += [_half(found) for found in (line.figures["net"], *(line.differences[name] for name in spec.against))]
        table.add_row(Text(reveal(line.row)), Text(line.entry), str(len(line.seeds)), *map(Text, cells))
    return table


def _half(estimate: Estimate | None) -> str:
    if estimate is None or not estimate.num_questions:
        return "-"
    return f"{100 * estimate.mean:.1f} ±{50 * (estimate.high - estimate.low):.1f}{'*' if estimate.shown else ' '}"


def share(estimate: Estimate) -> str:
    """`41.2 (39.0 to 43.5)`; a dash where there is no question."""
    if not estimate.num_questions:
        return "-"
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def difference(estimate: Estimate | None) -> str:
    """`+2.1 (+0.3 to +3.9)`, in points."""
    if estimate is None or not estimate.num_questions:
        return "-"
    return f"{points(estimate.mean)} ({points(estimate.low)} to {points(estimate.high)})"


def table_csv(results: Results, spec: SweepSpec) -> str:
    """One line a student of a row: means, intervals, differences; shares of 1."""
    names = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    names += [f"minus {against}{end}" for against in spec.against for end in ("", " low", " high")]
    lines = []
    for line in results.lines:
        estimates = [line.figures[figure] for figure in FIGURES] + [line.differences[name] for name in spec.against]
        values = [_number(part) for found in estimates for part in (found[:3] if found else (None, None, None))]
        n = line.figures["accuracy"].num_questions
        lines.append([line.row, line.entry, len(line.seeds), n, *values])
    return _csv([["row", "student", "seeds", "questions", *names], *lines])


def cells_csv(results: Results) -> str:
    """One line a student of a row and seed."""
    lines = [
        [
            *(point.row, point.seed, point.entry, point.num_questions),
            *(_number(point.figures[figure]) for figure in FIGURES),
            *(_number(point.judging.get(name)) for name in JUDGING),
        ]
        for point in results.points
    ]
    return _csv([["row", "seed", "student", "questions", *FIGURES, *JUDGING], *lines])


def as_json(results: Results) -> dict[str, Any]:
    def of(found: Estimate | None) -> dict[str, Any] | None:
        return None if found is None else {k: v for k, v in found._asdict().items() if v == v}

    return {
        "schema": 1,
        "lines": [
            {
                "row": line.row,
                "student": line.entry,
                "seeds": line.seeds,
                "figures": {figure: of(found) for figure, found in line.figures.items()},
                "differences": {name: of(found) for name, found in line.differences.items()},
            }
            for line in results.lines
        ],
        "messages": results.messages,
    }


def accuracy_plot(lines: list[Line]) -> Markup:
    """Accuracy of every line with its interval, from left to right; what it is stands in its title and the table."""
    from tripost_core.report.svg import Axes, ticks

    shown = [line for line in lines if line.figures["accuracy"].num_questions]
    low = min((line.figures["accuracy"].low for line in shown), default=0.0)
    high = max((line.figures["accuracy"].high for line in shown), default=1.0)
    low, high = math.floor(low * 20) / 20, math.ceil(high * 20 + 1e-9) / 20
    axes = Axes(x=(0.4, max(len(shown), 1) + 0.6), y=(low, max(high, low + 0.05)), width=max(320, 60 + 26 * len(shown)))
    numbers = [(number, str(number)) for number in range(1, len(shown) + 1)]
    axes.grid(numbers, [(value, f"{100 * value:.0f} %") for value in ticks(low, high, 5)], "line of the table")
    for number, line in enumerate(shown, 1):
        found = line.figures["accuracy"]
        axes.whisker(number, found.low, found.high, "ours")
        axes.dot(number, found.mean, "ours", f"{line.row} {line.entry}: {share(found)}")
    return axes.svg("Accuracy by line of the table: " + "; ".join(f"{x.row} {x.entry}" for x in shown))


def _page_row(line: Line, spec: SweepSpec) -> dict[str, Any]:
    accuracy, *others = ((line.figures[figure], figure == "net") for figure in FIGURES)
    differences = [(line.differences[name], True) for name in spec.against]
    cells = [_page_cell(found, is_difference) for found, is_difference in (accuracy, *differences, *others)]
    return {"row": line.row, "student": line.entry, "seeds": len(line.seeds), "cells": cells}


def _page_cell(found: Estimate | None, is_difference: bool) -> tuple[str, str, bool]:
    """Mean, interval, and whether it is a difference that is shown to be one."""
    if found is None or not found.num_questions:
        return "–", "", False
    text = difference(found) if is_difference else share(found)
    mean, _, interval = text.partition(" (")
    return mean, interval.rstrip(")"), is_difference and found.shown


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.5f}"


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
