"""A student by the run that trained it: `runs/words` is its last one, `runs/words/tripost-2` that of an entry."""

from __future__ import annotations

from pathlib import Path

from tripost_core.record import read_record
from tripost_core.report.numbers import relocated
from tripost_core.stages import local_checkpoint


def student_of_run(path: Path) -> Path | None:
    """The directory of the checkpoint, fetched where the store is remote; None where `path` names no run.

    Raises ConfigError for a run without that student, StorageError.
    """
    run, name = path, None
    record = read_record(run)
    if record is None and not path.exists():
        run, name = path.parent, path.name
        record = read_record(run)
    if record is None:
        return None
    student = relocated(record, run).student_entry(name).student
    assert student is not None, "what student_entry is for"
    return local_checkpoint(student)
