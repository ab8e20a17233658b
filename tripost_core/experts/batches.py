"""A provider's batch endpoint (`/v1/batches`): half the price, answers within a day, nothing submitted twice.

Calls are collected until no more come, written down as a batch of ours, submitted, and waited for. The note of the
batch is durable before it is submitted, with a name that goes along as metadata: after a kill the provider's list of
batches tells whether it had arrived, and it is waited for instead of being sent again.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

from tripost_core.errors import ConfigError, StoppedError
from tripost_core.experts import answers
from tripost_core.experts.answers import ANSWERED, Answer, Call
from tripost_core.experts.endpoint import Endpoint, Received, error_message, read_answer
from tripost_core.experts.response_cache import BatchNote, ResponseCache

QUIET_SECONDS = 1.0
"""No new call for so long: whoever asks is waiting for answers."""
POLL_SECONDS = (5.0, 60.0)
"""Between two looks at a batch: at first, and at most."""
MAX_CALLS, MAX_BYTES = 50_000, 150_000_000
"""Of one batch; providers take 50,000 lines and 200 MB."""
METADATA_NAME = "tripost_batch"
Asked = dict[str, tuple[Call, "asyncio.Future[Answer]"]]
"""Calls by key, with whoever waits for them."""
_ENDED = ("completed", "failed", "expired", "cancelled")


class BatchSender:
    """Answers calls through batches; `adopt` goes on with what an earlier process has submitted."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self._collected: Asked = {}
        self._last_came = 0.0
        self._collector: asyncio.Task[None] | None = None
        self._at_work: set[asyncio.Task[None]] = set()
        self._delivered: list[asyncio.Task[None]] = []

    async def ask(self, call: Call, key: str) -> Answer:
        """The answer to one call; its key is its name in the batch. Raises ConfigError, StoppedError."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._collected[key] = (call, future)
        self._last_came = time.monotonic()
        if self._collector is None or self._collector.done():
            self._collector = asyncio.create_task(self._collect())
        return await future

    async def close(self) -> None:
        """Stops waiting. What is submitted stays submitted, and is found again."""
        tasks = [*self._at_work, *([self._collector] if self._collector else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._delivered)

    async def _collect(self) -> None:
        while (rest := self._last_came + QUIET_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(rest)
        asked, self._collected = self._collected, {}
        try:
            for note in self.cache.open_batches(self.endpoint.name):
                mine = {key: asked.pop(key) for key in note.keys if key in asked}
                if mine:  # one that nobody asks for any more is left where it is
                    self._start(note, mine)
            while asked:
                part = self._part(asked)
                self._start(self._noted(part), part)
        except Exception as error:
            _fail(asked, error)

    def _noted(self, part: Asked) -> BatchNote:
        note = BatchNote(uuid.uuid4().hex, self.endpoint.name, None, tuple(part))
        self.cache.note_batch(note)
        return note

    def _part(self, asked: Asked) -> Asked:
        part: Asked = {}
        size = 0
        for key in list(asked):
            size += asked[key][0].most_prompt_tokens + 500
            if part and (len(part) == MAX_CALLS or size > MAX_BYTES):
                break
            part[key] = asked.pop(key)
        return part

    def _start(self, note: BatchNote, part: Asked) -> None:
        task = asyncio.create_task(self._run(note, part))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _run(self, note: BatchNote, part: Asked) -> None:
        import openai

        try:
            found = note.remote or await self._find(note.name)
            known = self.endpoint.quirks if found is None else frozenset[str]()
            remote = found or await self._submit(note, part)
            self.cache.note_batch(note._replace(remote=remote))
            batch = await self._ended(remote)
            if batch.status == "failed":  # none of it was worked on, and nothing will be
                self.cache.close_batch(note.name)
                said = self.endpoint.scrubbed(_errors(batch))
                raise StoppedError(f"{self.endpoint.name} refuses the batch: {said}; all answers are kept.")
            results, again = await self._results(batch, known)
            if part_again := {key: part.pop(key) for key in again if key in part}:
                # The model does not take a parameter, which is known now. What is sent again is no longer this batch's.
                note = note._replace(remote=remote, keys=tuple(key for key in note.keys if key not in part_again))
                self._start(self._noted(part_again), part_again)
                self.cache.note_batch(note)
            for key, (_, future) in part.items():
                if not future.done():
                    missing = Answer(answers.SERVER_ERROR, detail="the batch ended without this answer")
                    future.set_result(results.get(key, missing))
            self._delivered.append(asyncio.create_task(self._forget(note, results)))
        except openai.AuthenticationError:
            _fail(part, ConfigError(f"{self.endpoint.name} refuses the key of {self.endpoint.key_name}."))
        except openai.NotFoundError:
            _fail(part, ConfigError(f"{self.endpoint.name} has no batch endpoint (calls.batch)."))
        except openai.OpenAIError as error:
            said = " ".join(str(error).split())[:300]
            _fail(
                part, StoppedError(f"The batch endpoint of {self.endpoint.name} failed: {said}; all answers are kept.")
            )
        except Exception as error:
            _fail(part, error)

    async def _forget(self, note: BatchNote, results: dict[str, Answer]) -> None:
        """Drops the note once whoever asked has made the answers durable; a kill before that costs a look."""
        paid = [key for key in note.keys if key in results and results[key].outcome in ANSWERED]
        for _ in range(200):
            if len(self.cache.get_many(paid)) == len(paid):
                self.cache.close_batch(note.name)
                return
            await asyncio.sleep(0.05)

    async def _find(self, name: str) -> str | None:
        """The provider's id of a batch of ours that it has, though the note does not say so."""
        async for batch in self.endpoint.openai.batches.list(limit=100):
            if (batch.metadata or {}).get(METADATA_NAME) == name:
                return batch.id
        return None

    async def _submit(self, note: BatchNote, part: dict[str, tuple[Call, Any]]) -> str:
        lines = [
            json.dumps(
                {
                    "custom_id": key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": self.endpoint.body(call),
                }
            )
            for key, (call, _) in part.items()
        ]
        content = ("\n".join(lines) + "\n").encode()
        file = await self.endpoint.openai.files.create(file=(f"{note.name}.jsonl", content), purpose="batch")
        # Not retried by the package: one that arrived though its answer got lost would be there twice.
        once = self.endpoint.openai.with_options(max_retries=0)
        batch = await once.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={METADATA_NAME: note.name},
        )
        return batch.id

    async def _ended(self, remote: str) -> Any:
        pause, longest = POLL_SECONDS
        while True:
            batch = await self.endpoint.openai.batches.retrieve(remote)
            if batch.status in _ENDED:
                return batch
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)

    async def _results(self, batch: Any, known: frozenset[str]) -> tuple[dict[str, Answer], list[str]]:
        """The answers by key, and the keys that are worth another try. `known`: quirks when it was sent."""
        found: dict[str, Answer] = {}
        again = []
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                content = await self.endpoint.openai.files.content(file_id)
                for line in content.text.splitlines():
                    if line.strip():
                        key, answer, received = _read_line(line, known)
                        if received.status == 400 and self.endpoint.learn(received):
                            again.append(key)
                        else:
                            found[key] = answer
        return found, again


def _errors(batch: Any) -> str:
    """Why a batch failed, in one line."""
    said = [str(error.message) for error in getattr(batch.errors, "data", None) or [] if error.message]
    return " ".join("; ".join(said).split())[:300] or "it does not say why"


def _read_line(line: str, known: frozenset[str]) -> tuple[str, Answer, Received]:
    """One line of a batch's output or errors."""
    data = json.loads(line)
    response = data.get("response") or {}
    received = Received(int(response.get("status_code") or 0), {}, json.dumps(response.get("body")).encode(), known)
    if received.status == 200:
        return data["custom_id"], read_answer(received), received
    said = str((data.get("error") or {}).get("message") or error_message(received))
    outcome = answers.BAD_REQUEST if received.status == 400 else answers.SERVER_ERROR
    return data["custom_id"], Answer(outcome, detail=said[:300]), received


def _fail(part: Asked, error: Exception) -> None:
    for _, future in part.values():
        if not future.done():
            future.set_exception(error)
