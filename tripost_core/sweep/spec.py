"""SWEEP.yaml: a base configuration, rows or a grid of overrides, seeds. A cell is one ordinary run.

base: word_sorting.yaml              # beside this file
set: {data.num_test_seen: 1000}      # for every cell
seeds: [0, 1, 2]
rows:                                # lines of the table, by name
  tripost: {}
  lmsi: {method: lmsi}
grid:                                # every combination, for each of the rows
  train.learning_rate: [3.0e-4, 1.0e-3]
entries: [last, ft-rationale-continued]
against: [ft-rationale, ft-rationale-continued]
split: seen
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tripost_core.config import CONTINUED, RATIONALE, RunConfig
from tripost_core.config_file import load_config
from tripost_core.errors import ConfigError
from tripost_core.yaml_file import read_yaml, validated

LAST = "last"
"""In the place of an entry's name: the method's last student, e.g. `tripost-3`."""


class SweepSpec(BaseModel):
    """The content of SWEEP.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(description="a run config, beside the sweep file or in the working directory")
    set: dict[str, Any] = Field(default_factory=dict, description="overrides of every cell")
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    rows: dict[str, dict[str, Any]] = Field(default_factory=dict, description="overrides by name of the row")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="values by key; every combination")
    entries: list[str] = Field(
        default=[LAST, CONTINUED],
        min_length=1,
        description="students shown of a cell, where it has them",
    )
    against: list[str] = Field(
        default=[RATIONALE, CONTINUED],
        description="what the shown students are compared with: an ENTRY of the same cell, or ROW/ENTRY",
    )
    split: Literal["seen", "unseen", "total"] = Field("seen", description="the questions that count")

    @model_validator(mode="after")
    def _has_cells(self) -> SweepSpec:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands in seeds twice")
        if any(not values for values in self.grid.values()):
            raise ValueError("a key of the grid has no values")
        for name in self.against:
            row, found, _ = name.partition("/")
            if name in self.row_names() and name not in (RATIONALE, CONTINUED, LAST):
                raise ValueError(f"against names the row {name!r}, of which one student has to be named: {name}/last")
            if found and row not in self.row_names():
                raise ValueError(f"against names the row {row!r}; the rows are {', '.join(self.row_names())}")
        return self

    def row_names(self) -> list[str]:
        return list(self.row_overrides())

    def row_overrides(self) -> dict[str, dict[str, Any]]:
        """{name of a row: its overrides}: the rows, times the grid."""
        found: dict[str, dict[str, Any]] = {}
        for name, overrides in (self.rows or {"": {}}).items():
            for values in product(*self.grid.values()):
                point = dict(zip(self.grid, values, strict=True))
                said = [f"{key.rpartition('.')[2]}={_short(value)}" for key, value in point.items()]
                found[" ".join([name, *said] if name else said) or "run"] = {**overrides, **point}
        return found


class Cell(NamedTuple):
    """One run. `name`: its directory's, under `cells/` of the sweep's."""

    row: str
    seed: int
    config: RunConfig
    name: str


def read_sweep(path: Path) -> SweepSpec:
    """Raises ConfigError."""
    return validated(SweepSpec, read_yaml(path, "sweep file"), f"The sweep file {path}")


def cells(spec: SweepSpec, path: Path, output: Path) -> list[Cell]:
    """Every run of the sweep of the file `path`, with the stages of all of them in `output`/stages, so that equal ones
    (the questions, ft rationale) are computed once. In the order of the seeds: whole comparisons are done first.

    Raises ConfigError where a cell's configuration is wrong, or two rows come to the same directory.
    """
    base = path.absolute().parent / spec.base
    base = base if base.exists() else Path(spec.base)
    store = str(output.absolute())
    found = []
    for seed in spec.seeds:
        for row, overrides in spec.row_overrides().items():
            settings = {**spec.set, **overrides, "seed": seed, "compute.store": store, "compute.store_by_run": False}
            config = load_config(base, [f"{key}={yaml.safe_dump(value)}" for key, value in settings.items()])
            found.append(Cell(row, seed, config, f"{_slug(row)}-seed-{seed}"))
    if len({cell.name for cell in found}) < len(found):
        raise ConfigError(f"{path}: two rows have names that differ in punctuation alone.")
    return found


def chosen(found: list[Cell], rows: Collection[str], seeds: Collection[int]) -> list[Cell]:
    """The cells of these rows and seeds; all where none is named. Raises ConfigError where the sweep has none such."""
    for wanted, there, what in (
        (rows, list(dict.fromkeys(cell.row for cell in found)), "row"),
        (seeds, list(dict.fromkeys(cell.seed for cell in found)), "seed"),
    ):
        for name in wanted:
            if name not in there:
                raise ConfigError(f"The sweep has no {what} {name!r}; it has {', '.join(map(str, there))}.")
    return [cell for cell in found if (not rows or cell.row in rows) and (not seeds or cell.seed in seeds)]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z.=-]+", "-", name).strip("-") or "row"
