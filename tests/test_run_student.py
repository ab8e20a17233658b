"""`--model runs/words` and `--model runs/words/tripost-1`: a student by the run that trained it."""

import json
import shutil
import subprocess
import sys

import pytest
from test_train import make_student

from tripost_core.buffers import MANIFEST, Ref
from tripost_core.config import RunConfig
from tripost_core.errors import ConfigError, ModelError, StorageError
from tripost_core.lm.student import checkpoint_digest, load_student, resolve_student
from tripost_core.plan import RunPlan


def trained(directory, method="tripost", iterations=2):
    """A run's record with a random student of its own in each entry."""
    config = RunConfig.model_validate({"task": "word_sorting", "method": method, "iterations": iterations})
    plan = RunPlan(config, directory)
    seed = 0

    def student(entry, stage):
        nonlocal seed
        place = directory / "stages" / entry / stage / f"train-v1-{seed:016x}"
        make_student(place, seed=seed)
        (place / MANIFEST).write_text("{}")
        seed += 1
        return Ref(uri=place.as_uri(), digest=checkpoint_digest(place), kind="checkpoint", num_rows=0)

    plan.note("ft-rationale", 0, train=student("ft-rationale", "train"))
    if method != "rationale":
        for iteration in range(1, iterations + 1):
            name = config.entry_name(iteration)
            plan.note(name, iteration, train=student(name, "train"))
    parts = {f"train_{i}": student("ft-rationale-continued", f"train-{i}") for i in range(1, iterations + 1)}
    plan.note("ft-rationale-continued", None, **parts)
    return {(entry.name, stage): ref for entry in plan.record.entries for stage, ref in entry.stages.items()}


def test_the_last_one_or_that_of_an_entry(tmp_path):
    run = tmp_path / "my run"
    students = trained(run)
    assert load_student(run).digest == students["tripost-2", "train"].digest
    assert load_student(str(run)).digest == students["tripost-2", "train"].digest
    assert load_student(run / "tripost-1").digest == students["tripost-1", "train"].digest
    assert load_student(run / "ft-rationale").digest == students["ft-rationale", "train"].digest
    assert load_student(run / "ft-rationale-continued").digest == students["ft-rationale-continued", "train-2"].digest
    assert len({ref.digest for ref in students.values()}) == 5


def test_of_a_baseline(tmp_path):
    lmsi = trained(tmp_path / "lmsi", "lmsi")
    assert load_student(tmp_path / "lmsi").digest == lmsi["lmsi-2", "train"].digest
    gold = trained(tmp_path / "gold", "rationale")
    assert load_student(tmp_path / "gold").digest == gold["ft-rationale-continued", "train-2"].digest


def test_a_run_that_was_moved(tmp_path):
    students = trained(tmp_path / "before")
    shutil.move(tmp_path / "before", tmp_path / "after")
    assert load_student(tmp_path / "after").digest == students["tripost-2", "train"].digest


def test_a_checkpoint_below_a_run_is_that_checkpoint(tmp_path):
    students = trained(tmp_path / "run")
    place = tmp_path / "run" / "stages" / "tripost-1" / "train" / f"train-v1-{1:016x}"
    assert resolve_student(place) == place
    assert load_student(place).digest == students["tripost-1", "train"].digest


def test_what_is_not_there(tmp_path):
    trained(tmp_path / "run")
    with pytest.raises(ConfigError, match="no trained student 'tripost-9'; it has ft-rationale, tripost-1, tripost-2"):
        resolve_student(tmp_path / "run" / "tripost-9")
    with pytest.raises(ModelError, match="does not exist"):
        resolve_student(tmp_path / "elsewhere" / "tripost-1")
    RunPlan(RunConfig(task="word_sorting"), tmp_path / "begun").note("ft-rationale", 0)
    with pytest.raises(ConfigError, match="not trained a student yet"):
        resolve_student(tmp_path / "begun")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"entries": "none"}))
    with pytest.raises(StorageError, match=r"run\.json is not the record of a run"):
        resolve_student(tmp_path / "run")


def test_as_a_command(tmp_path):
    trained(tmp_path / "my run")
    command = [sys.executable, "-m", "flows.cli", "evaluate", "--task", "word_sorting", "--json", "--num-seen", "2"]
    command += ["--max-new-tokens", "16", "--model"]
    done = subprocess.run([*command, "my run/tripost-1"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["eval"]["n"]["total"] == 2
    wrong = subprocess.run([*command, "my run/tripost-7"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") <= 2 and "tripost-7" in wrong.stderr
