"""The result of a run in a few plain sentences that say no more than the numbers do."""

from __future__ import annotations

from typing import Any

from tripost_core.config import CONTINUED, RATIONALE
from tripost_core.record import RunRecord
from tripost_core.report.intervals import Difference, paired_difference, wilson
from tripost_core.report.numbers import ordered_entries
from tripost_core.report.text import percent, points

Deltas = dict[str, Difference | None]
Answers = dict[str, dict[str, tuple[bool, bool]]]


def deltas(answers: Answers, against: str) -> dict[str, Deltas]:
    """{entry: {seen, unseen, total: accuracy minus that of `against`}}, paired by question; empty without it.
    `answers`: `numbers.rights` by entry."""
    base = answers.get(against)
    if not base:
        return {}
    result: dict[str, Deltas] = {}
    for name, right in answers.items():
        if name == against or not right:
            continue
        result[name] = {
            split: paired_difference(
                {key: value for key, (value, seen) in right.items() if split == "total" or seen == (split == "seen")},
                {key: value for key, (value, _) in base.items()},
            )
            for split in ("seen", "unseen", "total")
        }
    return result


def last_iteration(record: RunRecord, figures: dict[str, dict[str, Any]]) -> str | None:
    """The name of the method's last iteration that was evaluated: what the run is judged by, whatever was best."""
    names = [e.name for e in ordered_entries(record) if e.iteration and figures[e.name]["n"]["total"]]
    return names[-1] if names else None


def share_with_interval(figures: dict[str, Any]) -> str:
    """`41.2 % (36.2–46.4)`."""
    accuracy, n = figures["accuracy"]["total"], figures["n"]["total"]
    interval = wilson(accuracy, n)
    if interval is None:
        return "–"
    return f"{percent(accuracy)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def summary(
    record: RunRecord,
    figures: dict[str, dict[str, Any]],
    against_rationale: dict[str, Deltas],
    against_continued: dict[str, Deltas],
) -> list[str]:
    """`figures`: the `eval` of each entry by name (`numbers.complete_eval`)."""
    name = last_iteration(record, figures)
    start = figures.get(RATIONALE)
    if start is None or not start["n"]["total"]:
        return ["Nothing has been evaluated yet."]
    n = start["n"]["total"]
    questions = "1 test question" if n == 1 else f"{n:,} test questions"
    first = f"On {questions}, the student fine-tuned on gold rationales is right on {share_with_interval(start)}"
    control = figures.get(CONTINUED)
    if record.method == "rationale" and control is not None and control["n"]["total"]:
        on = f"trained on with gold rationales alone it is right on {share_with_interval(control)}"
        told = _verdict("its start", against_rationale.get(CONTINUED, {}).get("total"), "its continuation")
        return [sentence for sentence in (f"{first}; {on}.", told, _WHAT_INTERVALS_ARE) if sentence]
    if name is None:
        return [first + f". No iteration of {record.method_name} has been evaluated."]
    t = next(e.iteration for e in record.entries if e.name == name)
    rounds = record.method_name
    if record.method != "si-demo":
        rounds = f"{t} {record.method_name} iteration{'' if t == 1 else 's'}"
    after = f"after {rounds} it is right on {share_with_interval(figures[name])}"
    sentences = []
    if control is not None and control["n"]["total"]:
        sentences.append(
            f"{first}; {after}; trained on for as many optimiser steps on gold rationales alone it is right on "
            f"{share_with_interval(control)}."
        )
        sentences.append(
            _verdict(
                "its continuation on gold rationales",
                against_continued.get(name, {}).get("total"),
                record.method_name,
            )
        )
    else:
        sentences.append(f"{first}; {after}.")
        sentences.append(
            _verdict(
                "fine-tuning on gold rationales",
                against_rationale.get(name, {}).get("total"),
                record.method_name,
            )
        )
        sentences.append(
            "There is no continuation of the gold training to compare with: more training alone could explain a gain."
        )
    sentences.append(_self_improvement(figures[name]))
    sentences.append(_WHAT_INTERVALS_ARE)
    return [sentence for sentence in sentences if sentence]


_WHAT_INTERVALS_ARE = (
    "Brackets hold 95 % intervals over the choice of test questions. They do not cover the randomness of training: "
    "this is one run with one seed."
)


def _verdict(other: str, difference: Difference | None, method: str) -> str:
    if difference is None:
        return ""
    of = f"{points(difference.value)} points (95 % interval {points(difference.low)} to {points(difference.high)})"
    same = "the same question" if difference.n == 1 else f"the same {difference.n:,} questions"
    if not difference.shown:
        return f"Against {other} that is {of} on {same}: no difference can be told at this size."
    direction = "more" if difference.value > 0 else "less"
    return f"Against {other} that is {of} on {same}: {method} is {direction} accurate here."


def _self_improvement(figures: dict[str, Any]) -> str:
    def of(metric: str) -> str:
        return percent(figures[metric]["total"])

    if not figures["si_freq"]["total"]:
        return "In the end the student never tries to improve an answer."
    return (
        f"In the end the student tries to improve {of('si_freq')} of its answers; that makes a wrong first attempt "
        f"right on {of('repaired')} of the questions and a right one wrong on {of('harm')}."
    )
