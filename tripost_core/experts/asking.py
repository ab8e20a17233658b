"""What an LLMExpert asks with: the client, made from the configuration, as the `Ask` of `llm.py`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tripost_core.config import CallsConfig, ExpertConfig
from tripost_core.experts.answers import Call
from tripost_core.experts.client import ExpertClient, check_budget
from tripost_core.experts.endpoint import Endpoint, check_address
from tripost_core.experts.llm import Reply
from tripost_core.experts.messages import Message
from tripost_core.experts.prices import price_of
from tripost_core.experts.response_cache import ResponseCache

API_KEY = "api_key"
CACHE_VARIABLE = "TRIPOST_CACHE"


def cache_directory(config: CallsConfig | None = None) -> Path:
    """Of the response cache: the configuration's, else $TRIPOST_CACHE, else the user's cache directory."""
    if config is not None and config.cache_dir:
        return Path(config.cache_dir).expanduser()
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "tripost" / "answers"


def open_client(
    expert: ExpertConfig, calls: CallsConfig, run: str, secrets: Mapping[str, str], max_in_flight: int | None = None
) -> ExpertClient:
    """Raises ConfigError (no key, no price for a budget, an address that is none) and StorageError (the cache)."""
    price = price_of(expert.model, calls.prices_file)
    most, key = max_in_flight or calls.max_in_flight, secrets.get(API_KEY)
    endpoint = Endpoint(
        expert.base_url, key, _key_name(calls), calls.timeout_seconds, most, expert.api, expert.api_version
    )
    return ExpertClient(
        endpoint,
        ResponseCache(cache_directory(calls)),
        price=price,
        budget_usd=calls.budget_usd,
        run=run,
        max_in_flight=most,
        requests_per_minute=calls.requests_per_minute,
        tokens_per_minute=calls.tokens_per_minute,
        batch=calls.batch,
    )


def check_calls(expert: ExpertConfig, calls: CallsConfig, secrets: Mapping[str, str]) -> None:
    """What can be said of an expert model's settings before the first call. Raises ConfigError."""
    check_budget(price_of(expert.model, calls.prices_file), calls.budget_usd)
    check_address(expert.base_url, secrets.get(API_KEY), _key_name(calls), expert.api)


def _key_name(calls: CallsConfig) -> str:
    return f"the Secret block {calls.api_key_block}" if calls.api_key_block else f"${calls.api_key_env}"


class ClientAsk:
    """`Ask` on an open client. `tag`: versions of prompt and messages, for the cache key."""

    def __init__(self, client: ExpertClient, config: ExpertConfig, tag: str) -> None:
        self.client = client
        self.config = config
        self.tag = tag

    async def __call__(
        self, messages: list[Message], *, temperature: float, sample: int, response_format: dict[str, Any] | None
    ) -> Reply:
        answer = await self.client.complete(
            Call(
                model=self.config.model,
                messages=tuple(messages),
                temperature=temperature,
                max_tokens=self.config.max_tokens,
                response_format=response_format,
                sample=sample,
                tag=self.tag,
            )
        )
        return Reply(answer.outcome, answer.text, answer.detail)

    def summary(self) -> str:
        return self.client.statistics.summary()

    def figures(self) -> dict[str, float]:
        """`calls`, `cache_hits`, `cost_usd` for the stage's manifest."""
        statistics = self.client.statistics
        return {
            "calls": statistics.calls,
            "cache_hits": statistics.cache_hits + statistics.joined,
            "cost_usd": round(statistics.cost_usd, 9),
        }


@asynccontextmanager
async def open_ask(
    config: ExpertConfig, calls: CallsConfig, run: str, secrets: Mapping[str, str], tag: str
) -> AsyncIterator[ClientAsk]:
    """The client of a stage, closed at the end of the block."""
    async with open_client(config, calls, run, secrets) as client:
        yield ClientAsk(client, config, tag)
