"""A small student writes in two processes: what it writes is what it would have written alone."""

import threading
from pathlib import Path

import pytest
import torch

from tripost_core.errors import ModelError
from tripost_core.lm import shards
from tripost_core.lm.self_improve import self_improve
from tripost_core.lm.student import load_student, resolve_student
from tripost_core.problems import load_task

TASK = "word_sorting"
SETTINGS = {"temperature": 1.0, "max_new_tokens": 120, "max_improvements": 1, "batch_tokens": 20_000}


@pytest.fixture(scope="module")
def student():
    return load_student("tiny", "cpu", torch.float32)


def questions(number):
    return [problem.question for problem in load_task(TASK).generate("2-3", number, 5)]


def test_two_processes_write_what_one_writes_and_report_to_the_caller(student):
    asked, seeds, reports = questions(shards.MIN_ROWS + 1), list(range(shards.MIN_ROWS + 1)), []

    def progress(done, total):
        reports.append((threading.current_thread(), done, total))

    written = shards.self_improve_in_shards(
        student, resolve_student("tiny"), TASK, asked, seeds, progress=progress, **SETTINGS
    )
    alone = self_improve(student, load_task(TASK), asked, seeds, **SETTINGS)
    assert written == alone
    assert {thread for thread, *_ in reports} == {threading.current_thread()}
    assert reports[-1][1:] == (len(asked), len(asked))
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)


def test_what_the_other_process_said_last_is_told(student, tmp_path):
    asked = questions(shards.MIN_ROWS)
    with pytest.raises(ModelError, match=r"second writing process ended with code 1.*does not exist"):
        shards.self_improve_in_shards(student, Path(tmp_path / "nowhere"), TASK, asked, [0] * len(asked), **SETTINGS)


def test_few_rows_are_written_here(student, tmp_path):
    written = shards.self_improve_in_shards(student, tmp_path / "nowhere", TASK, questions(3), [0, 1, 2], **SETTINGS)
    assert len(written) == 3
