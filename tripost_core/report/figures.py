"""The report's charts: each a title, a sentence on how to read it, and panels or rows of numbers with bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tripost_core.config import CONTINUED, RATIONALE
from tripost_core.record import Entry, RunRecord
from tripost_core.report.intervals import wilson
from tripost_core.report.numbers import SPLITS, dropped_of, manifest_of, ordered_entries, ordered_stages, stage_kind
from tripost_core.report.svg import Axes, bar, ticks
from tripost_core.report.text import duration, percent, spaced

Figures = dict[str, dict[str, Any]]
_MAX_CURVE_POINTS = 240


@dataclass(frozen=True, slots=True)
class Panel:
    """One small chart with its heading."""

    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric on one group of questions over the run: (value, n) by iteration, and the continuation's."""

    by_iteration: dict[int, tuple[float, int]]
    control: tuple[float, int] | None

    @property
    def highest(self) -> float:
        return max((wilson(v, n) or (0, v))[1] for v, n in self._all())

    @property
    def lowest(self) -> float:
        return min((wilson(v, n) or (v, 0))[0] for v, n in self._all())

    def _all(self) -> Iterable[tuple[float, int]]:
        return [*self.by_iteration.values(), *([self.control] if self.control else [])]


def _series(record: RunRecord, figures: Figures, metric: str, split: str, subtask: bool = False) -> Series:
    def of(name: str) -> tuple[float, int] | None:
        if subtask:
            holder = figures[name]["by_subtask"].get(split, {})
            value, n = holder.get(metric), holder.get("n", 0)
        else:
            value, n = figures[name][metric][split], figures[name]["n"][split]
        return None if value is None or not n else (value, n)

    found = {e.iteration: of(e.name) for e in record.entries if e.iteration is not None}
    values = {iteration: value for iteration, value in sorted(found.items()) if value is not None}
    return Series(values, of(CONTINUED) if CONTINUED in figures else None)


def accuracy_panels(record: RunRecord, figures: Figures) -> list[Panel]:
    """Accuracy on seen, unseen and all questions over the iterations, one y axis for the three."""
    return _panels(record, {split.capitalize(): _series(record, figures, "accuracy", split) for split in SPLITS})


def subtask_panels(record: RunRecord, figures: Figures) -> list[Panel]:
    """The same for every subtask."""
    names = list(dict.fromkeys(name for values in figures.values() for name in values["by_subtask"]))
    return _panels(record, {name: _series(record, figures, "accuracy", name, subtask=True) for name in names})


def improvement_panels(record: RunRecord, figures: Figures) -> list[Panel]:
    """How often the student tries to improve its answer and what comes of it; repaired and harm on one y axis."""
    titles = {
        "si_freq": ("SI.Freq", "more than one attempt"),
        "si_contrib": ("SI.Contrib", "more than one attempt, finally right"),
        "repaired": ("Repaired", "first attempt wrong, final right"),
        "harm": ("Harm", "first attempt right, final wrong"),
        "first_attempt_accuracy": ("First attempt", "right at once"),
    }
    panels: list[Panel] = []
    for metrics in (["si_freq"], ["si_contrib"], ["repaired", "harm"], ["first_attempt_accuracy"]):
        series = {titles[metric][0]: _series(record, figures, metric, "total") for metric in metrics}
        panels += _panels(record, series, from_zero=True)
    notes = dict(titles.values())
    return [Panel(panel.title, panel.svg, notes[panel.title]) for panel in panels]


def _panels(record: RunRecord, series: dict[str, Series], from_zero: bool = False) -> list[Panel]:
    drawn = {title: one for title, one in series.items() if one.by_iteration}
    if not drawn:
        return []
    low = 0.0 if from_zero else min(one.lowest for one in drawn.values())
    high = max(one.highest for one in drawn.values())
    # Whole tens, and never a window so narrow that noise looks like a result.
    step = 0.1 if high - low > 0.12 or not from_zero else 0.02
    low, high = math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step
    if not from_zero and high - low < 0.3:
        low, high = max(0.0, high - 0.3), min(1.0, max(high, 0.3))
    last = max(iteration for one in drawn.values() for iteration in one.by_iteration)
    return [_panel(record, title, one, (low, min(high, 1.0)), last) for title, one in drawn.items()]


def _panel(record: RunRecord, title: str, one: Series, y: tuple[float, float], last: int) -> Panel:
    axes = Axes(x=(-0.2, max(last, 1) + 0.45), y=y)
    axes.grid(
        [(i, "ft" if i == 0 else str(i)) for i in range(last + 1)],
        [(value, f"{100 * value:.0f} %") for value in ticks(*y, 4)],
        f"{record.method_name} iteration",
    )
    said = []
    start = one.by_iteration.get(0)
    if start is not None:
        axes.level(start[0], "base")
    bands = []
    for iteration, (value, n) in one.by_iteration.items():
        interval = wilson(value, n)
        assert interval is not None, (value, n)
        bands.append((float(iteration), *interval))
        said.append(f"{_place(iteration)} {percent(value)} ({100 * interval.low:.0f} to {100 * interval.high:.0f})")
    axes.band(bands, "ours")
    axes.line([(i, value) for i, (value, _) in one.by_iteration.items()], "ours")
    for (iteration, (value, n)), words in zip(one.by_iteration.items(), said, strict=True):
        axes.dot(iteration, value, "ours" if iteration else "base", f"{words}, n = {n}")
    if one.control is not None:
        value, n = one.control
        interval = wilson(value, n)
        assert interval is not None, (value, n)
        words = f"{CONTINUED} {percent(value)} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"
        x = max(last, 1) + 0.18
        axes.whisker(x, interval.low, interval.high, "control")
        axes.diamond(x, value, "control", f"{words}, n = {n}")
        said.append(words)
    n = next(iter(one.by_iteration.values()))[1]
    return Panel(title, axes.svg(f"{title}: {'; '.join(said)}"), f"n = {n:,}")


def _place(iteration: int) -> str:
    return RATIONALE if iteration == 0 else f"iteration {iteration}"


def loss_panels(record: RunRecord) -> list[Panel]:
    """Training loss by optimiser step, one panel per training, one y axis for all. Faint: as logged; bold: a running
    mean."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in ordered_entries(record):
        for stage in ordered_stages(entry):
            if stage_kind(stage) != "train":
                continue
            losses = (manifest_of(entry.stages[stage]).get("metrics") or {}).get("losses") or []
            points = [(float(x["step"]), x["loss"]) for x in losses if x.get("loss") is not None]
            points = [(step, float(loss)) for step, loss in points if math.isfinite(loss)]
            if points:
                curves[entry.name if stage == "train" else f"{entry.name}, {stage.partition('-')[2]}"] = points
    if not curves:
        return []
    high = max(loss for points in curves.values() for _, loss in points)
    panels = []
    for title, points in curves.items():
        last = points[-1][0]
        axes = Axes(x=(0, last), y=(0, high or 1), height=190)
        x_ticks = [(x, f"{x:,.0f}") for x in ticks(0, last, 4) if x == int(x)]
        axes.grid(x_ticks, [(y, f"{y:g}") for y in ticks(0, high, 4)], "optimiser step")
        axes.line(_thin(points), "raw")
        axes.line(_thin(_running_mean(points, max(1, len(points) // 20))), "ours")
        said = f"{title}: loss from {points[0][1]:.3g} to {points[-1][1]:.3g} in {last:,.0f} steps"
        panels.append(Panel(title, axes.svg(said), f"{points[0][1]:.2f} → {points[-1][1]:.2f}"))
    return panels


def _running_mean(points: Sequence[tuple[float, float]], reach: int) -> list[tuple[float, float]]:
    """Over `reach` neighbours to each side."""
    means = []
    for i, (step, _) in enumerate(points):
        window = points[max(0, i - reach) : i + reach + 1]
        means.append((step, sum(loss for _, loss in window) / len(window)))
    return means


def _thin(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    stride = max(1, math.ceil(len(points) / _MAX_CURVE_POINTS))
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


@dataclass(frozen=True, slots=True)
class BarRow:
    """One labelled bar of a table."""

    label: str
    svg: Markup
    value: str


def time_rows(record: RunRecord) -> tuple[list[str], list[BarRow]]:
    """Seconds by kind of stage, one bar per entry on one scale; and the kinds there are."""
    by_entry: dict[str, dict[str, float]] = {}
    for entry in ordered_entries(record):
        seconds: dict[str, float] = {}
        for stage in ordered_stages(entry):
            kind = stage_kind(stage)
            seconds[kind] = seconds.get(kind, 0.0) + float(manifest_of(entry.stages[stage]).get("seconds", 0.0))
        by_entry[entry.name] = seconds
    longest = max((sum(seconds.values()) for seconds in by_entry.values()), default=0.0)
    rows = [
        BarRow(
            name,
            bar([(s, f"kind-{kind}", f"{kind} {duration(s)}") for kind, s in seconds.items()], longest),
            duration(sum(seconds.values())),
        )
        for name, seconds in by_entry.items()
    ]
    return list(dict.fromkeys(kind for seconds in by_entry.values() for kind in seconds)), rows


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """First attempts of the student on the training questions, by class of their first error and iteration."""

    iterations: list[int]
    rows: list[tuple[str, list[BarRow | None]]]
    judged: list[int]


def error_table(record: RunRecord) -> ErrorTable:
    counts: dict[int, dict[str, int]] = {}
    for entry in ordered_entries(record):
        ref = entry.stages.get("judged") or entry.stages.get("feedback-0")
        if entry.iteration is None or ref is None:
            continue
        metrics = manifest_of(ref).get("metrics") or {}
        counts[entry.iteration] = {
            "directly correct": int(metrics.get("num_directly_correct", 0)),
            **{str(name): int(n) for name, n in (metrics.get("error_classes") or {}).items()},
        }
    totals: dict[str, int] = {}
    for one in counts.values():
        for name, n in one.items():
            totals[name] = totals.get(name, 0) + n
    names = sorted(totals, key=lambda name: (name != "directly correct", -totals[name], name))
    judged = {i: sum(one.values()) for i, one in counts.items()}
    largest = max((n / (judged[i] or 1) for i, one in counts.items() for n in one.values()), default=0.0)
    rows: list[tuple[str, list[BarRow | None]]] = []
    for name in names:
        cells: list[BarRow | None] = []
        for iteration, one in counts.items():
            n = one.get(name, 0)
            share = n / (judged[iteration] or 1)
            class_ = "good" if name == "directly correct" else "bad"
            drawn = bar([(share, class_, f"{n:,} of {judged[iteration]:,}")], largest)
            cells.append(BarRow(f"{n:,}", drawn, percent(share, 0)) if n else None)
        rows.append((spaced(name), cells))
    return ErrorTable(list(counts), rows, list(judged.values()))


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """What one stage got, kept and dropped."""

    stage: str
    num_in: int
    num_kept: int
    svg: Markup
    dropped: list[tuple[str, int]]


def funnel(entry: Entry) -> list[FunnelRow]:
    """Every stage of an entry that passes rows on; bars on one scale."""
    found = []
    for stage in ordered_stages(entry):
        if stage_kind(stage) == "evaluate":
            continue
        manifest = manifest_of(entry.stages[stage])
        found.append((stage, int(manifest.get("in", 0)), int(manifest.get("kept", 0)), dropped_of(manifest)))
    widest = max((max(num_in, kept, kept + sum(n for _, n in gone)) for _, num_in, kept, gone in found), default=0)
    return [
        FunnelRow(
            stage,
            num_in,
            kept,
            bar(
                [(kept, "good", f"kept {kept:,}"), *((n, "lost", f"{spaced(reason)} {n:,}") for reason, n in dropped)],
                widest,
            ),
            [(spaced(reason), n) for reason, n in dropped],
        )
        for stage, num_in, kept, dropped in found
    ]
