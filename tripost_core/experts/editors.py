"""An expert at work on a whole buffer: a script row by row, a model with many calls in flight.

The stages `feedback`, `improve` and `rationales` open one by the configuration and do not care which it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tripost_core.buffers import Row
from tripost_core.config import CallsConfig, ExpertConfig
from tripost_core.editing import OPEN, improve, improve_async, judge, judge_async, num_judgements
from tripost_core.errors import TripostError
from tripost_core.experts.base import NoAnswer
from tripost_core.experts.llm import LLMExpert
from tripost_core.experts.messages import MESSAGES_VERSION
from tripost_core.problems import Problem, TaskReference

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")

_REPORT_EVERY = 50
_ROWS_PER_CALL = 4
"""Rows at work for each call in flight: enough that no slot waits, few enough that memory is bounded."""


class Editor(Protocol):
    """`figures`: `calls`, `cache_hits`, `cost_usd` so far."""

    def judge(self, rows: Sequence[Row], max_rounds: int, progress: Progress) -> list[Row]: ...
    def improve(self, rows: Sequence[Row], progress: Progress) -> list[Row]: ...
    def figures(self) -> dict[str, float]: ...


class ScriptEditor:
    """The task's scripted expert, erring at its `mistake_rate`."""

    def __init__(self, config: ExpertConfig, task: TaskReference, seed: int | str) -> None:
        from tripost_core.experts import load_expert

        self.expert = load_expert(config, task, seed)
        self.calls = 0

    def judge(self, rows: Sequence[Row], max_rounds: int, progress: Progress) -> list[Row]:
        after = self._each(rows, lambda row: judge(row, self.expert, max_rounds), "feedback", progress)
        self.calls += sum(num_judgements(old, new) for old, new in zip(rows, after, strict=True))
        return after

    def improve(self, rows: Sequence[Row], progress: Progress) -> list[Row]:
        self.calls += sum(row["status"] == OPEN for row in rows)
        return self._each(rows, lambda row: improve(row, self.expert), "improve", progress)

    def figures(self) -> dict[str, float]:
        return {"calls": self.calls, "cache_hits": 0, "cost_usd": 0.0}

    def _each(self, rows: Sequence[Row], edit: Callable[[Row], Row], what: str, progress: Progress) -> list[Row]:
        after = []
        for done, row in enumerate(rows, 1):
            after.append(edit(row))
            if done % _REPORT_EVERY == 0 or done == len(rows):
                progress(what, done, len(rows))
        return after


class LLMEditor:
    """An expert model; every answer is durable before a row sees it, so a killed stage pays for no call twice."""

    def __init__(
        self, config: ExpertConfig, task: TaskReference, calls: CallsConfig, run_dir: str, secrets: Mapping[str, str]
    ) -> None:
        from tripost_core.experts.prompts import load_prompts
        from tripost_core.problems import load_task

        self.config = config
        self.task = load_task(task)
        self.prompts = load_prompts(config.prompts or task)
        self.calls = calls
        self.run_dir = run_dir
        self.secrets = secrets
        self._figures = {"calls": 0, "cache_hits": 0, "cost_usd": 0.0}

    def judge(self, rows: Sequence[Row], max_rounds: int, progress: Progress) -> list[Row]:
        return self.each(rows, lambda expert, row: judge_async(row, expert, max_rounds), "feedback", progress)

    def improve(self, rows: Sequence[Row], progress: Progress) -> list[Row]:
        return self.each(rows, lambda expert, row: improve_async(row, expert), "improve", progress)

    def rationales(self, problems: Sequence[Problem], progress: Progress) -> list[str | NoAnswer]:
        """One per problem: right and consistent, or why there is none."""
        return self.each(problems, lambda expert, problem: expert.rationale(problem), "rationales", progress)

    def figures(self) -> dict[str, float]:
        return self._figures

    def each(
        self,
        items: Sequence[Item],
        work: Callable[[LLMExpert, Item], Awaitable[Result]],
        what: str,
        progress: Progress,
    ) -> list[Result]:
        """`work` of every item, in order, with one client; counts go to `figures`."""
        try:
            return asyncio.run(self._each_async(items, work, what, progress))
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _each_async(
        self,
        items: Sequence[Item],
        work: Callable[[LLMExpert, Item], Awaitable[Result]],
        what: str,
        progress: Progress,
    ) -> list[Result]:
        from tripost_core.experts.asking import open_ask

        tag = f"{self.prompts.identity}.{MESSAGES_VERSION}"
        async with open_ask(self.config, self.calls, self.run_dir, self.secrets, tag) as asked:
            expert = LLMExpert(self.config, self.task, self.prompts, asked)

            def report(done: int, total: int) -> None:
                progress(f"{what}: {asked.summary()}; rows", done, total)

            try:
                # A batch takes every row at once.
                most = len(items) if self.calls.batch else self.calls.max_in_flight * _ROWS_PER_CALL
                return await map_bounded(lambda item: work(expert, item), items, most, report)
            finally:
                self._figures = asked.figures()


async def map_bounded(
    function: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    max_at_work: int,
    progress: Callable[[int, int], None],
) -> list[Result]:
    """`function` of every item, in order, with at most `max_at_work` of them begun and not done.

    The first exception (a wrong key, a budget that is used up) ends it, after the others have been told to stop.
    """
    results: list[Any] = [None] * len(items)
    waiting = iter(enumerate(items))
    done = 0

    async def worker() -> None:
        nonlocal done
        for index, item in waiting:
            results[index] = await function(item)
            done += 1
            progress(done, len(items))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(max_at_work, len(items))):
            group.create_task(worker())
    return results


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a user can cause, if there is one among those of concurrent calls, else the first."""
    errors: list[BaseException] = []
    for error in group.exceptions:
        errors.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in errors if isinstance(error, TripostError)), errors[0])


def open_editor(
    config: ExpertConfig, task: TaskReference, seed: int | str, means: Mapping[str, Any], secrets: Mapping[str, str]
) -> Editor:
    """The editor that the configuration names. `means`: `calls` and `run_dir` where it is a model."""
    if config.kind == "script":
        return ScriptEditor(config, task, seed)
    return LLMEditor(config, task, CallsConfig.model_validate(means["calls"]), means["run_dir"], secrets)
