"""The task `report`: report.html and report.json, and the run's artifacts; and `publish`, the artifacts alone."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tripost_core.record import RunRecord


@task(name="publish", task_run_name="publish {record.run_id}")
def publish(record: RunRecord) -> None:
    """Score table and buffer counts so far. One key per task for all runs, so that the UI shows its history."""
    from tripost_core.report.numbers import report_json, score_rows

    name = record.task_name.replace("_", "-")
    scores = [{"run": record.run_id, **row} for row in score_rows(record)]
    counts = [
        {"entry": entry["name"], "stage": stage, "in": count["in"], "kept": count["kept"], **count["dropped"]}
        for entry in report_json(record)["iterations"]
        for stage, count in entry["buffers"].items()
    ]
    columns = {column: None for count in counts for column in count}
    counts = [{**columns, **count} for count in counts]
    create_table_artifact(scores, key=f"tripost-scores-{name}", description=f"Scores of {record.run_id}")
    create_table_artifact(counts, key=f"tripost-buffers-{name}", description=f"Rows by stage of {record.run_id}")


@task(name="report", task_run_name="report {record.run_id}")
def report(record: RunRecord, output: str) -> None:
    """Writes the report of a run and links it. Raises StorageError."""
    from tripost_core.report import write_report
    from tripost_core.report.numbers import cut_off

    write_report(record, Path(output))
    place = Path(output) / "report.html"
    said = [record.message, *cut_off(record)]
    text = "\n\n".join(
        [f"# {record.run_id}", f"[report.html]({place.as_uri()}): `{place}`", *(line for line in said if line)]
    )
    create_markdown_artifact(text, key=f"tripost-report-{record.task_name.replace('_', '-')}")
