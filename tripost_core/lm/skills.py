"""The two skills that self-improvement is made of, each measured alone by forcing it on the student's own attempts.

- judging: `Feedback:` is put after its first attempt, and what it says is compared with the scripted FBK;
- repairing: after its wrong attempts it is given FBK's own feedback, and its update is judged.

What a student does unasked depends on both and on how often it tries; these do not. Two controls say what is behind
them: judging the gold rationale of a question that it gets wrong (a student that reads has nothing against it), and an
update where there was no attempt at all (what an update is worth by its form alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tripost_core.experts import load_expert
from tripost_core.experts.base import judgement
from tripost_core.experts.checks import of_task
from tripost_core.lm.self_improve import FEEDBACK_HEADER, STOP
from tripost_core.problems import Problem, TaskReference, load_task
from tripost_core.problems.base import prompt
from tripost_core.trajectory import Attempt, Feedback

if TYPE_CHECKING:
    from tripost_core.lm.student import Student

MAX_FEEDBACK_TOKENS = 1024


def skills(
    student: Student,
    task_name: TaskReference,
    problems: Sequence[Problem],
    first_attempts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_tokens: int,
    checks: bool = False,
) -> dict[str, float | int | None]:
    """`first_attempts`: of the student at these problems, in their order. Questions that the script cannot read are
    left out. Shares of 1, None where nothing counts:

    - `n`, `num_wrong`: attempts, and those that FBK calls wrong (a lucky one is);
    - `verdict`: right about whether the attempt is wrong; `always_wrong`: what saying so each time would get;
    - `found`: of the wrong attempts, called wrong; `step`: and the right step named; `false_alarms`: of the right ones;
    - `found_in_gold`: of the questions with a wrong attempt, the gold rationale in its place called wrong;
    - `repaired`: of the wrong attempts, mended when told FBK's feedback; `kept`: with the lines before the error kept;
    - `at_once`: of all questions, right by an update where there is no attempt.

    `checks`: the feedback that is told works its checks out. Raises ConfigError for a task without a scripted expert.
    """
    from tripost_core.lm.generate import sample

    task, expert = load_task(task_name), load_expert({"checks": checks}, task_name, 0)
    all_judged = [(p, a, judgement(expert, p, a)) for p, a in zip(problems, first_attempts, strict=True)]
    judged = [(problem, attempt, verdict) for problem, attempt, verdict in all_judged if verdict is not None]
    problems, first_attempts = [problem for problem, _, _ in judged], [attempt for _, attempt, _ in judged]
    verdicts = [verdict for _, _, verdict in judged]
    write = partial(sample, student, temperature=0.0, batch_tokens=batch_tokens)
    heads = [f"{prompt(task, p.question)}\n{a}{FEEDBACK_HEADER}" for p, a in zip(problems, first_attempts, strict=True)]

    def judge(heads: Sequence[str]) -> list[Feedback]:
        said = write(heads, [0] * len(heads), max_new_tokens=MAX_FEEDBACK_TOKENS, stop=STOP)
        return [Feedback.parse(completion.text.partition("\n")[0]) for completion in said]

    def update(heads: Sequence[str]) -> list[str]:
        said = write(heads, [0] * len(heads), max_new_tokens=max_new_tokens, stop=FEEDBACK_HEADER)
        return [completion.text.removesuffix(FEEDBACK_HEADER).strip("\n") for completion in said]

    sentences = judge(heads)
    wrong = [i for i, verdict in enumerate(verdicts) if not verdict.correct]
    right = [i for i, verdict in enumerate(verdicts) if verdict.correct]
    told = {i: verdicts[i].sentence(first_attempts[i]) for i in wrong}
    header = f"\nUpdated {task.answer_header}"
    updates = update([f"{heads[i]} {told[i]}{header}" for i in wrong])
    golds = [problem.rationale or task.rationale(problem.question) for problem in problems]
    in_gold = judge([f"{prompt(task, problems[i].question)}\n{golds[i]}{FEEDBACK_HEADER}" for i in wrong])
    at_once = update([f"{prompt(task, p.question).removesuffix(task.answer_header)}{header[1:]}" for p in problems])
    repaired = kept = 0
    for i, updated in zip(wrong, updates, strict=True):
        step = Feedback.parse(told[i]).error_step
        untouched = Attempt.parse(first_attempts[i]).untouched(step) if step else ()
        plain = of_task(task_name).without_workings(updated) if checks else updated
        kept += Attempt.parse(plain).steps[: len(untouched)] == untouched
        repaired += expert.feedback(problems[i], updated).correct
    alarms = [i for i in range(len(problems)) if sentences[i].error_step is not None]
    found = [i for i in alarms if i in told]
    named = [i for i in found if sentences[i].error_step == verdicts[i].error_step]
    agreed = len(found) + sum(sentences[i].terminal for i in right)

    def share(count: int, of: int) -> float | None:
        return count / of if of else None

    return {
        "n": len(problems),
        "num_wrong": len(wrong),
        "verdict": share(agreed, len(problems)),
        "always_wrong": share(len(wrong), len(problems)),
        "found": share(len(found), len(wrong)),
        "step": share(len(named), len(wrong)),
        "false_alarms": share(len(alarms) - len(found), len(right)),
        "found_in_gold": share(sum(sentence.error_step is not None for sentence in in_gold), len(wrong)),
        "repaired": share(repaired, len(wrong)),
        "kept": share(kept, len(wrong)),
        "at_once": share(
            sum(expert.feedback(p, a).correct for p, a in zip(problems, at_once, strict=True)), len(problems)
        ),
    }
