"""The flow `tripost`, deployment `iterate`: Algorithm 1 with its starting point and its comparison, or a baseline
(`flows.baselines`) from the same start.

`run` (of `flows.in_process`) is the same flow with a server of its own, for `tripost run`.
"""

from __future__ import annotations

from prefect import flow

from flows.baselines import BASELINES, continued
from flows.editing import edited
from flows.in_process import run
from flows.start import Start, run_name, started
from tasks.balance import balance
from tasks.evaluate import evaluate
from tasks.generate import generate_all
from tasks.problems import make_problems
from tasks.rationales import write_rationales
from tasks.report import publish, report
from tasks.train import train
from tripost_core.config import RATIONALE, RunConfig
from tripost_core.plan import RunPlan

__all__ = ["run", "tripost"]

DEFAULT_CONFIG = RunConfig()


@flow(name="tripost", flow_run_name=run_name)
def tripost(
    config: RunConfig = DEFAULT_CONFIG, output: str = "", fresh: bool = False, seed_from_date: bool = False
) -> str:
    """Trains a small model to improve its own answers: Algorithm 1 of Yu et al. 2023. Returns the run's directory.

    Args:
        config: the run
        output: its directory; empty = runs/TASK-seed-SEED-FINGERPRINT
        fresh: compute every stage again, whatever is there
        seed_from_date: the seed is the scheduled date, as YYYYMMDD (UTC)
    """
    with started(config, output, fresh, seed_from_date) as plan:
        start = begin(plan)
        METHODS[plan.config.method](plan, start)
        publish(plan.record)
        report(plan.record, str(plan.output))
        plan.finish()
        return str(plan.output)


def begin(plan: RunPlan) -> Start:
    """Where every method begins: the questions, and *ft rationale* on their gold rationales (iteration 0)."""
    problems = make_problems(plan.problems())
    plan.note_problems(problems)
    if plan.asks_for_rationales:
        problems = write_rationales(plan.rationales(problems))
        plan.note(RATIONALE, 0, rationales=problems)
    gold = balance(plan.gold_rows(problems))
    student = train(plan.train_rationale(gold))
    answers = evaluate(plan.evaluate(RATIONALE, student, problems))
    plan.note(RATIONALE, 0, balance=gold, train=student, evaluate=answers)
    publish(plan.record)
    return Start(problems, gold, student)


def iterate(plan: RunPlan, start: Start) -> None:
    """Algorithm 1, and beside it gold rationales for as many steps."""
    student = start.student
    triplets, students = [], []
    for iteration in range(1, plan.config.iterations + 1):
        name = plan.name(iteration)
        trajectories = generate_all(plan, name, student, start.problems, iteration)
        plan.note(name, iteration, generate=trajectories)
        triplets.append(edited(plan, name, trajectories, student, iteration))
        if plan.too_few(triplets[-1], iteration):
            break
        rows = balance(plan.balance(name, triplets, start.problems, iteration))
        student = train(plan.train(name, student, rows, iteration))
        students.append(student)
        answers = evaluate(plan.evaluate(name, student, start.problems))
        plan.note(name, iteration, balance=rows, train=student, evaluate=answers)
        publish(plan.record)
    if students:
        continued(plan, start, students)


METHODS = {"tripost": iterate, **BASELINES}
