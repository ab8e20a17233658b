"""What became of a word-sorting student's own updates, and whether the workings of its feedback know better than it.

    python benchmarks/own_updates.py RUN [--student tripost-1]

RUN is a run's directory or a cell of a sweep. The first table says of how many answers that were tried again the last
attempt, and of how many it ran into a length limit; the second compares the first list of groups, step (2), of the
attempt with that of the workings in its feedback (`expert.checks`), both with the gold rationale's.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from tripost_core.buffers import Row, read_rows
from tripost_core.errors import ConfigError
from tripost_core.problems.word_sorting import TASK
from tripost_core.record import read_record
from tripost_core.report.numbers import relocated

_GROUPS = re.compile(r"\(2\) We now have: (.*?)\.(?:\s|$)")


def groups(text: str | None) -> str | None:
    """Of step (2), without the full stop."""
    found = _GROUPS.search(text or "")
    return found[1] if found else None


def outcome(row: Row) -> str:
    if not row["attempted"]:
        return "not tried"
    before, after = row["first_right"], row["right"]
    return {(True, False): "broken", (True, True): "kept right", (False, True): "mended"}.get(
        (before, after), "stays wrong"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", default=None, help="e.g. tripost-1; the last one otherwise")
    arguments = parser.parse_args()
    record = read_record(arguments.run)
    if record is None or record.task_name != "word_sorting":
        raise ConfigError(f"{arguments.run} is no run of word_sorting.")
    entry = relocated(record, arguments.run).student_entry(arguments.student)
    rows = [row for row in read_rows(entry.stages["evaluate"]) if row["seen"]]
    became = Counter(outcome(row) for row in rows)
    cut = Counter(outcome(row) for row in rows if row["truncated"])
    print(f"{entry.name}: {len(rows)} seen questions")
    for name, n in became.most_common():
        print(f"  {name:12} {n:5}   cut off {cut[name]:5}")
    compared: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        gold = groups(TASK.rationale(row["question"]))
        texts = row["turns"][0]["attempt"], row["turns"][0]["feedback"]
        compared[tuple("right" if (said := groups(t)) == gold else "wrong" if said else "missing" for t in texts)] += 1
    print("step (2) of the attempt and of its feedback's workings:")
    for (attempt, workings), n in sorted(compared.items()):
        print(f"  attempt {attempt:8} workings {workings:8} {n:5}")


if __name__ == "__main__":
    main()
