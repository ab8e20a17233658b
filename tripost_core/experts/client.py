"""The expert client: many calls of one endpoint at once, each paid once, none lost, never over the budget.

A call is looked up in the response cache, joined to the same call where that is in flight, or sent: when the budget has
room for its worst case, the rate limits let it start and the number in flight allows it. Its answer is durable before
anybody sees it. Rate limits are waited out and cost no attempt; errors of server and network cost one each.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from tripost_core.errors import ConfigError, StoppedError, TripostError
from tripost_core.experts import answers
from tripost_core.experts.answers import ANSWERED, Answer, Call
from tripost_core.experts.batches import BatchSender
from tripost_core.experts.budget import Budget
from tripost_core.experts.endpoint import Endpoint, Received, error_message, read_answer
from tripost_core.experts.limits import AdaptiveConcurrency, RateLimiter, duration_seconds, retry_after_seconds
from tripost_core.experts.prices import Price
from tripost_core.experts.response_cache import Paid, ResponseCache

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 20.0
MAX_WAIT_SECONDS = 3600.0
"""Of one call on rate limits; then its outcome is `rate_limited`."""
DEAD_AFTER_FAILURES = 20
"""Calls in a row that did not reach the endpoint: it is gone, and the run stops with everything kept."""
HOPELESS_AFTER_FAILURES = 10
"""Calls without a single answer: something is wrong with all of them, and no row should pay for it."""


@dataclass
class Statistics:
    """Of one client so far; `in_flight` now."""

    calls: int = 0
    cache_hits: int = 0
    joined: int = 0
    retries: int = 0
    rate_limited: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    in_flight: int = 0

    def summary(self) -> str:
        """`812 calls, 40 cached, 3 retries, 64 in flight, $0.1234`."""
        parts = [f"{self.calls} calls", f"{self.cache_hits + self.joined} cached"]
        parts += [f"{self.retries + self.rate_limited} retries"] if self.retries + self.rate_limited else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join([*parts, f"{self.in_flight} in flight", f"${self.cost_usd:.4f}"])


class ExpertClient:
    """Async context manager; see the module. `run`: whose spending counts against `budget_usd`.

    Raises ConfigError where a budget is set and the model has no price (`check_budget`).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: ResponseCache,
        *,
        price: Price | None = None,
        budget_usd: float | None = None,
        run: str = "",
        max_in_flight: int = 64,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        batch: bool = False,
    ) -> None:
        check_budget(price, budget_usd)
        self.endpoint = endpoint
        self.cache = cache
        self.price = price
        self.run = run
        self.budget = Budget(budget_usd, cache.spent_usd(run) if budget_usd is not None else 0.0)
        self.batches = BatchSender(endpoint, cache) if batch else None
        self.gate = AdaptiveConcurrency(max_in_flight)
        self.requests = RateLimiter(requests_per_minute)
        self.tokens = RateLimiter(tokens_per_minute)
        self.statistics = Statistics()
        self._same: dict[str, asyncio.Future[Answer]] = {}
        self._unwritten: list[tuple[Paid, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, "response-cache")
        self._unreachable_in_a_row = 0
        self._failed_in_a_row = 0
        self._has_answered = False
        self._last_failure = ""

    async def __aenter__(self) -> ExpertClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last_failure:
            _log.warning("%d calls got no answer; the last: %s", self.statistics.failed, self._last_failure)
        if self.batches is not None:
            await self.batches.close()
        if self._writing is not None:
            await self._writing
        self._writer.shutdown(wait=True)
        await self.endpoint.close()
        self.cache.close()

    async def complete(self, call: Call) -> Answer:
        """The answer of `call`; whatever is wrong with this call alone is the answer's outcome.

        Raises ConfigError (key, model or address refused), StoppedError (budget used up, no quota, endpoint gone),
        StorageError (the answer cannot be kept).
        """
        key = call.key(self.endpoint.name)
        if (found := self.cache.get(key)) is not None:
            self.statistics.cache_hits += 1
            return found
        if (same := self._same.get(key)) is not None:
            self.statistics.joined += 1
            return replace(await asyncio.shield(same), cost_usd=0.0, from_cache=True)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._same[key] = future
        try:
            answer = await self._paid(call, key)
        except BaseException as error:
            # Whoever waits for the same call gets the same error, and a cancelled one does not take others with it.
            future.set_exception(error if isinstance(error, TripostError) else StoppedError("The call was given up."))
            future.exception()
            raise
        else:
            future.set_result(answer)
            return answer
        finally:
            del self._same[key]

    async def complete_all(self, calls: Iterable[Call], progress: Callable[[int], None] | None = None) -> list[Answer]:
        """Answers in the order of `calls`, which are taken as places become free: any number of them may wait."""
        results: dict[int, Answer] = {}
        waiting = iter(enumerate(calls))

        async def worker() -> None:
            for index, call in waiting:
                results[index] = await self.complete(call)
                if progress is not None:
                    progress(len(results))

        async with asyncio.TaskGroup() as group:
            # A batch takes all that there is; otherwise two at work for each that can be in flight are enough.
            for _ in range(50_000 if self.batches is not None else 2 * self.gate.most):
                group.create_task(worker())
        return [results[index] for index in range(len(results))]

    # -- one call ----------------------------------------------------------------------------------------------------

    async def _paid(self, call: Call, key: str) -> Answer:
        worst = self._cost_usd(call.most_prompt_tokens, call.max_tokens)
        async with self.budget.reserved(worst):
            if self.batches is not None:
                self.statistics.calls += 1
                return await self._charged(call, key, await self.batches.ask(call, key))
            answer, holds_place = await self._asked(call)
            try:
                return await self._charged(call, key, answer)
            finally:
                if holds_place:
                    self.gate.leave()

    async def _charged(self, call: Call, key: str, answer: Answer) -> Answer:
        """Counted and durable, where it was an answer."""
        if answer.outcome not in ANSWERED:
            self.statistics.failed += 1
            self._failed(answer)
            return answer
        self._has_answered, self._failed_in_a_row = True, 0
        if self.price is not None:
            # An endpoint that does not say how many tokens it was is charged for the most that it can have been.
            prompt = answer.prompt_tokens or call.most_prompt_tokens
            completion = answer.completion_tokens or (call.max_tokens if not answer.prompt_tokens else 0)
            answer = replace(answer, cost_usd=self._cost_usd(prompt, completion))
        self.budget.pay(answer.cost_usd)
        self.statistics.cost_usd += answer.cost_usd
        self.statistics.prompt_tokens += answer.prompt_tokens
        self.statistics.completion_tokens += answer.completion_tokens
        await self._kept(Paid(key, self.endpoint.name, call.model, call.tag, self.run, answer))
        return answer

    def _failed(self, answer: Answer) -> None:
        """Raises StoppedError where there is no hope that the next call is better."""
        self._failed_in_a_row += 1
        said = self.endpoint.scrubbed(answer.detail)
        self._last_failure = f"{answer.outcome.replace('_', ' ')}{': ' if said else ''}{said}"
        most = max(2 * HOPELESS_AFTER_FAILURES, 2 * self.gate.most) if self._has_answered else HOPELESS_AFTER_FAILURES
        if self._failed_in_a_row >= most:
            raise StoppedError(
                f"{self.endpoint.name} answered none of {self._failed_in_a_row} calls in a row ({self._last_failure}); "
                "every answer so far is kept, and the same command goes on from here."
            )

    def _cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        if self.price is None:
            return 0.0
        return self.price.cost_usd(prompt_tokens, completion_tokens, batch=self.batches is not None)

    async def _asked(self, call: Call) -> tuple[Answer, bool]:
        """The last word on a call, and whether it still has its place in the gate: it keeps that until it is durable,
        so that a kill never costs more answers than may be in flight."""
        attempts, waited, started = 0, 0.0, time.monotonic()
        while True:
            failure, pause = await self._attempt(call)
            if pause is None:
                return failure, True
            if failure.outcome == answers.RATE_LIMITED:
                self.statistics.rate_limited += 1
                waited = time.monotonic() - started
                if waited + pause > MAX_WAIT_SECONDS:
                    return failure, False
            else:
                attempts += 1
                if attempts == MAX_ATTEMPTS:
                    return failure, False
                self.statistics.retries += 1
                pause = max(pause, min(FIRST_BACKOFF_SECONDS * 2 ** (attempts - 1), LONGEST_BACKOFF_SECONDS))
                pause *= random.uniform(0.75, 1.25)
            await asyncio.sleep(pause)

    async def _attempt(self, call: Call) -> tuple[Answer, float | None]:
        """One request: a final answer, which keeps its place in the gate, and None; or a failure and the seconds to
        wait before the next request."""
        await self.gate.enter()
        pause: float | None = 0.0
        try:
            tokens = call.most_prompt_tokens / 4 + call.max_tokens / 2 if self.tokens.per_minute else 0.0
            if delay := max(self.requests.delay(), self.tokens.delay(tokens)):
                await asyncio.sleep(delay)
            self.statistics.calls += 1
            self.statistics.in_flight += 1
            sent = time.monotonic()
            try:
                received = await self.endpoint.chat(call)
            except self.endpoint.timeout_errors:
                return Answer(answers.TIMED_OUT), 0.0
            except self.endpoint.transport_errors as error:
                self._not_reached(error)
                return Answer(answers.UNREACHABLE, detail=type(error).__name__), 0.0
            finally:
                self.statistics.in_flight -= 1
            self._unreachable_in_a_row = 0
            answer, pause = self._judged(received, time.monotonic() - sent)
            return answer, pause
        finally:
            if pause is not None:
                self.gate.leave()

    def _judged(self, received: Received, latency: float) -> tuple[Answer, float | None]:
        status = received.status
        if status == 200:
            self.gate.answered(latency)
            self._learn_limits(received)
            answer = read_answer(received)
            return answer, (0.0 if answer.outcome == answers.MALFORMED else None)
        said = error_message(received)
        if status in (429, 503):
            if "insufficient_quota" in received.body.decode(errors="replace"):
                raise StoppedError(f"{self.endpoint.name} says that the account has no quota left; answers are kept.")
            self.gate.busy()
            self._learn_limits(received)
            pause = retry_after_seconds(received.headers)
            return Answer(answers.RATE_LIMITED, detail=said), 1.0 if pause is None else pause
        if status in (401, 403):
            raise ConfigError(f"{self.endpoint.name} refuses the key of {self.endpoint.key_name} (HTTP {status}).")
        if status == 404:
            raise ConfigError(f"{self.endpoint.name} does not know the address or the model (HTTP 404): {said}")
        if status in (408, 409, 425) or status >= 500:
            return Answer(answers.SERVER_ERROR, detail=f"HTTP {status}: {said}"), 0.0
        if status == 400 and self.endpoint.learn(received):
            return Answer(answers.SERVER_ERROR, detail=said), 0.0
        return Answer(answers.BAD_REQUEST, detail=said), None

    def _not_reached(self, error: BaseException) -> None:
        self._unreachable_in_a_row += 1
        if self._unreachable_in_a_row >= max(DEAD_AFTER_FAILURES, 2 * self.gate.in_flight):
            raise StoppedError(
                f"{self.endpoint.name} cannot be reached ({type(error).__name__}); every answer so far is kept, and "
                "the same command goes on from here."
            ) from error

    def _learn_limits(self, received: Received) -> None:
        """OpenAI's `x-ratelimit-...`: how many a minute, and when there are some again."""
        for unit, limiter in (("requests", self.requests), ("tokens", self.tokens)):
            limit = received.headers.get(f"x-ratelimit-limit-{unit}")
            if limit is not None and limit.isdigit():
                limiter.learn(float(limit))
            if received.headers.get(f"x-ratelimit-remaining-{unit}") == "0":
                limiter.pause(min(duration_seconds(received.headers.get(f"x-ratelimit-reset-{unit}", "")) or 0.0, 60.0))

    # -- keeping it --------------------------------------------------------------------------------------------------

    async def _kept(self, paid: Paid) -> None:
        """Returns when the answer is durable; answers that come in together are written together."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritten.append((paid, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await asyncio.shield(done)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._unwritten:
            batch, self._unwritten = self._unwritten, []
            try:
                await loop.run_in_executor(self._writer, self.cache.put_many, [paid for paid, _ in batch])
            except Exception as error:
                for _, done in batch:
                    done.set_exception(error)
                    done.exception()
                continue
            for _, done in batch:
                done.set_result(None)
        self._writing = None


def check_budget(price: Price | None, budget_usd: float | None) -> None:
    """Raises ConfigError where a budget is set and the model has no price."""
    if budget_usd is not None and price is None:
        raise ConfigError(
            "calls.budget_usd is set, but the price of expert.model is not known: write it into a file "
            "(`model: {input: 1.0, output: 2.0}`, USD for a million tokens) and name that as calls.prices_file."
        )


def complete_many(
    open_client: Callable[[], ExpertClient], calls: Sequence[Call], progress: Callable[[int], None] | None = None
) -> tuple[list[Answer], dict[str, Any]]:
    """`complete_all` for a caller without an event loop: the answers, and the statistics as plain values."""

    async def run() -> tuple[list[Answer], dict[str, Any]]:
        async with open_client() as client:
            found = await client.complete_all(calls, progress)
            return found, dict(vars(client.statistics))

    return asyncio.run(run())
