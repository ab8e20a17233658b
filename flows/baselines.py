"""What TriPosT is compared with (section 3.2), made of the same tasks and from the same start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.editing import edited
from flows.start import Start
from tasks.balance import balance
from tasks.demonstrate import demonstrate
from tasks.evaluate import evaluate
from tasks.feedback import feedback
from tasks.generate import generate_all
from tasks.report import publish
from tasks.select import select
from tasks.train import train
from tripost_core.buffers import Ref
from tripost_core.config import CONTINUED
from tripost_core.plan import RunPlan


def continued(plan: RunPlan, start: Start, likes: Sequence[Ref | None]) -> None:
    """Gold rationales only: from the start, one training for each of TriPosT's, with as many optimiser steps."""
    student = start.student
    for iteration, like in enumerate(likes, 1):
        student = train(plan.train_continued(student, start.gold, like, iteration))
        plan.note(CONTINUED, None, **{f"train_{iteration}": student})
    answers = evaluate(plan.evaluate(CONTINUED, student, start.problems))
    plan.note(CONTINUED, None, evaluate=answers)


def rationale(plan: RunPlan, start: Start) -> None:
    """ft rationale, gone on with for t times the passes of an iteration."""
    continued(plan, start, [None] * plan.config.iterations)


def workings(plan: RunPlan, start: Start) -> None:
    """Gold rationales that calculate as the expert's updates do: is it the longer way that pays, or knowing when?"""
    student = start.student
    rows = balance(plan.worked_rows(start.problems))
    for iteration in range(1, plan.config.iterations + 1):
        name = plan.name(iteration)
        student = train(plan.train(name, student, rows, iteration))
        answers = evaluate(plan.evaluate(name, student, start.problems))
        plan.note(name, iteration, balance=rows, train=student, evaluate=answers)
        publish(plan.record)


def lmsi(plan: RunPlan, start: Start) -> None:
    """LMSI(t): trained on its own right attempts, t times."""
    student = start.student
    for iteration in range(1, plan.config.iterations + 1):
        name = plan.name(iteration)
        trajectories = generate_all(plan, name, student, start.problems, iteration)
        rows = select(plan.select(name, trajectories, iteration))
        plan.note(name, iteration, generate=trajectories, select=rows)
        if plan.is_empty(rows, iteration):
            break
        student = train(plan.train(name, student, rows, iteration))
        answers = evaluate(plan.evaluate(name, student, start.problems))
        plan.note(name, iteration, train=student, evaluate=answers)
        publish(plan.record)


def si_demo(plan: RunPlan, start: Start) -> None:
    """ft SI. demo: an expert's own mistakes, criticised and repaired; one round of training."""
    own, name = "tripost-1", plan.name(1)
    trajectories = generate_all(plan, own, start.student, start.problems, 1)
    judged = feedback(plan.feedback(own, trajectories, 1, 0))
    shown = demonstrate(plan.demonstrate(name, start.problems, judged))
    plan.note(name, 1, generate=trajectories, judged=judged, demonstrate=shown)
    triplets = edited(plan, name, shown, start.student, 1)
    if plan.too_few(triplets, 1):
        return
    rows = balance(plan.balance(name, [triplets], start.problems, 1))
    student = train(plan.train(name, start.student, rows, 1))
    answers = evaluate(plan.evaluate(name, student, start.problems))
    plan.note(name, 1, balance=rows, train=student, evaluate=answers)


BASELINES: dict[str, Callable[[RunPlan, Start], None]] = {
    "rationale": rationale,
    "workings": workings,
    "lmsi": lmsi,
    "si-demo": si_demo,
}
