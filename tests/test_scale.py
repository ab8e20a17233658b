"""docs/scale.md is what benchmarks/scale.py computes, and that is held to what was measured."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import scale  # noqa: E402

LOG = (ROOT / "docs" / "log.md").read_text()
JOB = scale.Job()


def test_the_page_has_the_tables():
    page = (ROOT / "docs" / "scale.md").read_text()
    assert scale.table_by_size() in page
    assert scale.table_by_prompts() in page


def test_constants_are_measurements_of_the_log():
    constants = scale.Constants()
    assert f"{constants.cache_replays_per_second:,.0f}/s" in LOG
    assert f"aiohttp's session within our client {constants.client_calls_per_second:.0f} to" in LOG
    share, seconds, stages = 0.027, 11 * 60 + 36, 32
    assert "11 min 36 s" in LOG and "2.7 % of the" in LOG and "32 stages" in LOG
    assert constants.orchestration_seconds_per_stage == pytest.approx(share * seconds / stages, rel=0.02)


def test_calls_take_what_the_benchmark_measured():
    """3,000 calls of 200 ms, 256 in flight: 0.91 of raw aiohttp's 1,034 to 1,064 calls a second."""
    assert "raw 1,034 to 1,064/s" in LOG
    job = replace(JOB, prompts=3000, calls_per_prompt=1, latency_seconds=0.2, in_flight=256)
    measured = 3000 / (0.91 * 1049)
    assert scale.expert_seconds(job) == pytest.approx(measured, rel=0.1)


def test_the_number_of_task_runs_is_the_main_jobs():
    """32 stages with one round an iteration (docs/log.md), the report besides."""
    assert re.search(r"less the seconds of its 32 stages", LOG)
    assert scale.task_runs(iterations=3, rounds=1) - 1 == 32


def test_a_students_storage_is_that_of_a_saved_one(tmp_path):
    from tripost_core.lm.student import load_student, save_student

    student = load_student("tiny")
    save_student(student.model, student.tokenizer, tmp_path / "saved")
    saved = (tmp_path / "saved" / "model.safetensors").stat().st_size
    job = replace(JOB, parameters=student.model.num_parameters(), prompts=0, iterations=3)
    # The file of a model with tied embeddings holds them twice, which is an eighth of one so small.
    assert scale.storage_gib(job) * scale.GIB == pytest.approx(7 * saved, rel=0.15)


def test_the_memory_of_editing_is_what_the_page_says():
    assert "a million trajectories takes 4 GiB at least" in (ROOT / "docs" / "scale.md").read_text()
    assert round(scale.editing_gib(1_000_000)) == 4
    constants = scale.Constants()
    for number in ("4.2 kB", "2.1 kB", "3.1 kB", "383", "231", "113", f"{constants.answer_bytes:,}"):
        assert number in LOG, number
    answers = 100_000 * 2.2 * 3 * constants.answer_bytes / 1e9
    assert round(answers) == 3


def test_more_of_anything_never_costs_less():
    for name, factor in (("prompts", 3), ("row_tokens", 2), ("parameters", 2), ("epochs", 2)):
        more = replace(JOB, **{name: getattr(JOB, name) * factor})
        assert scale.training_seconds(more, scale.A100) > scale.training_seconds(JOB, scale.A100)
        assert scale.generation_seconds(more, scale.A100) >= scale.generation_seconds(JOB, scale.A100)
        assert scale.storage_gib(more) >= scale.storage_gib(JOB)
    assert scale.training_gib(JOB, 4) < scale.training_gib(JOB) < scale.training_gib(JOB, micro_tokens=10**6)
    assert scale.training_seconds(replace(JOB, gpus=4), scale.A100) == scale.training_seconds(JOB, scale.A100) / 4
