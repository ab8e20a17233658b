"""A chat completions endpoint on loopback that can be told to misbehave: `python tests/misbehaving_endpoint.py PORT`.

In a test: `with serving(behaviour, reply) as url`, in a thread of its own. Its counters say what arrived. Fractions of
the calls: `p429` (with Retry-After), `p500`, `drop` (the connection is cut), `empty`, `garbage`, `cut`; `bad`: refused
with 400, always the same prompts. `GET /reset?p429=0.2` and `GET /stats` do the same from outside.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

GARBAGE = "Lovely weather today, is it not?"


@dataclass
class Behaviour:
    latency: float = 0.0
    p429: float = 0.0
    p500: float = 0.0
    drop: float = 0.0
    empty: float = 0.0
    garbage: float = 0.0
    cut: float = 0.0
    bad: float = 0.0
    retry_after: float = 1.0
    status: int = 0  # answers everything with this
    message: str = "no"


@dataclass
class MisbehavingEndpoint:
    """`reply`: content of a good answer to a request's body; a ValueError of it is a 400."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    reply: Callable[[dict[str, Any]], str] = lambda body: f"ok {hash_of(body)[:12]}"
    stats: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    in_flight: int = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        b, digest = self.behaviour, hash_of(body)
        self.keys.add(request.headers.get("Authorization", request.headers.get("api-key", "")))
        if len(self.bodies) < 1000:
            self.bodies.append(body)
        self.stats["requests"] += 1
        self.in_flight += 1
        self.stats["most_in_flight"] = max(self.stats["most_in_flight"], self.in_flight)
        try:
            if b.status:
                return self._error(b.status, b.message)
            if int(digest[:8], 16) / 0xFFFFFFFF < b.bad:
                return self._error(400, "this prompt is refused")
            if self.chance.random() < b.p429:
                return self._error(429, "slow down", {"Retry-After": str(b.retry_after)})
            if self.chance.random() < b.p500:
                return self._error(500, "something broke")
            await asyncio.sleep(b.latency)
            if self.chance.random() < b.drop:
                self.stats["dropped"] += 1
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            return self._answer(body, digest)
        finally:
            self.in_flight -= 1

    def _answer(self, body: dict[str, Any], digest: str) -> web.Response:
        try:
            content, finish = self.reply(body), "stop"
        except ValueError as error:
            return self._error(400, str(error))
        roll = self.chance.random()
        if roll < self.behaviour.empty:
            content = ""
        elif roll < self.behaviour.empty + self.behaviour.garbage:
            content = GARBAGE
        elif roll < self.behaviour.empty + self.behaviour.garbage + self.behaviour.cut:
            content, finish = content[: len(content) // 2], "length"
        self.stats["answered"] += 1
        self.answered[digest] += 1
        usage = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": len(content) // 4 + 1}
        message = {"role": "assistant", "content": content}
        return web.json_response({"choices": [{"message": message, "finish_reason": finish}], "usage": usage})

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
        self.stats[f"sent_{status}"] += 1
        return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    async def show(self, request: web.Request) -> web.Response:
        repeats = sum(n - 1 for n in self.answered.values())
        return web.json_response({**self.stats, "unique": len(self.answered), "repeated_answers": repeats})

    async def reset(self, request: web.Request) -> web.Response:
        known = {f.name: type(f.default) for f in fields(Behaviour)}
        self.behaviour = Behaviour(**{name: known[name](value) for name, value in request.query.items()})
        self.stats, self.answered, self.chance = Counter(), Counter(), random.Random(0)
        return web.json_response(vars(self.behaviour))

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self.chat)
        application.router.add_post("/openai/deployments/{model}/chat/completions", self.chat)
        application.router.add_get("/stats", self.show)
        application.router.add_get("/reset", self.reset)
        return application


def hash_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()


@contextmanager
def serving(endpoint: MisbehavingEndpoint, application: web.Application | None = None) -> Iterator[str]:
    """The endpoint in a thread, as its base URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application or endpoint.application())

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        return runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


if __name__ == "__main__":
    served = MisbehavingEndpoint(Behaviour(latency=0.2))
    web.run_app(served.application(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
