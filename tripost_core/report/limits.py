"""Outputs that ran into a length limit: an answer that was cut off counts as wrong, so a limit that is too low looks
like a student that breaks its own answers."""

from __future__ import annotations

from tripost_core.record import RunRecord
from tripost_core.report.numbers import manifest_of, ordered_entries, stage_kind

TOLD_FROM = 0.01
"""Share of a stage's outputs."""
_WHAT = {"generate": "attempts at training questions for", "evaluate": "answers to test questions of"}
_CONSEQUENCE = {"generate": "", "evaluate": ", and counted as wrong"}


def cut_off(record: RunRecord, kinds: tuple[str, ...] = ("generate", "evaluate")) -> list[str]:
    """A sentence for each kind of stage in which TOLD_FROM of the outputs for some student, or more, were cut off.

    Raises StorageError where a stage's manifest is gone.
    """
    sentences = []
    for kind in kinds:
        found = []
        for entry in ordered_entries(record):
            for stage, ref in entry.stages.items():
                manifest = manifest_of(ref)
                cut = int((manifest.get("metrics") or {}).get("num_truncated") or 0)
                n = int(manifest.get("in") or 0)
                if stage_kind(stage) == kind and cut and cut >= TOLD_FROM * n:
                    found.append(f"{entry.name} ({cut:,} of {n:,})")
        if found:
            limit = f"{kind}.max_new_tokens = {getattr(record.run_config, kind).max_new_tokens}"
            sentences.append(
                f"Cut off at {limit} or the student's context{_CONSEQUENCE[kind]}: {_WHAT[kind]} {', '.join(found)}."
                " Raise it, unless they run in circles."
            )
    return sentences
