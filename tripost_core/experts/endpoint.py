"""Requests of an OpenAI-compatible endpoint: the `openai` package's address, authentication and aiohttp transport.

Its response models are left out: building them takes half of the time of a call (docs/log.md), and we read five fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tripost_core.errors import ConfigError
from tripost_core.experts import answers
from tripost_core.experts.answers import Answer, Call

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NO_KEY = "none"
"""Sent where no key is known: local servers want a header, but no secret in it."""


@dataclass(frozen=True, slots=True)
class Received:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """One endpoint. `max_connections`: calls in flight at most; `key`: never logged, stored or compared.

    Raises ConfigError for an address that is none, and for a key that is missing where one is needed.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        key_name: str,
        timeout_seconds: float,
        max_connections: int,
        api: str = "openai",
        api_version: str | None = None,
    ) -> None:
        import httpx2
        from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"expert.base_url = {base_url!r} is not an http or https address.")
        if parts.username or parts.password:
            raise ConfigError("expert.base_url must not have a user or password in it; the key has its own place.")
        if key is None and (parts.hostname.endswith("openai.com") or api == "azure"):
            raise ConfigError(f"{base_url} needs a key, and {key_name} is not set.")
        self.name = base_url.rstrip("/")
        self.key_name = key_name
        self._httpx = httpx2
        self._api = api
        self._api_version = api_version
        # The header must be something that can be sent; what is wrong with it is for the endpoint to say.
        secret = key or NO_KEY
        if not secret.isascii() or any(char.isspace() for char in secret):
            raise ConfigError(f"The key in {key_name} has characters in it that no key has.")
        self._http = DefaultAioHttpClient(
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )
        self._client: AsyncOpenAI
        if api == "azure":
            self._client = AsyncAzureOpenAI(
                azure_endpoint=self.name, api_version=api_version, api_key=secret, http_client=self._http, max_retries=0
            )
            self._headers = {"api-key": secret}
        else:
            self._client = AsyncOpenAI(base_url=self.name, api_key=secret, http_client=self._http, max_retries=0)
            self._headers = dict(self._client.auth_headers)
        defaults = {k: v for k, v in self._client.default_headers.items() if isinstance(v, str)}
        self._headers = {**defaults, **self._headers, "Content-Type": "application/json"}
        self._quirks: set[str] = set()

    async def chat(self, call: Call) -> Received:
        """One request, once. Raises what the transport raises: TimeoutError kinds and `TRANSPORT_ERRORS`."""
        url = f"{self.name}/chat/completions"
        if self._api == "azure":
            url = f"{self.name}/openai/deployments/{call.model}/chat/completions?api-version={self._api_version}"
        return await self.post(url, json.dumps(self._body(call)).encode())

    async def post(self, url: str, content: bytes, headers: Mapping[str, str] | None = None) -> Received:
        return await self._send("POST", url, content, headers)

    async def get(self, url: str) -> Received:
        return await self._send("GET", url, None, None)

    async def _send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str] | None) -> Received:
        sent = {**self._headers, **(headers or {})}
        response = await self._http.send(self._httpx.Request(method, url, headers=sent, content=content))
        return Received(response.status_code, response.headers, response.content)

    def learn(self, received: Received) -> bool:
        """From a 400: which parameter the model does not take. True where the same call is worth another try."""
        said = received.body.decode(errors="replace").lower()
        for quirk, signs in (
            ("max_completion_tokens", ("max_tokens", "max_completion_tokens")),
            ("no_temperature", ("temperature", "unsupported")),
        ):
            if quirk not in self._quirks and all(sign in said for sign in signs):
                self._quirks.add(quirk)
                return True
        return False

    def _body(self, call: Call) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_completion_tokens" in self._quirks else "max_tokens"
        body: dict[str, Any] = {"model": call.model, "messages": call.messages, limit: call.max_tokens}
        if "no_temperature" not in self._quirks:
            body["temperature"] = call.temperature
        if call.response_format is not None:
            body["response_format"] = call.response_format
        return body

    @property
    def transport_errors(self) -> tuple[type[BaseException], ...]:
        return (self._httpx.TransportError, OSError)

    @property
    def timeout_errors(self) -> tuple[type[BaseException], ...]:
        return (self._httpx.TimeoutException, TimeoutError)

    async def close(self) -> None:
        await self._client.close()


def read_answer(received: Received) -> Answer:
    """What a 200 says."""
    try:
        data = json.loads(received.body)
        choice = data["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        usage = data.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Answer(answers.MALFORMED, detail=received.body[:200].decode(errors="replace"))
    finish = choice.get("finish_reason")
    if finish == "content_filter" or message.get("refusal"):
        return Answer(answers.REFUSED, text, str(message.get("refusal") or "content filter"), *tokens)
    if not isinstance(text, str):
        return Answer(answers.MALFORMED, detail=str(text)[:200])
    if finish == "length":
        return Answer(answers.CUT_OFF, text, "", *tokens)
    return Answer(answers.OK if text.strip() else answers.EMPTY, text, "", *tokens)


def error_message(received: Received) -> str:
    """What the endpoint says about an error, in one line."""
    text = received.body.decode(errors="replace")
    try:
        data = json.loads(text)
        error = data.get("error", data) if isinstance(data, dict) else data
        text = str(error.get("message") or error) if isinstance(error, dict) else str(error)
    except ValueError:
        pass
    return " ".join(text.split())[:300]
