"""A call of an expert model and what came of it, as plain values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

OK = "ok"
EMPTY = "empty"
CUT_OFF = "cut_off"
REFUSED = "refused"
BAD_REQUEST = "bad_request"
TIMED_OUT = "timed_out"
UNREACHABLE = "unreachable"
SERVER_ERROR = "server_error"
RATE_LIMITED = "rate_limited"
MALFORMED = "malformed"

ANSWERED = (OK, EMPTY, CUT_OFF, REFUSED)
"""What a provider charges for; such an answer is kept and never asked for again."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `tag`: versions of prompt and messages; part of the key, not sent.

    `sample` numbers independent answers to the same messages.
    """

    model: str
    messages: tuple[dict[str, str], ...]
    temperature: float = 0.0
    max_tokens: int = 1024
    response_format: dict[str, Any] | None = None
    sample: int = 0
    tag: str = ""

    def key(self, endpoint: str) -> str:
        """SHA-256 over everything that can change the answer. `endpoint`: its base URL."""
        content = json.dumps(
            [
                endpoint,
                self.model,
                self.messages,
                self.temperature,
                self.max_tokens,
                self.response_format,
                self.sample,
                self.tag,
            ],
            sort_keys=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def most_prompt_tokens(self) -> int:
        """An upper bound: no tokenizer makes more tokens than there are bytes, plus what frames a message."""
        text = sum(len(part.encode()) for message in self.messages for part in message.values())
        schema = len(json.dumps(self.response_format)) if self.response_format else 0
        return text + schema + 16 * len(self.messages) + 16


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome`: one of the names above; `detail`: what the endpoint said where there is no text.

    `cost_usd`: what this call cost now, so 0 for one that stood in the cache.
    """

    outcome: str
    text: str = ""
    detail: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    from_cache: bool = False
