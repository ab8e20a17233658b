"""Sampling from a student, many prompts at a time.

What a forward pass of a small model costs on a CPU is mostly the call, so the batch is wide: rows of about the same
length run together, rows that have ended leave, waiting ones join in the middle of the others' work, and a row that
has grown long beside short ones goes back to wait for its like. Memory is bounded by rows x columns of the cache.

A row's sample depends on its prompt, seed and position only, never on the rows beside it (up to the rounding of a
matrix product whose shape is another: a draw within some 1e-6 of the border between two tokens can fall either way).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from tripost_core.lm.kv_cache import Prefilled, SharedEndCache
from tripost_core.lm.threads import suited_to_cpu

if TYPE_CHECKING:
    from tripost_core.lm.student import Student

BLOCK_COLUMNS = 64
"""Columns allocated ahead: rows join, leave or are put back at least this often."""
REFILL_SHARE = 0.75
"""Fewer rows alive than this share of the batch: it is rebuilt without the ended ones."""
PREFILL_TOKENS = 8192
"""Prompt tokens of one forward pass; bounds the activations."""
FIRST_GUESS_TOKENS = 192
"""Length of an output before any has been seen."""
STOP_TAIL_TOKENS = 96
"""How many of the last tokens are searched for the stop text."""

SECONDS_BETWEEN_SIGNS = 5.0
"""So long without a row that ended, and the same numbers are told again: long rows at the end are no standstill."""

_UINT64 = np.uint64


@dataclass(frozen=True, slots=True)
class Completion:
    """What the student wrote after one prompt. `num_tokens` counts the EOS.

    `truncated`: it ran into the context or the limit of new tokens; neither this nor `finished_by_eos`: the stop text.
    """

    text: str
    num_tokens: int
    finished_by_eos: bool
    truncated: bool


@dataclass(order=True, slots=True)
class _Row:
    """One prompt and what was written after it; ordered by length, then by place in the input."""

    num_ids: int
    index: int
    ids: list[int] = field(compare=False)
    num_prompt: int = field(compare=False)
    max_ids: int = field(compare=False)

    @property
    def num_new(self) -> int:
        return self.num_ids - self.num_prompt

    def append(self, token: int) -> None:
        self.ids.append(token)
        self.num_ids += 1


def uniform(seeds: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) by (seed, counter), both [rows] of uint64: 32 bits of the seed's SplitMix64 sequence."""
    with np.errstate(over="ignore"):
        z = seeds + (counters + _UINT64(1)) * _UINT64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> _UINT64(30))) * _UINT64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> _UINT64(27))) * _UINT64(0x94D049BB133111EB)
        z ^= z >> _UINT64(31)
    return (z >> _UINT64(32)).astype(np.float64) * 2.0**-32


def choose(logits: torch.Tensor, temperature: float, draws: torch.Tensor | None) -> torch.Tensor:
    """Token ids [rows] from logits [rows, vocabulary]: the largest at temperature 0, else where the draw in [0, 1)
    falls in the cumulative distribution."""
    if temperature == 0:
        return logits.argmax(-1)
    assert draws is not None
    cumulative = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
    target = draws.to(logits.device)[:, None] * cumulative[:, -1:]
    # right=True: a token of probability 0 is never the first whose cumulative share exceeds the draw.
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def sample(
    student: Student,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    temperature: float,
    max_new_tokens: int,
    batch_tokens: int,
    stop: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_text: Callable[[int, str], None] | None = None,
) -> list[Completion]:
    """One completion for every prompt, in their order. `temperature` 0 is greedy and reads no seed.

    `batch_tokens` bounds rows x columns of the batch (one row always runs). `stop` ends a row right after this text,
    whose last character must be printable ASCII. `progress` is told (rows done, rows in all), also as a sign of
    life; `on_text` (index, text so far) after every token. A prompt that fills the context gives an empty, truncated
    completion.
    """
    assert len(prompts) == len(seeds), f"{len(prompts)} prompts, {len(seeds)} seeds"
    assert stop is None or (stop[-1:].isascii() and stop[-1:].isprintable())
    if not prompts:
        return []
    with torch.inference_mode(), suited_to_cpu(student.model):
        sampler = _Sampler(student, prompts, seeds, temperature, max_new_tokens, batch_tokens, stop, progress, on_text)
        return sampler.run()


class _Sampler:
    """The state of one call of `sample`."""

    def __init__(
        self,
        student: Student,
        prompts: Sequence[str],
        seeds: Sequence[int],
        temperature: float,
        max_new_tokens: int,
        batch_tokens: int,
        stop: str | None,
        progress: Callable[[int, int], None] | None,
        on_text: Callable[[int, str], None] | None,
    ) -> None:
        self.model, self.tokenizer, self.device = student.model, student.tokenizer, student.model.device
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        self.batch_tokens, self.context = batch_tokens, student.context_length
        self.progress, self.on_text, self.stop = progress, on_text, stop
        self.eos = _eos_ids(student)
        vocabulary = self.tokenizer.get_vocab()
        # Only a token that holds the stop text's last character can complete it.
        self.may_stop = {i for token, i in vocabulary.items() if stop[-1] in token} if stop else set()
        self.num_tokens_known = max(vocabulary.values()) + 1
        self.seeds = np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=_UINT64)
        self.done: list[Completion | None] = [None] * len(prompts)
        self.num_done = self.num_new_of_done = 0
        self._told_at = time.monotonic()
        self.waiting: list[_Row] = []
        for index, ids in enumerate(self.tokenizer(list(prompts))["input_ids"]):
            self._accept(index, ids)
        heapq.heapify(self.waiting)
        self.rows: list[_Row | None] = []
        """By row of the cache; None where it has ended."""
        self.cache = SharedEndCache()

    def _accept(self, index: int, ids: list[int]) -> None:
        if not ids:  # a tokenizer without BOS and an empty prompt: something has to be continued
            ids = [self.tokenizer.bos_token_id or self.tokenizer.eos_token_id]
        row = _Row(len(ids), index, ids, len(ids), min(self.context, len(ids) + self.max_new_tokens))
        if len(ids) >= self.context:
            self._finish(row, eos=False, text="", truncated=True)
        else:
            self.waiting.append(row)

    def run(self) -> list[Completion]:
        num_alive = 0
        while self.waiting or num_alive:
            self._rebuild()
            width = num_alive = len(self.rows)
            while num_alive and not self.cache.is_full and (num_alive > REFILL_SHARE * width or num_alive == width):
                num_alive -= self._step()
                if time.monotonic() - self._told_at > SECONDS_BETWEEN_SIGNS:
                    self._tell()
        assert all(completion is not None for completion in self.done)
        return self.done  # type: ignore[return-value]

    # -- which rows run --------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Lets ended rows go, puts the longest back while the bound is passed, and takes waiting ones in."""
        kept = sorted((row, place) for place, row in enumerate(self.rows) if row is not None)
        while len(kept) > 1 and len(kept) * (kept[-1][0].num_ids + BLOCK_COLUMNS) > self.batch_tokens:
            heapq.heappush(self.waiting, kept.pop()[0])
        columns = max((self._expected_columns(row) for row, _ in kept), default=0)
        joining: list[_Row] = []
        while self.waiting:
            columns = max(columns, self._expected_columns(self.waiting[0]))
            if (kept or joining) and (len(kept) + len(joining) + 1) * columns > self.batch_tokens:
                break
            joining.append(heapq.heappop(self.waiting))
        # The last token of a row is the input of its next step, all before it are in the cache.
        window = max(row.num_ids - 1 for row in [*(row for row, _ in kept), *joining])
        window = max(window, 1)
        prefilled = self._prefill(joining)
        self.cache.rebuild([place for _, place in kept], prefilled, window, window + BLOCK_COLUMNS)
        self.rows = [*(row for row, _ in kept), *joining]
        self.inputs = torch.tensor([row.ids[-1] for row in self.rows if row], device=self.device)
        self.num_cached = torch.tensor([row.num_ids - 1 for row in self.rows if row], device=self.device)
        self.row_seeds = self.seeds[[row.index for row in self.rows if row]]
        self.row_counters = np.array([row.num_new for row in self.rows if row], dtype=_UINT64)

    def _expected_columns(self, row: _Row) -> int:
        """How long a row will get, by those that have ended; a row beyond that is given one more block."""
        guess = self.num_new_of_done / self.num_done if self.num_done else FIRST_GUESS_TOKENS
        return max(row.num_ids + BLOCK_COLUMNS, min(row.num_prompt + int(guess), row.max_ids))

    def _prefill(self, rows: list[_Row]) -> list[Prefilled]:
        """All but the last token of each row through the model; `rows` come sorted by length."""
        from transformers import DynamicCache

        parts = []
        start = 0
        while start < len(rows):
            stop = start + 1
            while stop < len(rows) and (stop + 1 - start) * rows[stop].num_ids <= PREFILL_TOKENS:
                stop += 1
            chunk = rows[start:stop]
            lengths = [row.num_ids - 1 for row in chunk]
            width = max([1, *lengths])
            ids = torch.zeros(len(chunk), width, dtype=torch.long)
            for at, row in enumerate(chunk):
                known = row.ids[: max(row.num_ids - 1, 1)]
                ids[at, : len(known)] = torch.tensor(known)
            cache = DynamicCache()
            # Padding is on the right, where causal attention never looks: no mask is needed, and logits are not read.
            self.model(input_ids=ids.to(self.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
            parts.append(Prefilled(cache, lengths))
            start = stop
        return parts

    # -- one token -------------------------------------------------------------------------------------------------

    def _step(self) -> int:
        """One more token for every row; returns how many rows ended with it."""
        columns = self.cache.end + 1
        mask = torch.arange(columns, device=self.device)[None] >= columns - 1 - self.num_cached[:, None]
        logits = self.model(
            input_ids=self.inputs[:, None],
            attention_mask=mask,
            position_ids=self.num_cached[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1, : self.num_tokens_known]  # rows of the embedding beyond the tokenizer spell nothing
        draws = None if self.temperature == 0 else torch.from_numpy(uniform(self.row_seeds, self.row_counters))
        self.inputs = choose(logits.float(), self.temperature, draws)
        self.row_counters += _UINT64(1)
        # An ended row runs on until the next rebuild; its position must stay one that the model knows.
        self.num_cached = (self.num_cached + 1).clamp_(max=self.context - 1)
        num_ended = 0
        for place, token in enumerate(self.inputs.tolist()):
            row = self.rows[place]
            if row is not None:
                row.append(token)
                if self._ends(row, token):
                    self.rows[place] = None
                    num_ended += 1
        return num_ended

    def _ends(self, row: _Row, token: int) -> bool:
        if token in self.eos:
            self._finish(row, eos=True)
            return True
        if self.on_text is not None:
            self.on_text(row.index, self._text(row))
        if token in self.may_stop:
            assert self.stop is not None
            tail = self._decode(row.ids[max(row.num_prompt, row.num_ids - STOP_TAIL_TOKENS) :])
            if self.stop in tail:
                before, stop, _ = self._text(row).partition(self.stop)
                self._finish(row, eos=False, text=before + stop)
                return True
        if row.num_ids >= row.max_ids:
            self._finish(row, eos=False, truncated=True)
            return True
        return False

    def _finish(self, row: _Row, *, eos: bool, text: str | None = None, truncated: bool = False) -> None:
        text = self._text(row, len(row.ids) - eos) if text is None else text
        self.done[row.index] = Completion(text, row.num_new, eos, truncated)
        self.num_done += 1
        self.num_new_of_done += row.num_new
        self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        if self.progress is not None:
            self.progress(self.num_done, len(self.done))

    def _text(self, row: _Row, end: int | None = None) -> str:
        """What was written, without the prompt. Decoded after the prompt's last token: some tokenizers drop a space
        at the beginning of a text."""
        before = self._decode(row.ids[row.num_prompt - 1 : row.num_prompt])
        both = self._decode(row.ids[row.num_prompt - 1 : end])
        return both[len(before) :] if both.startswith(before) else self._decode(row.ids[row.num_prompt : end])

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _eos_ids(student: Student) -> frozenset[int]:
    configured = getattr(student.model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*listed, student.tokenizer.eos_token_id] if i is not None)
