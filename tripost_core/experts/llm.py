"""FBK and IMP by a large model behind an endpoint (section 2.2), with form-type few-shot prompts.

What the model says is read into a verdict or a repair (`reading.py`); the feedback sentence is always formatted by us,
so it has all its parts. A reply that cannot be used is asked for again, a few times, with the reason; then its place in
the row is taken by a typed outcome.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tripost_core.config import ExpertConfig
from tripost_core.experts.base import NoAnswer, Verdict
from tripost_core.experts.messages import (
    MESSAGES_VERSION,
    VERDICT_SCHEMA,
    Message,
    correction,
    feedback_messages,
    improve_messages,
    rationale_messages,
)
from tripost_core.experts.prompts import PromptFile
from tripost_core.experts.reading import PROBLEMS, Unusable, is_complete, read_rationale, read_repair, read_verdict
from tripost_core.problems.base import Problem, Task
from tripost_core.trajectory import Attempt, Feedback

Read = TypeVar("Read", Verdict, str)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of an endpoint. `outcome`: `ok`, or why there is no text to read (`empty`, `refused`, `cut_off`,
    `bad_request`, ...); `detail`: what the endpoint said about it."""

    outcome: str
    text: str = ""
    detail: str = ""


class Ask(Protocol):
    """How an expert reaches its model: messages and sampling parameters in, reply out; never raises for one call."""

    async def __call__(
        self, messages: list[Message], *, temperature: float, sample: int, response_format: dict[str, Any] | None
    ) -> Reply: ...


class LLMExpert:
    """Judges and repairs attempts at `task` by asking a model.

    An attempt with the right, consistent final answer counts as correct without a call unless `judge_right_answers`.
    """

    def __init__(self, config: ExpertConfig, task: Task, prompts: PromptFile, ask: Ask) -> None:
        self.config = config
        self.task = task
        self.prompts = prompts
        self.ask = ask
        self.kinds = tuple(prompts.kinds)
        self.structured = config.structured_output != "off"
        self.name = f"{config.model}/{prompts.identity}.{MESSAGES_VERSION}"

    async def feedback(self, problem: Problem, attempt: str) -> Verdict | NoAnswer:
        """The first error of `attempt`, or that there is none."""
        right = self.task.is_right(attempt, problem.answer)
        if right and not self.config.judge_right_answers and self.task.is_consistent(attempt, problem.question):
            return Verdict(True)
        shown = problem.answer if self.config.show_answer else None

        def messages() -> list[Message]:
            return feedback_messages(self.prompts, problem.question, attempt, shown, self.structured)

        return await self._usable(messages, lambda reply: read_verdict(reply, attempt, self.kinds, right), form=True)

    async def own_feedback(self, problem: Problem, attempt: str) -> Verdict | NoAnswer:
        """What the model says of an attempt when nobody knows the answer: the known one is neither shown nor used."""

        def messages() -> list[Message]:
            return feedback_messages(self.prompts, problem.question, attempt, None, self.structured)

        return await self._usable(messages, lambda reply: read_verdict(reply, attempt, self.kinds, True), form=True)

    async def attempt(self, problem: Problem) -> str:
        """Few-shot chain of thought: the first reply, whatever it is; empty where there is none."""
        reply = await self._ask(rationale_messages(self.prompts, problem.question), self.config.temperature, 0, False)
        rationale = read_rationale(reply.text)
        return reply.text if isinstance(rationale, Unusable) else rationale

    async def improve(self, problem: Problem, attempt: str, feedback: str) -> str | NoAnswer:
        """`attempt` with every line before its first error kept and the rest written anew by the model."""
        said = Feedback.parse(feedback)
        if said.terminal:
            return attempt
        if said.error_step is None:
            return NoAnswer("feedback_names_no_step")
        kept = [step.line for step in Attempt.parse(attempt).untouched(said.error_step)]
        if is_complete(kept):
            return "\n".join(kept)

        def messages() -> list[Message]:
            return improve_messages(self.prompts, problem.question, attempt, feedback)

        return await self._usable(messages, lambda reply: read_repair(reply, attempt, feedback))

    async def rationale(self, problem: Problem) -> str | NoAnswer:
        """A right and consistent rationale for a question that no script solves (the paper's Appendix A)."""

        def read(reply: str) -> str | Unusable:
            rationale = read_rationale(reply)
            if isinstance(rationale, Unusable):
                return rationale
            if not self.task.is_right(rationale, problem.answer):
                return Unusable("wrong_answer")
            return rationale if self.task.is_consistent(rationale, problem.question) else Unusable("inconsistent_final")

        # Told that its answer is wrong, a model may bend its reasoning to another one: it is only asked anew.
        return await self._usable(lambda: rationale_messages(self.prompts, problem.question), read, explain=False)

    async def _usable(
        self,
        messages: Callable[[], list[Message]],
        read: Callable[[str], Read | Unusable],
        form: bool = False,
        explain: bool = True,
    ) -> Read | NoAnswer:
        """The first usable reading of up to `max_samples` replies."""
        extra: list[Message] = []
        reason = "no_reply"
        for sample in range(self.config.max_samples):
            temperature = self.config.temperature if sample == 0 else self.config.retry_temperature
            structured = form and self.structured
            reply = await self._ask(messages() + extra, temperature, sample, structured)
            if structured and reply.outcome == "bad_request" and self._is_about_structure(reply):
                self.structured = False  # this endpoint cannot: from now on everything is asked for as a form
                reply = await self._ask(messages(), temperature, sample, False)
            if reply.outcome == "bad_request":
                return NoAnswer(reply.outcome)  # it would be refused again
            if reply.outcome != "ok":
                reason = reply.outcome
                continue
            result = read(reply.text)
            if not isinstance(result, Unusable):
                return result
            reason = result.reason
            extra = correction(reply.text, PROBLEMS[reason]) if explain and reason in PROBLEMS else []
        return NoAnswer(reason)

    def _ask(self, messages: list[Message], temperature: float, sample: int, structured: bool) -> Awaitable[Reply]:
        response_format = VERDICT_SCHEMA if structured else None
        return self.ask(messages, temperature=temperature, sample=sample, response_format=response_format)

    def _is_about_structure(self, reply: Reply) -> bool:
        if self.config.structured_output == "on":
            return False
        words = ("response_format", "json_schema", "schema", "structured", "guided", "grammar")
        return any(word in reply.detail.lower() for word in words)
