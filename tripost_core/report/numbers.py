"""The figures of a run as its manifests give them: `report.json` (schema 1, docs/architecture.md) and the score table.

Light on purpose: every `tripost run` ends here, and so does the flow's artifact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tripost_core.buffers import Ref, read_manifest, read_table
from tripost_core.config import CONTINUED, RATIONALE
from tripost_core.errors import StorageError
from tripost_core.metrics import SHARES
from tripost_core.record import Entry, RunRecord
from tripost_core.report.text import percent, reveal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCHEMA = 1
SPLITS = ("seen", "unseen", "total")
METRICS = tuple(SHARES)
_KINDS = (
    *("problems", "rationales", "generate", "judged", "demonstrate", "feedback", "improve", "filter", "select"),
    *("balance", "train", "evaluate"),
)
"""In the order in which they run; `judged` is FBK on the student's attempts where an expert's are trained on."""
_SCORES = {
    "seen": ("accuracy", "seen"),
    "unseen": ("accuracy", "unseen"),
    "total": ("accuracy", "total"),
    "first": ("first_attempt_accuracy", "total"),
    "si_freq": ("si_freq", "total"),
    "si_contrib": ("si_contrib", "total"),
    "repaired": ("repaired", "total"),
    "harm": ("harm", "total"),
}
CUT_OFF_TOLD_FROM = 0.01
"""Share of a stage's outputs."""
_CUT_OFF = {
    "generate": ("", "attempts at training questions for"),
    "evaluate": (", and counted as wrong", "answers to test questions of"),
}
_HEADINGS = {"si_freq": "SI.\nFreq", "si_contrib": "SI.\nContrib"}


def stage_kind(stage: str) -> str:
    """`improve-2` -> `improve`."""
    return stage.partition("-")[0]


def stage_order(stage: str) -> tuple[int, int, int]:
    """Sorts the stages of an entry as they ran: rounds of improve and feedback interleave."""
    kind, _, number = stage.partition("-")
    rank = _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
    in_rounds = kind in ("feedback", "improve")
    return (
        _KINDS.index("feedback") if in_rounds else rank,
        int(number) if number.isdigit() else 0,
        0 if kind == "improve" else 1,
    )


def ordered_entries(record: RunRecord) -> list[Entry]:
    """Iterations 0 to t, then the comparisons."""
    return sorted(record.entries, key=lambda e: (e.iteration is None, e.iteration or 0))


def ordered_stages(entry: Entry) -> list[str]:
    return sorted(entry.stages, key=stage_order)


def manifest_of(ref: Ref) -> dict[str, Any]:
    """The stage's manifest. Raises StorageError where it is gone."""
    manifest = read_manifest(ref.uri)
    if manifest is None:
        raise StorageError(f"The run's stage {ref.uri} is gone: it has no manifest.")
    return manifest


def dropped_of(manifest: dict[str, Any]) -> list[tuple[str, int]]:
    """(reason, rows) that a stage dropped, most first; reasons that hit no row left out."""
    counts = [(str(reason), int(n)) for reason, n in (manifest.get("dropped") or {}).items() if n]
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def relocated(record: RunRecord, run_dir: Path) -> RunRecord:
    """The record of a run whose directory was moved or copied: references into its old `stages/` that lead nowhere
    are turned to the directory beside it, or for a cell to that of its sweep."""
    directory = run_dir.absolute()
    places = [directory / "stages", directory.parent.parent / "stages"]

    def move(ref: Ref) -> Ref:
        _, found, below = ref.uri.rpartition("/stages/")
        here = [path for place in places if ((path := place / unquote(below)) / "manifest.json").exists()]
        if not found or not here or read_manifest(ref.uri) is not None:
            return ref
        return ref.model_copy(update={"uri": str(here[0])})

    entries = [e.model_copy(update={"stages": {s: move(ref) for s, ref in e.stages.items()}}) for e in record.entries]
    problems = None if record.problems is None else move(record.problems)
    return record.model_copy(update={"entries": entries, "problems": problems})


def is_complete(record: RunRecord) -> bool:
    """Whether nothing of the run is left to do but its report (`finished` is set once that is written too)."""
    evaluated = {entry.name for entry in record.entries if "evaluate" in entry.stages}
    config = record.run_config
    wanted = {config.entry_name(iteration) for iteration in range(1, config.iterations + 1)}
    trained = any(entry.iteration and "train" in entry.stages for entry in record.entries)
    compared = CONTINUED in evaluated or config.method != "tripost" or not trained
    ended = bool(record.message) or wanted <= evaluated
    return record.finished or (ended and RATIONALE in evaluated and compared)


def report_json(record: RunRecord) -> dict[str, Any]:
    """`report.json`, schema 1. Raises StorageError where a stage's manifest is gone.

    An entry whose evaluation is not there yet has `n` 0 and null metrics, so that its shape is that of all others.
    """
    return {
        "schema": SCHEMA,
        "run_id": record.run_id,
        "task": record.task_name,
        "config_fingerprint": record.config_fingerprint,
        "iterations": [_entry(entry) for entry in ordered_entries(record)],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    manifests = {stage: manifest_of(entry.stages[stage]) for stage in ordered_stages(entry)}
    experts = [manifest.get("expert") or {} for manifest in manifests.values()]
    return {
        "iteration": entry.iteration,
        "name": entry.name,
        "eval": complete_eval((manifests.get("evaluate", {}).get("metrics") or {}).get("eval") or {}),
        "buffers": {
            stage: {
                "in": int(manifest.get("in", 0)),
                "kept": int(manifest.get("kept", 0)),
                "dropped": {reason: int(n) for reason, n in (manifest.get("dropped") or {}).items()},
            }
            for stage, manifest in manifests.items()
        },
        "seconds": {stage: float(manifest.get("seconds", 0.0)) for stage, manifest in manifests.items()},
        "expert": {
            "calls": int(sum(expert.get("calls", 0) for expert in experts)),
            "cache_hits": int(sum(expert.get("cache_hits", 0) for expert in experts)),
            "cost_usd": float(sum(expert.get("cost_usd", 0.0) for expert in experts)),
        },
    }


def complete_eval(figures: dict[str, Any]) -> dict[str, Any]:
    """Every field of `eval`, null where there is no number (no questions of that kind, or not evaluated)."""

    def of(holder: dict[str, Any], metric: str) -> dict[str, float | None]:
        values = holder.get(metric) or {}
        return {split: _number(values.get(split)) for split in SPLITS}

    return {
        "n": {split: int((figures.get("n") or {}).get(split) or 0) for split in SPLITS},
        **{metric: of(figures, metric) for metric in METRICS},
        "by_subtask": {
            name: {
                "n": int(values.get("n") or 0),
                **{metric: _number(values.get(metric)) for metric in METRICS},
            }
            for name, values in (figures.get("by_subtask") or {}).items()
        },
    }


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def rights(entry: Entry) -> dict[str, tuple[bool, bool]]:
    """{problem id: (final answer right, seen)} of the entry's evaluation; empty where there is none."""
    if "evaluate" not in entry.stages:
        return {}
    columns = read_table(entry.stages["evaluate"]).select(["problem_id", "right", "seen"]).to_pydict()
    return {
        problem: (bool(right), bool(seen))
        for problem, right, seen in zip(columns["problem_id"], columns["right"], columns["seen"], strict=True)
    }


def score_rows(record: RunRecord) -> list[dict[str, Any]]:
    """One row per evaluated entry: name, seen, unseen, total, first, si_freq, si_contrib, repaired, harm (shares of
    1, None where there are no such questions) and n (test questions)."""
    rows = []
    for entry in ordered_entries(record):
        if "evaluate" not in entry.stages:
            continue
        figures = complete_eval((manifest_of(entry.stages["evaluate"]).get("metrics") or {}).get("eval") or {})
        scores = {name: figures[metric][split] for name, (metric, split) in _SCORES.items()}
        rows.append({"name": entry.name, **scores, "n": figures["n"]["total"]})
    return rows


def score_table(record: RunRecord) -> Table:
    """`score_rows` for a terminal."""
    from rich.table import Table
    from rich.text import Text

    # Within 80 columns: in percent without the sign, one space between columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("\n%", no_wrap=True)
    for name in (*_SCORES, "n"):
        table.add_column(_HEADINGS.get(name, f"\n{name}"), justify="right", no_wrap=True)
    for row in score_rows(record):
        cells = [percent(row[name]).removesuffix(" %") for name in _SCORES]
        table.add_row(Text(reveal(row["name"]), style="bold"), *cells, str(row["n"]))
    return table


def cut_off(record: RunRecord, stages: Iterable[str] = tuple(_CUT_OFF)) -> list[str]:
    """A sentence for each of `stages` in which CUT_OFF_TOLD_FROM of the outputs for some student, or more, ran into a
    length limit: an answer that was cut off is wrong, so a low limit looks like a student that breaks its answers.

    Raises StorageError where the manifest of such a stage is gone.
    """
    sentences = []
    for stage in stages:
        consequence, what = _CUT_OFF[stage]
        manifests = {e.name: manifest_of(e.stages[stage]) for e in ordered_entries(record) if stage in e.stages}
        counts = {name: (int(m["metrics"].get("num_truncated", 0)), int(m["in"])) for name, m in manifests.items()}
        found = [f"{name} ({k:,} of {n:,})" for name, (k, n) in counts.items() if k and k >= CUT_OFF_TOLD_FROM * n]
        if found:
            limit = f"{stage}.max_new_tokens = {getattr(record.run_config, stage).max_new_tokens}"
            sentences.append(
                f"Cut off at {limit} or the student's context{consequence}: {what} {', '.join(found)}."
                " Raise it, unless they run in circles."
            )
    return sentences


def print_scores(record: RunRecord, console: Console) -> None:
    """The score table, or a line that says that there is none, and what was cut off."""
    table = score_table(record)
    console.print(table if table.row_count else "Nothing has been evaluated yet.")
    for sentence in cut_off(record):
        console.print(sentence, markup=False)
