"""`tripost sweep`: cells from a file, the arithmetic of the table, and runs that share what is equal."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from small_stages import SmallStages, make_student

from tripost_core.errors import ConfigError, ModelError
from tripost_core.progress import ProgressDisplay
from tripost_core.stages import STAGES, StageResult
from tripost_core.sweep.page import terminal_table
from tripost_core.sweep.results import FIGURES, Estimate, Line, Results, estimate
from tripost_core.sweep.spec import cells, chosen, read_sweep

ROOT = Path(__file__).parents[1]


def sweep_file(directory, text, base="task: word_sorting\niterations: 2\n"):
    (directory / "base.yaml").write_text(base)
    path = directory / "sweep.yaml"
    path.write_text(f"base: base.yaml\n{text}")
    return path


# -- the file ----------------------------------------------------------------------------------------------------------


def test_rows_times_grid_times_seeds(tmp_path):
    text = """
seeds: [3, 4]
set: {data.num_train: 77}
rows: {ours: {}, "theirs: hot": {method: lmsi, lmsi.temperature: 1.5}}
grid: {train.learning_rate: [0.001, 1.0e-4], train.num_epochs: [1]}
"""
    path = sweep_file(tmp_path, text)
    found = cells(read_sweep(path), path, tmp_path / "out")
    assert [(cell.row, cell.seed) for cell in found][:4] == [
        ("ours learning_rate=0.001 num_epochs=1", 3),
        ("ours learning_rate=0.0001 num_epochs=1", 3),
        ("theirs: hot learning_rate=0.001 num_epochs=1", 3),
        ("theirs: hot learning_rate=0.0001 num_epochs=1", 3),
    ]
    assert len(found) == 8 and len({cell.name for cell in found}) == 8
    last = found[-1].config
    assert (last.seed, last.method, last.lmsi.temperature, last.train.learning_rate) == (4, "lmsi", 1.5, 1e-4)
    assert (last.data.num_train, last.iterations, last.compute.store_by_run) == (77, 2, False)
    assert last.compute.store == str(tmp_path / "out")


def test_no_rows_and_no_grid_is_one_row(tmp_path):
    path = sweep_file(tmp_path, "")
    assert [cell.name for cell in cells(read_sweep(path), path, tmp_path)] == [f"run-seed-{s}" for s in (0, 1, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: []", "seeds: "),
        ("seeds: [1, 1]", "stands in seeds twice"),
        ("grid: {train.learning_rate: []}", "has no values"),
        ("against: [other/last]", "names the row 'other'"),
        ("rows: {my row: {}}\nagainst: [my row]", "has to be named: my row/last"),
        ("sedes: [1]", "sedes: "),
        ("rows: {a: {train.lr: 1}}", r"train\.lr"),
        ("rows: {a b: {}, a_b: {}}", "differ in punctuation alone"),
        ("rows: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = sweep_file(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        cells(read_sweep(path), path, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="There is no sweep file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="not a mapping"):
        read_sweep(tmp_path / "list.yaml")


# -- the arithmetic ----------------------------------------------------------------------------------------------------


def test_one_seeds_interval_is_that_of_a_mean_of_questions():
    values = np.array([1] * 300 + [0] * 600 + [-1] * 100)
    found = estimate([values])
    assert found.mean == pytest.approx(0.2)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert (found.low, found.high) == (pytest.approx(0.2 - half, abs=0.004), pytest.approx(0.2 + half, abs=0.004))
    assert (found.num_seeds, found.num_questions, found.shown) == (1, 1000, True)


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not():
    rng = np.random.default_rng(1)
    same = [rng.permutation([1] * 50 + [0] * 50) for _ in range(3)]
    apart = [np.array([1] * n + [0] * (100 - n)) for n in (30, 50, 70)]
    narrow, wide = estimate(same), estimate(apart)
    assert narrow.mean == wide.mean == pytest.approx(0.5)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_as_a_bootstrap_by_hand():
    rng = np.random.default_rng(5)
    seeds = [rng.integers(-1, 2, size=n) for n in (40, 60, 50)]
    means = []
    for _ in range(4000):
        chosen = [seeds[i] for i in rng.integers(0, 3, 3)]
        means.append(np.mean([rng.choice(values, len(values)).mean() for values in chosen]))
    low, high = np.percentile(means, [2.5, 97.5])
    found = estimate(seeds)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))


def test_the_same_questions_with_every_seed_are_drawn_for_all_of_them():
    values = np.array([1, 0] * 50)
    alone = estimate([values])
    same = estimate([values] * 3, same_questions=True)
    assert (same.num_seeds, same.num_questions) == (3, 100)
    assert same.high - same.low == pytest.approx(alone.high - alone.low, abs=0.01)  # three answers say what one says
    others = estimate([values] * 3)
    assert (others.num_questions, round(others.high - others.low, 1)) == (300, 0.1)

    rng = np.random.default_rng(1)
    covered = []
    for _ in range(150):
        hard = rng.random(100)  # a question is as hard for every seed
        seeds = [(rng.random(100) < hard).astype(int) for _ in range(3)]
        found = estimate(seeds, 1000, same_questions=True)
        covered.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) > 0.88


def test_nothing_to_count_is_no_number():
    assert estimate([]).num_questions == estimate([np.array([])]).num_questions == 0


def test_rows_of_a_grid_can_be_told_apart_on_a_narrow_terminal(tmp_path):
    path = sweep_file(tmp_path, "grid: {method: [rationale], train.learning_rate: [0.0001, 0.0003]}")
    spec = read_sweep(path)
    found = Estimate(0.5, 0.4, 0.6, 1, 100)
    figures = dict.fromkeys(FIGURES, found)
    lines = [
        Line(row, "ft-rationale-continued", [0], figures, dict.fromkeys(spec.against, found))
        for row in spec.row_names()
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(terminal_table(Results(lines, [], [], 0, 0), spec))
    shown = console.file.getvalue()
    assert "0.0001" in shown and "0.0003" in shown and "…" not in shown


# -- whole sweeps ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stages(monkeypatch):
    """Small stages whose students answer the better the later they are, LMSI's always wrong."""
    small = SmallStages(num_improvements=100)

    def evaluate(context):
        label = context.request.label
        num_right = {"ft-rationale": 4, "tripost-1": 8, "lmsi-1": 0}.get(label.partition("/")[0], 6)
        rows = [
            {
                **{"problem_id": f"p{i}", "task": "t", "subtask": "s", "seen": i < 10, "question": "q", "answer": "1"},
                **{
                    "attempt_by": "d" * 64,
                    "turns": [],
                    "final_answer": "1",
                    "right": i % 10 < num_right,
                    "first_right": i % 10 < num_right - 1,
                },
                **{"attempted": i % 2 == 0, "truncated": False, "num_tokens": 3},
            }
            for i in range(20)
        ]
        own = {"found": 0.4, "step": 0.3, "false_alarms": 0.1}
        return StageResult("answers-2", rows, num_in=20, num_kept=20, metrics={"eval": {}, "own_feedback": own})

    small.evaluate = evaluate
    for stage in STAGES:
        monkeypatch.setitem(sys.modules, f"tripost_core.stages.{stage}", small.module(stage))
    monkeypatch.setattr("tripost_core.report.write_report", lambda record, output: None)
    return small


@pytest.fixture
def on_this_server(prefect_server, monkeypatch):
    """The sweep takes the test's server for its own."""
    from contextlib import nullcontext

    monkeypatch.setattr("flows.embedded_server.embedded_server", lambda home: nullcontext())


def run(path, output, only=None):
    from flows.sweep import run_sweep

    spec = read_sweep(path)
    with ProgressDisplay() as display:
        return run_sweep(spec, cells(spec, path, output), "my sweep", output, display, only)


ROWS = "seeds: [0, 1]\nrows: {ours: {}, lmsi: {method: lmsi}}\nagainst: [ft-rationale, ours/last]\n"


def test_a_sweep_compares_its_rows_and_computes_what_is_equal_once(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    path = sweep_file(tmp_path, ROWS, f"student: {{model: {student}}}\niterations: 1\n")
    results = run(path, tmp_path / "out")

    assert [(line.row, line.entry, line.seeds) for line in results.lines] == [
        ("ours", "tripost-1", [0, 1]),
        ("ours", "ft-rationale-continued", [0, 1]),
        ("lmsi", "lmsi-1", [0, 1]),
    ]
    ours, continued, lmsi = results.lines
    assert ours.figures["accuracy"].mean == pytest.approx(0.8)
    assert ours.figures["net"].mean == pytest.approx(0.1) == pytest.approx(ours.figures["repaired"].mean)
    assert ours.differences["ft-rationale"].mean == pytest.approx(0.4)
    assert ours.differences["ours/last"] is None
    assert lmsi.differences["ours/last"].mean == pytest.approx(-0.8) and lmsi.differences["ours/last"].shown
    assert continued.differences["ours/last"].mean == pytest.approx(-0.2)
    assert ours.figures["accuracy"].num_questions == 10  # seen ones, the same for both seeds

    assert stages.calls.count("ft-rationale/train") == 2 == stages.calls.count("lmsi-1/train")
    written = list(csv.DictReader((tmp_path / "out" / "table.csv").open()))
    assert [row["student"] for row in written] == ["tripost-1", "ft-rationale-continued", "lmsi-1"]
    assert float(written[0]["minus ft-rationale"]) == pytest.approx(0.4)
    by_seed = list(csv.DictReader((tmp_path / "out" / "cells.csv").open()))
    assert [(row["row"], row["seed"]) for row in by_seed[:2]] == [("ours", "0"), ("ours", "1")]
    assert (by_seed[0]["found"], by_seed[0]["step"], by_seed[0]["false_alarms"]) == ("0.40000", "0.30000", "0.10000")
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["lines"][2]["student"] == "lmsi-1"
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert "my sweep" in page and "<svg" in page and "+40.0" in page and "<script" not in page

    assert {"ft-rationale", "lmsi-1"} <= {place.name for place in (tmp_path / "out" / "stages").iterdir()}

    stages.calls.clear()
    again = run(path, tmp_path / "out")
    assert stages.calls == [] and again.lines == results.lines


def test_a_cell_that_fails_is_named_and_the_others_go_on(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    path = sweep_file(tmp_path, ROWS, f"student: {{model: {student}}}\niterations: 1\n")
    stages.errors["lmsi-1/train"] = [ModelError("it broke.")]
    results = run(path, tmp_path / "out")
    assert results.messages == ["lmsi-seed-0: it broke."] and results.num_failed == 1
    assert [(line.row, line.seeds) for line in results.lines] == [("ours", [0, 1]), ("ours", [0, 1]), ("lmsi", [1])]
    assert "it broke." in (tmp_path / "out" / "sweep.html").read_text()

    assert results.num_missing == 1

    stages.calls.clear()
    assert run(path, tmp_path / "out").num_failed == 0
    assert stages.calls == ["lmsi-1/train", "lmsi-1/evaluate"]


def test_a_part_of_a_sweep_is_computed_and_the_table_has_all_that_is_finished(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    path = sweep_file(tmp_path, ROWS, f"student: {{model: {student}}}\niterations: 1\n")
    found = cells(read_sweep(path), path, tmp_path / "out")
    assert [cell.name for cell in chosen(found, ["lmsi"], [])] == ["lmsi-seed-0", "lmsi-seed-1"]
    assert chosen(found, [], []) == found
    with pytest.raises(ConfigError, match=r"no row 'theirs'; it has ours, lmsi\."):
        chosen(found, ["theirs"], [])
    with pytest.raises(ConfigError, match=r"no seed 2; it has 0, 1\."):
        chosen(found, [], [2])

    results = run(path, tmp_path / "out", chosen(found, ["ours"], [1]))
    assert [(line.row, line.seeds) for line in results.lines] == [("ours", [1]), ("ours", [1])]
    assert results.num_missing == 3 and results.num_failed == 0
    results = run(path, tmp_path / "out", chosen(found, ["lmsi"], [1]))
    assert [(line.row, line.seeds) for line in results.lines] == [("ours", [1]), ("ours", [1]), ("lmsi", [1])]


def test_what_a_cell_holds_of_other_settings_is_not_in_the_table(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    base = f"student: {{model: {student}}}\niterations: 1\n"
    run(sweep_file(tmp_path, ROWS, base), tmp_path / "out")
    path = sweep_file(tmp_path, ROWS.replace("method: lmsi", "method: lmsi, train.learning_rate: 0.5"), base)
    results = run(path, tmp_path / "out", [])
    assert [line.row for line in results.lines] == ["ours", "ours"] and results.num_missing == 2


def test_a_sweep_that_lost_a_stage_computes_it_again_and_one_that_was_moved_does_not(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    path = sweep_file(tmp_path, ROWS, f"student: {{model: {student}}}\niterations: 1\n")
    before = run(path, tmp_path / "out")
    stages.calls.clear()
    (tmp_path / "out").rename(tmp_path / "moved here")
    shown = run(path, tmp_path / "moved here", [])
    assert shown.lines == before.lines and stages.calls == []

    lost = next((tmp_path / "moved here" / "stages" / "lmsi-1" / "evaluate").iterdir())
    shutil.rmtree(lost)
    assert run(path, tmp_path / "moved here", []).num_missing == 1
    assert run(path, tmp_path / "moved here").lines == before.lines
    assert stages.calls == ["lmsi-1/evaluate"]


def test_a_seed_that_ended_early_is_named(on_this_server, stages, tmp_path):
    student = make_student(tmp_path / "student")
    path = sweep_file(
        tmp_path,
        "seeds: [0, 1]\nset: {balance.min_improvements: 50}\nagainst: [ft-rationale, run/tripost-2]\n",
        f"student: {{model: {student}}}\niterations: 2\n",
    )
    plain = stages.filter

    def few(context):  # for seed 1, in its second iteration
        stages.num_improvements = 10 if context.seed == 1 and context.params["iteration"] == 2 else 100
        return plain(context)

    stages.filter = few
    results = run(path, tmp_path / "out")
    last = results.lines[0]
    assert (last.entry, last.seeds) == ("tripost-2 (seed 1: tripost-1)", [0, 1])
    assert last.differences["run/tripost-2"] is None  # itself, by another name
    points = [(point.seed, point.entry, point.judging["found"]) for point in results.points if point.row == "run"]
    assert points[:2] == [(0, "tripost-2", 0.4), (1, "tripost-1", 0.4)]


@pytest.mark.parametrize("path", sorted((ROOT / "deployments" / "sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_the_sweeps_that_come_with_the_project_name_their_command_and_make_cells(path, tmp_path):
    assert path.read_text().startswith(f"# tripost sweep deployments/sweeps/{path.name}\n")
    spec = read_sweep(path)
    assert len(cells(spec, path, tmp_path)) == len(spec.seeds) * len(spec.row_names()) > 2
