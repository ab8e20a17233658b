"""A run's report: `report.json` for programs, `report.html` for people, and the card of its last student."""

from __future__ import annotations

import json
from pathlib import Path

from tripost_core.buffers import write_file
from tripost_core.record import RunRecord


def write_report(record: RunRecord, output: Path) -> None:
    """Writes `report.json` (schema 1), `report.html` and, once a student is trained, `model-card.md` into the run's
    directory, each whole or not at all.

    Works at any moment of a run: what is not there yet is left out. Raises StorageError where a buffer of the run is
    gone or altered, or the directory cannot be written.
    """
    from tripost_core.publish import model_card
    from tripost_core.report.html import render_report
    from tripost_core.report.numbers import relocated, report_json

    record = relocated(record, output)
    text = json.dumps(report_json(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    page = render_report(record)
    write_file(str(output / "report.json"), text.encode())
    write_file(str(output / "report.html"), page.encode())
    if record.own_students:
        card = model_card(record, output, record.student_entry())
        write_file(str(output / "model-card.md"), card.encode())
