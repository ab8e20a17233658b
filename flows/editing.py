"""What TriPosT and ft SI. demo share: from trajectories to the triplets of a student (sections 2.2 and 2.3)."""

from __future__ import annotations

from tasks.feedback import feedback
from tasks.filter import filter_triplets
from tasks.improve import improve
from tripost_core.buffers import Ref
from tripost_core.plan import RunPlan


def edited(plan: RunPlan, name: str, trajectories: Ref, student: Ref, iteration: int) -> Ref:
    """FBK, then IMP and FBK in turn until no trajectory is open or the rounds are used up; then split and filter."""
    trajectories = feedback(plan.feedback(name, trajectories, iteration, 0))
    plan.note(name, iteration, feedback_0=trajectories)
    for round_ in plan.rounds():
        if not plan.has_open(trajectories):
            break
        improved = improve(plan.improve(name, trajectories, iteration, round_))
        trajectories = feedback(plan.feedback(name, improved, iteration, round_))
        plan.note(name, iteration, **{f"improve_{round_}": improved, f"feedback_{round_}": trajectories})
    triplets = filter_triplets(plan.filter(name, trajectories, student, iteration))
    plan.note(name, iteration, filter=triplets)
    return triplets
