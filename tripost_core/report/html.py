"""`report.html`: one file that shows a run, needs no network and runs nothing that came from a model.

Every string is revealed (`text.reveal`) and escaped by the template engine; the Content-Security-Policy allows exactly
our one style sheet and our one script, by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tripost_core.buffers import Ref
from tripost_core.config import CONTINUED, RATIONALE
from tripost_core.record import RunRecord
from tripost_core.report import figures as charts
from tripost_core.report.intervals import wilson
from tripost_core.report.numbers import (
    METRICS,
    SPLITS,
    cut_off,
    is_complete,
    manifest_of,
    ordered_entries,
    ordered_stages,
    report_json,
    rights,
)
from tripost_core.report.summary import deltas, last_iteration, summary
from tripost_core.report.text import duration, percent, points, reveal, spaced
from tripost_core.report.trajectories import OUTCOMES, TrajectoryView, choose, load_trajectories

_HERE = Path(__file__).parent
MAX_TRAJECTORIES = 96
COLUMNS = {
    "accuracy": ("Accuracy", "the final answer is right"),
    "first_attempt_accuracy": ("First attempt", "the first attempt's answer is right"),
    "directly_correct": ("Directly correct", "right, and the student did not try to improve it"),
    "si_freq": ("SI.Freq", "the student made more than one attempt"),
    "si_contrib": ("SI.Contrib", "it made more than one attempt and was finally right"),
    "repaired": ("Repaired", "the first attempt was wrong and the final one right"),
    "harm": ("Harm", "the first attempt was right and the final one wrong"),
}
assert tuple(COLUMNS) == METRICS
_TILES = {
    "tripost": "the same student, trained on its own mistakes",
    "workings": "the same student, trained on rationales with workings",
    "lmsi": "the same student, trained on its own attempts",
    "si-demo": "the same student, trained on an expert's mistakes",
}
_METHOD_ROWS = {
    "tripost": (
        "tripost-k",
        "the student after k iterations of attempting, being corrected, and training on the corrections",
    ),
    "workings": ("workings-k", "the student after k iterations of training on gold rationales with workings"),
    "lmsi": ("lmsi-k", "the student after k iterations of training on its own attempts, chosen by their final answers"),
    "si-demo": ("si-demo", "the student after training on an expert's own mistakes, criticised and repaired"),
}
"""What the rows of a method are, in the table's legend."""


def render_report(record: RunRecord) -> str:
    """The page. Raises StorageError where a buffer that it shows is gone or altered."""
    return render_page("report.html.j2", **_context(record))


def render_page(template: str, **context: Any) -> str:
    """A template of this directory with our style sheet and script, and nothing from anywhere else."""
    style = _own("report.css")
    script = _own("report.js")
    policy = (
        f"default-src 'none'; style-src '{_csp_hash(style)}'; script-src '{_csp_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever a template prints is revealed, wherever it came from; markup is ours alone.
        finalize=lambda value: reveal(value) if type(value) is str else value,
    )
    environment.filters |= {"percent": percent, "points": points, "spaced": spaced, "duration": duration}
    page = environment.get_template(template).render(
        style=Markup(style), script=Markup(script), policy=policy, **context
    )
    return page.rstrip() + "\n"


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _context(record: RunRecord) -> dict[str, Any]:
    numbers = report_json(record)
    figures = {entry["name"]: entry["eval"] for entry in numbers["iterations"]}
    answers = {entry.name: rights(entry) for entry in record.entries}
    against_rationale, against_continued = deltas(answers, RATIONALE), deltas(answers, CONTINUED)
    everything = load_trajectories(record)
    shown = choose(everything, MAX_TRAJECTORIES)
    kinds, times = charts.time_rows(record)
    experts = [entry["expert"] for entry in numbers["iterations"]]
    return {
        "record": record,
        "config": record.config,
        "task": spaced(record.task_name),
        "num_test": max((values["n"]["total"] for values in figures.values()), default=0),
        "state": "ended early" if record.message else "finished" if is_complete(record) else "unfinished",
        "tiles": _tiles(record, figures),
        "sentences": summary(record, figures, against_rationale, against_continued),
        "columns": COLUMNS,
        "splits": SPLITS,
        "scores": _scores(record, figures, against_rationale, against_continued),
        "rationale": RATIONALE,
        "continued": CONTINUED,
        "method": record.method_name,
        "method_row": _METHOD_ROWS.get(record.method),
        "accuracy_panels": charts.accuracy_panels(record, figures),
        "subtask_panels": charts.subtask_panels(record, figures),
        "subtasks": _subtasks(figures),
        "improvement_panels": charts.improvement_panels(record, figures),
        "cut_off": cut_off(record),
        "loss_panels": charts.loss_panels(record),
        "time_kinds": kinds,
        "time_rows": times,
        "num_seconds": sum(sum(entry["seconds"].values()) for entry in numbers["iterations"]),
        "expert": {key: sum(expert[key] for expert in experts) for key in ("calls", "cache_hits", "cost_usd")},
        "errors": charts.error_table(record),
        "funnels": [(e.name, charts.funnel(e)) for e in ordered_entries(record) if e.iteration and e.stages],
        "trajectories": list(zip(shown, _titles(shown), strict=True)),
        "num_trajectories": len(everything),
        "outcomes": OUTCOMES,
        "choices": _choices(shown),
        "config_yaml": yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True),
        "provenance": _provenance(record),
        "started": _started(record),
    }


def _tiles(record: RunRecord, figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The three accuracies that a reader wants first."""
    tiles = []
    for name in (RATIONALE, last_iteration(record, figures), CONTINUED):
        if name is None or name not in figures or not figures[name]["n"]["total"]:
            continue
        values = figures[name]
        about = {
            RATIONALE: "the start: fine-tuned on gold rationales",
            CONTINUED: "the comparison: gold rationales for as many steps",
        }.get(name, _TILES.get(record.method, ""))
        tiles.append(
            {
                "name": name,
                "about": about,
                "accuracy": values["accuracy"],
                "interval": wilson(values["accuracy"]["total"], values["n"]["total"]),
                "class_": {RATIONALE: "base", CONTINUED: "control"}.get(name, "ours"),
            }
        )
    return tiles


def _scores(
    record: RunRecord, figures: dict[str, dict[str, Any]], against_rationale: Any, against_continued: Any
) -> list[dict[str, Any]]:
    rows = []
    nothing = dict.fromkeys(SPLITS)
    for entry in ordered_entries(record):
        values = figures[entry.name]
        intervals = {split: wilson(values["accuracy"][split], values["n"][split]) for split in SPLITS}
        rows.append(
            {
                "name": entry.name,
                "class_": "ours" if entry.iteration else "base" if entry.iteration == 0 else "control",
                "eval": values,
                "evaluated": values["n"]["total"] > 0,
                "intervals": intervals,
                "against_rationale": against_rationale.get(entry.name, nothing),
                "against_continued": against_continued.get(entry.name, nothing),
            }
        )
    return rows


def _subtasks(figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy of every entry by subtask, in the order of the evaluation."""
    evaluated = {name: values["by_subtask"] for name, values in figures.items() if values["n"]["total"]}
    names = list(dict.fromkeys(name for values in evaluated.values() for name in values))
    rows = []
    for name in names:
        cells = [values.get(name, {}) for values in evaluated.values()]
        n = max((cell.get("n", 0) for cell in cells), default=0)
        rows.append({"name": name, "n": n, "values": [cell.get("accuracy") for cell in cells]})
    return rows


def _titles(shown: list[TrajectoryView]) -> list[str]:
    """The questions on one line, without the words that all of them begin with."""
    questions = [" ".join(trajectory.question.split()) for trajectory in shown]
    # What the first and the last in alphabetical order share, all share.
    low, high = min(questions, default=""), max(questions, default="")
    num_shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), 0)
    cut = low.rfind(" ", 0, num_shared) + 1
    return questions if cut < 12 else [f"… {question[cut:]}" for question in questions]


def _choices(shown: list[TrajectoryView]) -> dict[str, list[tuple[str, str]]]:
    """The filters of the viewer: (value, label)."""
    return {
        "iteration": [(str(i), f"iteration {i}") for i in sorted({t.iteration for t in shown})],
        "outcome": [(name, label) for name, label in OUTCOMES.items() if any(t.outcome == name for t in shown)],
        "error": [(name, spaced(name)) for name in sorted({t.error_class for t in shown if t.error_class})],
        "subtask": [(name, name) for name in sorted({t.subtask for t in shown})],
    }


def _provenance(record: RunRecord) -> list[dict[str, Any]]:
    """What each stage made, by digest. No places: the page may leave the machine."""
    refs: list[tuple[str, Ref]] = [] if record.problems is None else [("problems", record.problems)]
    refs += [(f"{e.name}/{stage}", e.stages[stage]) for e in ordered_entries(record) for stage in ordered_stages(e)]
    rows = []
    for label, ref in refs:
        manifest = manifest_of(ref)
        rows.append(
            {
                "label": label,
                "kind": ref.kind,
                "num_rows": None if ref.kind == "checkpoint" else ref.num_rows,
                "key": str(manifest.get("key", "")),
                "digest": ref.digest,
                "seconds": float(manifest.get("seconds", 0.0)),
            }
        )
    return rows


def _started(record: RunRecord) -> str | None:
    starts = [manifest_of(ref).get("started") for ref in record.references()]
    known = [start for start in starts if start]
    return datetime.fromtimestamp(min(known), UTC).strftime("%-d %B %Y, %H:%M UTC") if known else None
