"""Requests of an OpenAI-compatible endpoint: address and authentication of the `openai` package, calls over aiohttp.

The package's own ways of sending a chat request were measured (docs/log.md): with response models they reach less than
half of what aiohttp does at 256 calls in flight, without them two thirds, and its bare HTTP client four fifths. So chat
requests go over a session of aiohttp, which is what its fast transport is made of, and everything that is rare (the
batch endpoint) through the package itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from tripost_core.errors import ConfigError
from tripost_core.experts import answers
from tripost_core.experts.answers import Answer, Call

if TYPE_CHECKING:
    import aiohttp
    from openai import AsyncOpenAI

NO_KEY = "none"
"""Sent where no key is known: local servers want a header, but no secret in it."""


@dataclass(frozen=True, slots=True)
class Received:
    """An HTTP answer. `quirks`: what was known of the model when the request was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    quirks: frozenset[str] = frozenset()


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
        import aiohttp
        from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

        check_address(base_url, key, key_name, api)
        self.name = base_url.rstrip("/")
        self.key_name = key_name
        secret = key or NO_KEY
        self._secret = secret
        self.openai: AsyncOpenAI
        if api == "azure":
            self.openai = AsyncAzureOpenAI(
                azure_endpoint=self.name,
                api_version=api_version,
                api_key=secret,
                http_client=DefaultAioHttpClient(),
                timeout=timeout_seconds,
            )
            self._headers = {"api-key": secret}
        else:
            self.openai = AsyncOpenAI(
                base_url=self.name, api_key=secret, http_client=DefaultAioHttpClient(), timeout=timeout_seconds
            )
            self._headers = dict(self.openai.auth_headers)
        self._headers["Content-Type"] = "application/json"
        self._api, self._api_version = api, api_version
        self._aiohttp = aiohttp
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._quirks: set[str] = set()

    async def chat(self, call: Call) -> Received:
        """One request, once. Raises `timeout_errors` and `transport_errors`."""
        url = f"{self.name}/chat/completions"
        if self._api == "azure":
            url = f"{self.name}/openai/deployments/{call.model}/chat/completions?api-version={self._api_version}"
        session, known = self._session or self._open(), self.quirks
        async with session.post(url, data=json.dumps(self.body(call)).encode(), headers=self._headers) as response:
            return Received(response.status, response.headers, await response.read(), known)

    def _open(self) -> aiohttp.ClientSession:
        """Made with the first call, since a session belongs to an event loop."""
        self._session = self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=self._max_connections),
            timeout=self._aiohttp.ClientTimeout(total=self._timeout_seconds),
            trust_env=bool(getproxies_environment()),
            cookie_jar=self._aiohttp.DummyCookieJar(),
        )
        return self._session

    def learn(self, received: Received) -> bool:
        """From a 400: which parameter the model does not take. True where the same call is worth another try: it was
        sent before that was known, like all that were in flight with it."""
        said = received.body.decode(errors="replace").lower()
        for quirk, signs in (
            ("max_completion_tokens", ("max_tokens", "max_completion_tokens")),
            ("no_temperature", ("temperature", "unsupported")),
        ):
            if quirk not in received.quirks and all(sign in said for sign in signs):
                self._quirks.add(quirk)
                return True
        return False

    @property
    def quirks(self) -> frozenset[str]:
        """What is known by now of parameters that the model does not take."""
        return frozenset(self._quirks)

    def scrubbed(self, text: str) -> str:
        """`text` without the key, should an endpoint repeat it."""
        return text if self._secret == NO_KEY else text.replace(self._secret, "***")

    def body(self, call: Call) -> dict[str, Any]:
        """What is sent."""
        limit = "max_completion_tokens" if "max_completion_tokens" in self._quirks else "max_tokens"
        body: dict[str, Any] = {"model": call.model, "messages": call.messages, limit: call.max_tokens}
        if "no_temperature" not in self._quirks:
            body["temperature"] = call.temperature
        if call.response_format is not None:
            body["response_format"] = call.response_format
        return body

    @property
    def transport_errors(self) -> tuple[type[BaseException], ...]:
        return (self._aiohttp.ClientError, OSError)

    @property
    def timeout_errors(self) -> tuple[type[BaseException], ...]:
        return (TimeoutError,)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self.openai.close()


def check_address(base_url: str, key: str | None, key_name: str, api: str) -> None:
    """Raises ConfigError for an address that is none, and for a key that is missing where one is needed or cannot be
    sent; whether it is the right one is for the endpoint to say."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"expert.base_url = {base_url!r} is not an http or https address.")
    if parts.username or parts.password:
        raise ConfigError("expert.base_url must not have a user or password in it; the key has its own place.")
    if key is None and (str(parts.hostname).endswith("openai.com") or api == "azure"):
        raise ConfigError(f"{base_url} needs a key, and {key_name} is not set.")
    if key is not None and (not key.isascii() or any(char.isspace() for char in key)):
        raise ConfigError(f"The key in {key_name} has characters in it that no key has.")


def read_answer(received: Received) -> Answer:
    """What a 200 says. One that says how many tokens it took is paid for, so it is an answer, `empty` if of no use."""
    start = received.body[:200].decode(errors="replace")
    try:
        data = json.loads(received.body)
        usage = data.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, TypeError, AttributeError):
        return Answer(answers.MALFORMED, detail=start)
    useless = Answer(answers.EMPTY if any(tokens) else answers.MALFORMED, "", start, *tokens)
    try:
        choice = data["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return useless
    if finish == "content_filter" or message.get("refusal"):
        return Answer(answers.REFUSED, text or "", str(message.get("refusal") or "content filter"), *tokens)
    if text is None:
        return useless
    if finish == "length":
        return Answer(answers.CUT_OFF, text, "", *tokens)
    return Answer(answers.OK if text.strip() else answers.EMPTY, text, "", *tokens)


def _text(content: Any) -> str | None:
    """Of a message: text, or a list of parts of which those of text count. None for anything else."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else "" if content is None else None


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
