"""What the cells of a sweep come to: means over seeds and questions, with paired 95 % bootstrap intervals.

A figure is a number per question: 1 or 0, or -1 where it is a difference. All cells of a seed have the same questions,
so a difference of two students is a number per question as well, and its interval is that of its mean. One resample
draws seeds, then questions within each, or, where all seeds have the same questions (those of a file), one set of
questions for all of them; with one seed it says nothing of the choice of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tripost_core.buffers import read_table
from tripost_core.errors import StorageError
from tripost_core.record import Entry, RunRecord, fingerprint, read_record
from tripost_core.report.numbers import cut_off, manifest_of, relocated
from tripost_core.sweep.spec import LAST, Cell, SweepSpec

RESAMPLES = 10_000
FIGURES = ("accuracy", "first_attempt_accuracy", "si_freq", "si_contrib", "repaired", "harm", "net")
"""As in report.json; `net` is repaired minus harm, that is accuracy minus first-attempt accuracy."""

JUDGING = ("found", "step", "false_alarms")

Answers = dict[str, dict[str, int]]
"""{figure: {question: -1, 0 or 1}} of one student on one seed's questions."""


class Estimate(NamedTuple):
    """A mean and its 95 % interval; `num_seeds` and `num_questions` (different ones, of all seeds) that it is over."""

    mean: float
    low: float
    high: float
    num_seeds: int
    num_questions: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


class Line(NamedTuple):
    """One line of the table: a student of a row. `differences` by the names in `against`; None where there is nothing
    to compare with, or it is the student itself."""

    row: str
    entry: str
    seeds: list[int]
    figures: dict[str, Estimate]
    differences: dict[str, Estimate | None]


class Point(NamedTuple):
    """A student of a row on one seed."""

    row: str
    seed: int
    entry: str
    num_questions: int
    figures: dict[str, float]
    judging: dict[str, float | None]
    """`found`, `step`, `false_alarms` of `metrics.own_feedback`, on all test questions; empty where nobody can tell."""


class Results(NamedTuple):
    lines: list[Line]
    points: list[Point]
    messages: list[str]
    """What is missing, and why."""
    num_failed: int
    """Cells that could not be computed."""
    num_missing: int
    """Cells that have not been computed, the failed ones among them."""


def collect(spec: SweepSpec, cells: Sequence[Cell], output: Path, failures: Mapping[str, str]) -> Results:
    """The table of what has been computed so far. `failures`: {cell: why}. Raises StorageError.

    What a cell's directory holds of other settings, of the sweep file as it once was, is no part of it.
    """
    answers: dict[tuple[str, str], dict[int, Answers]] = {}
    last_names: dict[str, dict[int, str]] = {}
    judging: dict[tuple[str, str, int], dict[str, float | None]] = {}
    messages = [f"{cell.name}: {failures[cell.name]}" for cell in cells if cell.name in failures]
    num_missing = 0
    for cell in cells:
        directory = output / "cells" / cell.name
        record = read_record(directory)
        if record is None or not record.finished or record.config_fingerprint != fingerprint(cell.config):
            num_missing += 1
            continue
        record = relocated(record, directory)
        evaluated = [entry for entry in record.entries if "evaluate" in entry.stages]
        try:
            read = {entry.name: (read_answers(entry, spec.split), _judging(entry)) for entry in evaluated}
        except StorageError:  # a buffer is gone or altered: the cell is to be computed again
            num_missing += 1
            continue
        messages += [f"{cell.name}: {said}" for said in (record.message, *cut_off(record, ["evaluate"])) if said]
        for name, (found, own) in read.items():
            answers.setdefault((cell.row, name), {})[cell.seed] = found
            judging[cell.row, name, cell.seed] = own
        last = _last_name(record)
        if last in read:
            answers.setdefault((cell.row, LAST), {})[cell.seed] = read[last][0]
            last_names.setdefault(cell.row, {})[cell.seed] = last
    planned = {cell.row: cell.config.entry_name(cell.config.iterations) for cell in cells}
    lines, points = [], []
    for row in spec.row_names():
        for wanted in dict.fromkeys(spec.entries):
            by_seed = answers.get((row, wanted))
            if by_seed is None or (wanted == planned[row] and LAST in spec.entries):
                continue
            names = last_names[row] if wanted == LAST else dict.fromkeys(by_seed, wanted)
            differences = {against: _difference(answers, row, wanted, against) for against in spec.against}
            figures = {figure: _estimate([found[figure] for found in by_seed.values()]) for figure in FIGURES}
            lines.append(Line(row, _label(names, planned[row]), sorted(by_seed), figures, differences))
            for seed, found in sorted(by_seed.items()):
                name = names[seed]
                means = {figure: float(np.mean(_values(found, figure))) for figure in FIGURES}
                points.append(Point(row, seed, name, len(found["accuracy"]), means, judging.get((row, name, seed), {})))
    return Results(lines, points, messages, len(failures), num_missing)


def read_answers(entry: Entry, split: str) -> Answers:
    """Of an evaluated student on the questions of one split. Raises StorageError."""
    columns = ["problem_id", "seen", "right", "first_right", "attempted"]
    rows = read_table(entry.stages["evaluate"]).select(columns).to_pylist()
    rows = [row for row in rows if split == "total" or row["seen"] == (split == "seen")]
    answers: Answers = {figure: {} for figure in FIGURES}
    for row in rows:
        right, first, attempted = (int(row[name]) for name in ("right", "first_right", "attempted"))
        values = (right, first, attempted, right * attempted, right * (1 - first), first * (1 - right), right - first)
        for figure, value in zip(FIGURES, values, strict=True):
            answers[figure][row["problem_id"]] = value
    return answers


def _label(names: Mapping[int, str], planned: str) -> str:
    """Of a line: its student, and where seeds ended early, which student theirs is."""
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    early = [f"seed {seed}: {name}" for seed, name in sorted(names.items()) if name != planned]
    return f"{planned} ({', '.join(early)})"


def _judging(entry: Entry) -> dict[str, float | None]:
    own = manifest_of(entry.stages["evaluate"])["metrics"].get("own_feedback", {})
    return {name: own.get(name) for name in JUDGING}


def _estimate(by_seed: Sequence[Mapping[str, int]]) -> Estimate:
    """`estimate` of {question: value} for each seed."""
    same = len({frozenset(values) for values in by_seed}) == 1
    return estimate([np.array([values[q] for q in sorted(values)]) for values in by_seed], same_questions=same)


def estimate(by_seed: Sequence[np.ndarray], resamples: int = RESAMPLES, same_questions: bool = False) -> Estimate:
    """Mean over seeds of the mean over questions, from [questions] of -1, 0 and 1 for each seed, and its interval.

    Questions that are drawn with replacement are counts of the three values, so a resample is a multinomial draw. With
    `same_questions` the arrays are of the same questions in the same order, and a question is drawn for all seeds.
    """
    by_seed = [values for values in by_seed if len(values)]
    if not by_seed:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    rng = np.random.default_rng(0)
    mean = float(np.mean([values.mean() for values in by_seed]))
    if same_questions and len(by_seed) > 1:
        patterns, counts = np.unique(np.stack(by_seed), axis=1, return_counts=True)
        num_seeds, num_questions = len(by_seed), int(counts.sum())
        questions = rng.multinomial(num_questions, counts / num_questions, resamples) / num_questions
        seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), resamples) / num_seeds
        low, high = np.percentile((questions @ patterns.T * seeds).sum(1), [2.5, 97.5])
        return Estimate(mean, float(low), float(high), num_seeds, num_questions)
    drawn = rng.integers(0, len(by_seed), (resamples, len(by_seed)))
    means = np.empty(drawn.shape)
    for seed, values in enumerate(by_seed):
        shares = [float(np.mean(values == value)) for value in (-1, 0, 1)]
        here = drawn == seed
        counts = rng.multinomial(len(values), shares, int(here.sum()))
        means[here] = (counts[:, 2] - counts[:, 0]) / len(values)
    low, high = np.percentile(means.mean(1), [2.5, 97.5])
    return Estimate(mean, float(low), float(high), len(by_seed), sum(map(len, by_seed)))


def _difference(
    answers: Mapping[tuple[str, str], Mapping[int, Answers]], row: str, entry: str, against: str
) -> Estimate | None:
    """In accuracy, by question, over the seeds and questions that both have."""
    other_row, found, other = against.partition("/")
    other_row, other = (other_row, other) if found else (row, against)
    if (other_row, other) == (row, entry):
        return None
    mine, theirs = answers.get((row, entry), {}), answers.get((other_row, other), {})
    seeds = sorted(mine.keys() & theirs.keys())
    if all(mine[seed] is theirs[seed] for seed in seeds):  # the same student by another name, or no seed in common
        return None
    pairs = []
    for seed in seeds:
        a, b = mine[seed]["accuracy"], theirs[seed]["accuracy"]
        pairs.append({question: a[question] - b[question] for question in a.keys() & b.keys()})
    return _estimate(pairs) if any(pairs) else None


def _values(answers: Answers, figure: str) -> np.ndarray:
    return np.array([answers[figure][question] for question in sorted(answers[figure])])


def _last_name(record: RunRecord) -> str:
    """Of the method's last student that there is: a run may end early."""
    config = record.run_config
    names = [entry.name for entry in record.entries if entry.iteration and "evaluate" in entry.stages]
    return names[-1] if names else config.entry_name(config.iterations)
