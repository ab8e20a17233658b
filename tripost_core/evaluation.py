"""A model evaluated outside any run: what `tripost evaluate` does."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tripost_core.buffers import Row
from tripost_core.config import EngineConfig, EvaluateConfig, StudentConfig
from tripost_core.errors import ConfigError
from tripost_core.problems import Problem, TaskReference
from tripost_core.stages import Progress


def answered(
    model: str,
    task: TaskReference,
    problems: Sequence[Problem],
    max_new_tokens: int,
    max_improvements: int,
    progress: Progress,
) -> list[Row]:
    """Rows of `answers-2` of a student by name or directory, by greedy decoding. Raises ModelError."""
    from tripost_core.lm.engines import self_improve_with
    from tripost_core.lm.student import checkpoint_digest, resolve_student
    from tripost_core.stages.evaluate import answer_rows

    directory = resolve_student(model)
    digest = checkpoint_digest(directory)
    written = self_improve_with(
        EngineConfig(),
        directory,
        StudentConfig(),
        digest,
        task,
        [problem.question for problem in problems],
        [0] * len(problems),  # greedy decoding reads no seed
        temperature=0.0,
        max_new_tokens=max_new_tokens,
        max_improvements=max_improvements,
        batch_tokens=EvaluateConfig().batch_tokens,
        progress=lambda done, total: progress("answers", done, total),
    )
    return answer_rows(task, problems, written, digest)


def forced(
    model: str,
    task: TaskReference,
    problems: list[Problem],
    rows: list[dict[str, Any]],
    max_new_tokens: int,
    checks: bool,
) -> dict[str, float | int | None]:
    """What it can do when it is made to (`lm.skills`), on its first attempts in `rows`. Raises ConfigError."""
    from tripost_core.lm.skills import skills
    from tripost_core.lm.student import load_student

    attempts = [row["turns"][0]["attempt"] for row in rows]
    return skills(
        load_student(model),
        task,
        problems,
        attempts,
        max_new_tokens=max_new_tokens,
        batch_tokens=EvaluateConfig().batch_tokens,
        checks=checks,
    )


def prompted(
    config: Path,
    task: TaskReference,
    problems: list[Problem],
    max_improvements: int,
    progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """Rows of `answers-2` of the expert model that a run config names. Raises ConfigError."""
    from tripost_core.config_file import load_config
    from tripost_core.experts.asking import API_KEY
    from tripost_core.experts.editors import LLMEditor
    from tripost_core.experts.prompted import prompted_answers

    settings = load_config(config)
    if settings.expert.kind != "llm":
        raise ConfigError(f"{config} has no expert model: expert.kind is {settings.expert.kind}.")
    calls = settings.calls
    if calls.api_key_block is not None:
        raise ConfigError(
            f"{config} names the Secret block {calls.api_key_block}, which runs read and this does not: set "
            f"${calls.api_key_env} and leave calls.api_key_block out."
        )
    key = os.environ.get(calls.api_key_env)
    # Whose spending calls.budget_usd is about: that of these questions.
    asked = hashlib.sha256("\n".join(problem.question for problem in problems).encode()).hexdigest()[:12]
    spender = f"evaluate {settings.expert.model} {problems[0].task if problems else ''} {asked}"
    editor = LLMEditor(settings.expert, task, calls, spender, {API_KEY: key} if key else {})
    rows = prompted_answers(editor, problems, max_improvements, progress)
    figures = editor.figures()
    print(
        f"{figures['calls']:.0f} calls, {figures['cache_hits']:.0f} cached, ${figures['cost_usd']:.4f}", file=sys.stderr
    )
    return rows
