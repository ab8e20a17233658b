"""The flow `tripost`, deployment `iterate`: Algorithm 1 with its starting point and its comparison.

`run` (of `flows.in_process`) is the same flow with a server of its own, for `tripost run`.
"""

from __future__ import annotations

from prefect import flow

from flows.in_process import run
from flows.start import run_name, started
from tasks.balance import balance
from tasks.evaluate import evaluate
from tasks.feedback import feedback
from tasks.filter import filter_triplets
from tasks.generate import generate_all
from tasks.improve import improve
from tasks.problems import make_problems
from tasks.rationales import write_rationales
from tasks.report import publish, report
from tasks.train import train
from tripost_core.config import RunConfig
from tripost_core.plan import CONTINUED, RATIONALE

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
        problems = make_problems(plan.problems())
        plan.note_problems(problems)
        if plan.asks_for_rationales:
            problems = write_rationales(plan.rationales(problems))
            plan.note(RATIONALE, 0, rationales=problems)

        gold = balance(plan.gold_rows(problems))
        student = rationale_student = train(plan.train_rationale(gold))
        answers = evaluate(plan.evaluate(RATIONALE, student, problems))
        plan.note(RATIONALE, 0, balance=gold, train=student, evaluate=answers)
        publish(plan.record)

        triplets, students = [], []
        for iteration in range(1, plan.config.iterations + 1):
            name = plan.name(iteration)
            trajectories = generate_all(plan, student, problems, iteration)
            plan.note(name, iteration, generate=trajectories)
            trajectories = feedback(plan.feedback(trajectories, iteration, 0))
            plan.note(name, iteration, feedback_0=trajectories)
            for round_ in plan.rounds():
                if not plan.has_open(trajectories):
                    break
                improved = improve(plan.improve(trajectories, iteration, round_))
                trajectories = feedback(plan.feedback(improved, iteration, round_))
                plan.note(name, iteration, **{f"improve_{round_}": improved, f"feedback_{round_}": trajectories})
            triplets.append(filter_triplets(plan.filter(trajectories, student, iteration)))
            plan.note(name, iteration, filter=triplets[-1])
            if plan.too_few(triplets[-1], iteration):
                break
            rows = balance(plan.balance(triplets, problems, iteration))
            student = train(plan.train(student, rows, iteration))
            students.append(student)
            answers = evaluate(plan.evaluate(name, student, problems))
            plan.note(name, iteration, balance=rows, train=student, evaluate=answers)
            publish(plan.record)

        continued = rationale_student
        for iteration, like in enumerate(students, 1):
            continued = train(plan.train_continued(continued, gold, like, iteration))
            plan.note(CONTINUED, None, **{f"train_{iteration}": continued})
        if students:
            answers = evaluate(plan.evaluate(CONTINUED, continued, problems))
            plan.note(CONTINUED, None, evaluate=answers)

        publish(plan.record)
        report(plan.record, str(plan.output))
        plan.finish()
        return str(plan.output)
