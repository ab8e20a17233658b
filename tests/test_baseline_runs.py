"""`tripost baseline` and `tripost sweep` with the built-in student, from the command line to the table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def tripost(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.mark.parametrize(
    ("method", "students"),
    [
        ("rationale", ["ft-rationale-continued"]),
        ("workings", ["workings-1"]),
        ("lmsi", ["lmsi-1"]),
        ("si-demo", ["si-demo"]),
    ],
)
def test_a_baseline_ends_with_a_report(tmp_path, method, students):
    config = ROOT / "deployments" / "debug.yaml"
    output = tmp_path / "run"
    checks = ("--set", f"expert.checks={str(method == 'workings').lower()}")
    done = tripost("baseline", method, config, *checks, "--output", output, "--json", cwd=ROOT)
    assert "no stage was executed" not in done.stderr
    names = [entry["name"] for entry in json.loads(done.stdout)["iterations"]]
    assert names == ["ft-rationale", *students]
    assert (output / "report.html").stat().st_size > 10_000
    again = tripost("baseline", method, config, *checks, "--output", output, cwd=ROOT)
    assert students[0] in again.stdout and "no stage was executed" in again.stderr


def test_a_sweep_shares_its_start(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        f"base: {ROOT / 'deployments' / 'debug.yaml'}\nseeds: [0]\nrows: {{ours: {{}}, lmsi: {{method: lmsi}}}}\n"
    )
    said = tripost("sweep", tmp_path / "sweep.yaml", "--output", tmp_path / "out", "--json", cwd=ROOT).stdout
    lines = json.loads(said)["lines"]
    assert [(line["row"], line["student"]) for line in lines] == [
        ("ours", "tripost-1"),
        ("ours", "ft-rationale-continued"),
        ("lmsi", "lmsi-1"),
    ]
    trained = list((tmp_path / "out" / "stages").glob("ft-rationale/train/*/manifest.json"))
    assert len(trained) == 1
