"""What a run asks of its stages: which settings belong to which key."""

import shutil
from importlib.resources import files

import pytest
from small_stages import make_config, make_student

from tripost_core.buffers import Ref
from tripost_core.config_file import parse_config
from tripost_core.errors import ConfigError
from tripost_core.plan import RunPlan
from tripost_core.record import is_finished

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


def with_a_model(tmp_path, **expert):
    expert = {"kind": "llm", "model": "m", **expert}
    return parse_config({"task": "word_sorting", "student": {"model": str(tmp_path / "student")}, "expert": expert})


def finished(config, tmp_path):
    make_student(tmp_path / "student")
    plan = RunPlan(config, tmp_path / "run")
    plan.train_rationale(ROWS)
    plan.record.finished = True
    return plan


def test_an_edited_prompt_file_is_another_key_and_another_run(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text((files("tripost_core.experts.prompts") / "word_sorting.yaml").read_text())
    config = with_a_model(tmp_path, prompts=str(path), rationales="expert")
    plan = finished(config, tmp_path)
    assert is_finished(plan.record, config)

    def keys(plan):
        return {
            plan.feedback("tripost-1", ROWS, 1, 0).key,
            plan.improve("tripost-1", ROWS, 1, 1).key,
            plan.rationales(ROWS).key,
            plan.demonstrate("si-demo", ROWS, ROWS).key,
        }

    before = keys(plan)
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    assert not is_finished(plan.record, config)
    assert len(before) == 4 and not before & keys(RunPlan(config, tmp_path / "run"))

    path.unlink()
    assert is_finished(plan.record, config)  # nothing says that it has changed
    with pytest.raises(ConfigError, match="There are no prompts for"):
        RunPlan(config, tmp_path / "run")


def test_the_prompts_of_a_task_count_and_a_script_has_none(tmp_path):
    record = RunPlan(with_a_model(tmp_path), tmp_path / "run").record
    assert record.prompts.startswith("word_sorting-1-") and record.prompts.endswith(".1")
    assert RunPlan(parse_config({}), tmp_path / "run").record.prompts is None


def test_a_finished_run_is_that_of_its_starting_student(tmp_path):
    config = make_config(tmp_path / "student")
    plan = finished(config, tmp_path)
    assert is_finished(plan.record, config)
    (tmp_path / "student" / "config.json").write_text('{"hidden_size": 8}')
    assert not is_finished(plan.record, config)
    shutil.rmtree(tmp_path / "student")
    assert is_finished(plan.record, config)


def test_a_vote_has_every_sample(tmp_path):
    def params(keep):
        config = parse_config({"method": "lmsi", "lmsi": {"keep": keep}})
        return RunPlan(config, tmp_path / "run").generate("lmsi-1", STUDENT, ROWS, 1)[0].params

    assert params("majority") == {**params("right"), "keep_duplicates": True}
