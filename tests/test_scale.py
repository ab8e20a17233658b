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
    assert "between stages 3.4 s of 434 (0.8 %), start and end 23 s more" in LOG and "32 stages" in LOG
    assert constants.orchestration_seconds_per_stage == pytest.approx(3.4 / 32, rel=0.01)
    assert constants.orchestration_seconds_per_run == 23
    assert scale.orchestration_seconds(32) == pytest.approx(3.4 + 23, rel=0.01)


def test_training_takes_what_the_benchmark_measured():
    """From a profile, what share of a step is matrix products at which speed, to the tokens/s of another run."""
    assert "ours 6,059 with one process" in LOG
    assert "4 rows of 419 tokens on average" in LOG and "37 % matrix" in LOG and "(84 GFLOP/s)" in LOG
    assert "976,000 parameters" in LOG
    products, attention = 6 * 976_000, 6 * 4 * 128 * 419
    assert pytest.approx(0.37 * (1 + attention / products), abs=0.01) == scale.CORE.mfu
    trained, _ = scale.speeds_on_a_core()
    assert trained == pytest.approx(6059, rel=0.15)


def test_generation_takes_what_the_benchmark_measured():
    """The bytes are the model's; the memory's speed is taken from the same measurement, so this holds the units."""
    assert "| 3,104 to 3,278 |" in LOG and "Half of the time is attention over the cache, 20 MB a layer" in LOG
    kv_bytes_of_a_layer = 2 * 128 * 4
    assert 100 * 195 * kv_bytes_of_a_layer == pytest.approx(20e6, rel=0.01)
    steps = 3104 / 100
    assert pytest.approx(4 * 20e6 * steps / 0.5, rel=0.02) == scale.CORE.bytes_per_second
    _, written = scale.speeds_on_a_core()
    assert 3104 * 0.95 <= written <= 3278 * 1.05


def test_the_page_says_how_far_the_formulas_are_from_what_was_measured():
    page = " ".join((ROOT / "docs" / "scale.md").read_text().split())
    trained, written = scale.speeds_on_a_core()
    assert f"{trained:,.0f} trained tokens a second, where 6,059 were measured" in page
    assert f"{written:,.0f} written ones, where 3,104 to 3,278 were" in page


def test_the_papers_preset_fits_on_one_a100_with_the_optimiser_on_the_host():
    job = scale.SIZES["LLaMA 7B, ZeRO-2 offload"]
    assert scale.training_gib(job) < scale.A100.memory_gib < scale.training_gib(scale.SIZES["LLaMA 7B"])
    hours = sum(scale.training_seconds(job, scale.A100, i) for i in (1, 2, 3)) / 3600
    assert 6 < hours < 24  # the paper has about 12 h for three iterations
    for name in ("llama-7b", "llama2-7b"):
        text = (ROOT / "deployments" / "presets" / f"{name}.yaml").read_text()
        assert "deepspeed: zero2-offload" in text
        assert f"{scale.training_gib(job):.0f} GiB of the GPU and {scale.host_gib(job):.0f} GiB of the host" in text


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
    offloaded = replace(JOB, offload=True)
    assert scale.training_seconds(offloaded, scale.A100) > scale.training_seconds(JOB, scale.A100)
    assert (
        scale.training_gib(offloaded)
        < scale.training_gib(JOB)
        < scale.training_gib(offloaded) + scale.host_gib(offloaded)
    )
    assert scale.training_seconds(replace(JOB, gpus=4), scale.A100) == scale.training_seconds(JOB, scale.A100) / 4
