"""Stage `demonstrate`: an expert's own attempts, for FBK and IMP to treat like a student's (ft SI. demo, section 3.2).

A script makes no mistakes of its own, so they are planted: of the classes that the student does *not* favour, because
what distinguishes the baseline is that its mistakes are somebody else's. A model's own attempts are its own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from tripost_core.buffers import Row, read_rows
from tripost_core.config import ExpertConfig, SiDemoConfig
from tripost_core.editing import GENERATED, new_turn, problem_of
from tripost_core.errors import ConfigError
from tripost_core.experts import load_expert
from tripost_core.experts.editors import LLMEditor, open_editor
from tripost_core.experts.mistakes import error_classes, plant
from tripost_core.problems.base import Problem
from tripost_core.problems.names import TASKS
from tripost_core.replay.rows import stable_id
from tripost_core.stages import StageContext, StageResult
from tripost_core.stages.generate import PROBLEM_COLUMNS, problems_of_split

PLANTED = "planted"


def run(context: StageContext) -> StageResult:
    """Config: `SiDemoConfig` and `expert`; params: `task`; inputs: `problems` and, for a script, `judged` (the
    student's attempts after FBK). Output: `trajectories-2`, one attempt for every training prompt.

    Metrics: `num_planted` and, for a script, `error_classes` planted and `excluded`. Raises ConfigError for a script
    that knows no mistakes to plant, DataError where there is no training question.
    """
    expert = ExpertConfig.model_validate(context.config["expert"])
    config = SiDemoConfig.model_validate({k: v for k, v in context.config.items() if k != "expert"})
    problems = problems_of_split(context.inputs["problems"], "train")
    if expert.kind == "script":
        result = _planted(context, config, expert, problems)
    else:
        result = _written(context, config, expert, problems)
    context.progress("demonstrations", len(problems), len(problems))
    return result


def favourites(classes: Counter[str], share: float) -> list[str]:
    """The most frequent classes, as few as make up `share` of all errors."""
    found: list[str] = []
    rest = share * classes.total()
    for name, count in sorted(classes.items(), key=lambda item: (-item[1], item[0])):
        if rest <= 0:
            break
        found.append(name)
        rest -= count
    return found


def _planted(context: StageContext, config: SiDemoConfig, expert: ExpertConfig, problems: list[Row]) -> StageResult:
    task = context.params["task"]
    if task not in TASKS:
        raise ConfigError("ft SI. demo needs mistakes to plant, which a task of one's own has not: expert.kind llm.")
    first = [row["turns"][0] for row in read_rows(context.inputs["judged"]) if row["turns"]]
    student = Counter(turn["error_class"] for turn in first if turn["correct"] is False and turn["error_class"])
    excluded = favourites(student, config.excluded_share)
    allowed = [name for name in error_classes(task) if name not in excluded]
    if not allowed:
        raise ConfigError(
            "The student favours every class of error that can be planted: si_demo.excluded_share is too high."
        )
    name = load_expert(expert, task, context.seed).name
    rows, planted = [], Counter[str]()
    for problem in problems:
        rng = random.Random(f"demonstrate/{context.seed}/{problem['problem_id']}")
        mistaken = _mistake(problem_of(problem), allowed, rng) if rng.random() < config.mistake_rate else None
        if mistaken is not None:
            planted[mistaken[1]] += 1
        attempt = problem["rationale"] if mistaken is None else mistaken[0]
        rows.append(_trajectory(problem, attempt, name if mistaken is None else PLANTED, name))
    metrics = {"num_planted": planted.total(), "error_classes": dict(sorted(planted.items())), "excluded": excluded}
    return _result(rows, metrics)


def _mistake(problem: Problem, classes: Sequence[str], rng: random.Random) -> tuple[str, str] | None:
    for name in rng.sample(classes, len(classes)):
        if (found := plant(problem, name, rng)) is not None:
            return found.attempt, name
    return None


def _written(context: StageContext, config: SiDemoConfig, expert: ExpertConfig, problems: list[Row]) -> StageResult:
    hot = expert.model_copy(update={"temperature": config.temperature})
    editor = open_editor(hot, context.params["task"], context.seed, context.request.means, context.secrets)
    assert isinstance(editor, LLMEditor)
    asked = [problem_of(problem) for problem in problems]
    attempts = editor.each(asked, lambda model, problem: model.attempt(problem), "attempts", context.progress)
    name = f"{expert.model}/own"
    rows = [_trajectory(problem, text, name, name) for problem, text in zip(problems, attempts, strict=True)]
    result = _result(rows, {"num_planted": 0})
    result.expert = editor.figures()
    return result


def _trajectory(problem: Row, attempt: str, source: str, by: str) -> Row:
    return {
        "trajectory_id": stable_id("demonstration", problem["problem_id"]),
        **{name: problem[name] for name in PROBLEM_COLUMNS},
        "iteration": 1,
        "sample": 0,
        "seed": 0,
        "num_tokens": 0,
        "truncated": False,
        "status": GENERATED,
        "reason": None,
        "round": 0,
        "edited": False,
        "turns": [new_turn(attempt, source, by)],
    }


def _result(rows: list[Row], metrics: dict[str, object]) -> StageResult:
    return StageResult("trajectories-2", rows, num_in=len(rows), num_kept=len(rows), metrics=metrics)
