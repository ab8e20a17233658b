"""What a run asks of its stages: which settings belong to which key."""

import pytest

from tripost_core.buffers import Ref
from tripost_core.config_file import parse_config
from tripost_core.plan import RunPlan

STUDENT = Ref(uri="students/start", digest="start", kind="checkpoint")
ROWS = Ref(uri="rows/gold", digest="gold", kind="buffer")


def plan_of(tmp_path, **train):
    return RunPlan(parse_config({"train": train}), tmp_path / "run")


@pytest.mark.parametrize("setting", [{"improvement_weight": 3.0}, {"mask_attempt": True}, {"mask_attempt": "mistake"}])
def test_what_concerns_improvements_alone_is_no_part_of_continued_golds_key(tmp_path, setting):
    usual, other = plan_of(tmp_path), plan_of(tmp_path, **setting)
    assert other.train_continued(STUDENT, ROWS, None, 1).key == usual.train_continued(STUDENT, ROWS, None, 1).key
    assert other.train("tripost-1", STUDENT, ROWS, 1).key != usual.train("tripost-1", STUDENT, ROWS, 1).key


@pytest.mark.parametrize("setting", [{"learning_rate": 2e-6}, {"num_epochs": 2}, {"batch_size": 8}])
def test_what_concerns_every_training_is_part_of_continued_golds_key(tmp_path, setting):
    usual, other = plan_of(tmp_path), plan_of(tmp_path, **setting)
    assert other.train_continued(STUDENT, ROWS, None, 1).key != usual.train_continued(STUDENT, ROWS, None, 1).key
