"""Completions from OpenAI-compatible servers that serve the student: raw prompts, one request a row, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tripost_core.config import EngineConfig
from tripost_core.errors import ConfigError, ModelError
from tripost_core.lm.generate import Completion

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_SEED = 2**31 - 1
"""What every server takes; the seeds of rows are folded into it."""


class Servers:
    """A `Write` on one or several servers. Row i goes to server i modulo their number, and with its own seed, so that
    which replica draws a sample depends on nothing but the row.

    `name`: of the checkpoint, at every server; an answer that comes from a model of another name is refused, so no row
    is ever written by other weights than those it names. Raises ConfigError, ModelError.
    """

    def __init__(
        self,
        engine: EngineConfig,
        urls: Sequence[str],
        name: str,
        student_dir: Path,
        api_key: str | None,
        as_tokens: bool = False,
    ) -> None:
        from transformers import AutoConfig, AutoTokenizer

        if not urls:
            raise ConfigError("engine.kind is server, so engine.urls has to name one.")
        self.engine, self.urls, self.name, self.api_key = engine, list(urls), name, api_key
        self.as_tokens = as_tokens
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(student_dir, trust_remote_code=False, local_files_only=True)
            config = AutoConfig.from_pretrained(student_dir, trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelError(f"The student in {student_dir} cannot be read: {' '.join(str(error).split())}") from None
        self.context = int(
            getattr(config.get_text_config(), "max_position_embeddings", self.tokenizer.model_max_length)
        )

    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        progress: Callable[[int, int], None] | None,
        **sampling: Any,
    ) -> list[Completion]:
        """See `lm.generate.sample`. Raises ModelError where a server is gone, refuses, or serves another model."""
        return asyncio.run(self._all(prompts, seeds, progress, sampling))

    async def _all(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        progress: Callable[[int, int], None] | None,
        sampling: Mapping[str, Any],
    ) -> list[Completion]:
        from openai import AsyncOpenAI

        clients = [
            AsyncOpenAI(
                base_url=url,
                api_key=self.api_key or "none",
                timeout=self.engine.timeout_seconds,
                max_retries=self.engine.max_retries,
            )
            for url in self.urls
        ]
        gates = [asyncio.Semaphore(self.engine.max_in_flight) for _ in clients]
        done = 0

        async def one(index: int) -> Completion:
            nonlocal done
            at = index % len(clients)
            async with gates[at]:
                completion = await self._one(clients[at], self.urls[at], prompts[index], seeds[index], **sampling)
            done += 1
            if progress is not None:
                progress(done, len(prompts))
            return completion

        tasks = [asyncio.create_task(one(index)) for index in range(len(prompts))]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                await client.close()

    async def _one(
        self,
        client: AsyncOpenAI,
        url: str,
        prompt: str,
        seed: int,
        *,
        temperature: float,
        max_new_tokens: int,
        stop: str | None,
    ) -> Completion:
        from openai import APIConnectionError, APIStatusError

        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        room = min(max_new_tokens, self.context - len(ids))
        if room <= 0:
            return Completion("", 0, finished_by_eos=False, truncated=True)
        try:
            answer = await client.completions.create(
                model=self.name,
                prompt=ids if self.as_tokens else prompt,
                temperature=temperature,
                max_tokens=room,
                seed=seed % MAX_SEED,
            )
        except APIStatusError as error:
            said = " ".join(str(error.message).split())[:300]
            raise ModelError(f"The server {url} refused a completion of {self.name}: {said}") from None
        except APIConnectionError as error:
            raise ModelError(f"The server {url} does not answer: {error.__cause__ or error}.") from None
        if answer.model.partition("@")[0] != self.name.partition("@")[0]:  # `transformers serve` adds the revision
            raise ModelError(f"The server {url} answered with the model {answer.model!r}, not with {self.name!r}.")
        choice = answer.choices[0]
        text, truncated = choice.text, choice.finish_reason == "length"
        num_tokens = answer.usage.completion_tokens if answer.usage else len(self.tokenizer(text)["input_ids"])
        if stop is not None and stop in text:
            before, found, _ = text.partition(stop)
            return Completion(before + found, num_tokens, finished_by_eos=False, truncated=False)
        return Completion(text, num_tokens, finished_by_eos=not truncated, truncated=truncated)
