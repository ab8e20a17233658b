"""What a training tells of itself: the table beside its checkpoint, and the trackers of the config."""

import importlib.util
import sqlite3

import polars as pl
import pytest
import torch
from test_train import make_rows, make_student

from tripost_core.config import RunConfig, TrackingConfig
from tripost_core.errors import ConfigError
from tripost_core.lm import tracking
from tripost_core.lm.student import checkpoint_digest
from tripost_core.lm.tracking import COLUMNS, METRICS_FILE, run_name
from tripost_core.lm.train import train
from tripost_core.record import fingerprint

CONFIG = {"learning_rate": 1e-3, "num_epochs": 2, "student": {"dtype": "float32", "device": "cpu"}}


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory):
    return make_student(tmp_path_factory.mktemp("student") / "student")


def run(student_dir, work_dir, progress=lambda *_: None, **means):
    return train(student_dir, make_rows(10), CONFIG, None, 0, work_dir, progress, **means)


def installed(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed (trackers)")


def test_every_step_is_a_row_beside_the_checkpoint(student_dir, tmp_path):
    shown = []
    result = run(student_dir, tmp_path, lambda what, done, total: shown.append((what, done, total)))
    table = pl.read_parquet(result.checkpoint_dir / METRICS_FILE)
    assert table.columns == list(COLUMNS)
    assert table["step"].to_list() == list(range(1, result.num_steps + 1))
    assert table["loss"].to_list() == [entry["loss"] for entry in result.losses]
    assert table["num_trained_tokens"][-1] == result.num_trained_tokens
    assert table["num_trained_tokens"].is_sorted() and table["seconds"].is_sorted()
    assert table["grad_norm"].min() > 0
    assert shown[-1] == (f"optimiser steps: loss {table['loss'][-1]:.4f}", result.num_steps, result.num_steps)


def test_an_interrupted_training_has_one_whole_table(student_dir, tmp_path):
    class Stop(Exception):
        pass

    def stop(what, done, total):
        if done == 4:
            raise Stop

    config = {**CONFIG, "save_every_steps": 3}
    with pytest.raises(Stop):
        train(student_dir, make_rows(10), config, None, 0, tmp_path / "a", stop)
    resumed = train(student_dir, make_rows(10), config, None, 0, tmp_path / "a", lambda *_: None)
    alone = train(student_dir, make_rows(10), config, None, 0, tmp_path / "b", lambda *_: None)
    tables = [pl.read_parquet(result.checkpoint_dir / METRICS_FILE) for result in (resumed, alone)]
    assert tables[0].drop("seconds").equals(tables[1].drop("seconds"))
    assert tables[0]["seconds"].is_sorted()
    assert checkpoint_digest(resumed.checkpoint_dir) == checkpoint_digest(alone.checkpoint_dir)


def test_trackers_change_no_number_and_no_key(tmp_path):
    plain, tracked = RunConfig(), RunConfig(tracking=TrackingConfig(report_to=["tensorboard"]))
    assert fingerprint(plain) == fingerprint(tracked)


def test_a_tracker_that_is_not_installed_is_named(student_dir, tmp_path, monkeypatch):
    def missing(config, label):
        raise ImportError("No module named 'wandb'")

    monkeypatch.setitem(tracking._MAKERS, "wandb", missing)
    with pytest.raises(ConfigError, match=r"names wandb, which is not installed.*tripost\[trackers\]"):
        run(student_dir, tmp_path / "w", tracking=TrackingConfig(report_to=["wandb"]))


@installed("tensorboard")
def test_tensorboard_gets_every_step(student_dir, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = TrackingConfig(report_to=["tensorboard"], directory=str(tmp_path / "my run"))
    result = run(student_dir, tmp_path / "w", tracking=settings, label="tripost-1/train")
    events = EventAccumulator(str(tmp_path / "my run/tensorboard/tripost-1/train"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert [step for step, _ in losses] == list(range(1, result.num_steps + 1))
    assert torch.tensor([value for _, value in losses]).allclose(torch.tensor([e["loss"] for e in result.losses]))


@installed("wandb")
def test_wandb_has_one_run_for_each_training(student_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_PROJECT"):  # `tracking` sets them where they are not set
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    settings = TrackingConfig(report_to=["wandb"], directory=str(tmp_path))
    for number in (1, 2):
        run(student_dir, tmp_path / f"w{number}", tracking=settings, label=f"tripost-{number}/train")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


@installed("mlflow")
def test_mlflow_gets_every_step(student_dir, tmp_path, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    settings = TrackingConfig(report_to=["mlflow"], directory=str(tmp_path), project="words")
    result = run(student_dir, tmp_path / "w", tracking=settings, label="tripost-1/train")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        (name,) = database.execute("select name from runs").fetchone()
        assert name == run_name(settings, "tripost-1/train")
        steps = database.execute("select count(*) from metrics where key = 'loss'").fetchone()[0]
    assert steps == result.num_steps
