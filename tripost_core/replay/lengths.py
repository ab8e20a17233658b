"""Which triplets are longer than the student's limit, without tokenizing those that cannot be.

A tokenizer on bytes makes at most one token of a byte, which settles short rows. What is left is counted: by two
expressions where the tokenizer is of the built-in kind (`lm.tokenizer`), by the tokenizer itself elsewhere. Equal
triplets are counted once. The decision is that of `lm.encode.row_lengths_tokens` for every row.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from tripost_core.problems.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TooLong = Callable[[pl.DataFrame], pl.Series]
"""Of the triplets of a frame (`question`, `attempt`, `feedback`, `updated`, `hash_0`, `hash_1`): whether each is over
the limit."""

_STAND_IN = "\x01"
"""One byte, so one token, that is no part of any phrase: in the place of a header that is one token itself."""


@dataclass
class LengthLimit:
    """A `TooLong`. `count`: the lengths of texts in tokens, without BOS and EOS."""

    task: Task
    max_length_tokens: int
    count: Callable[[pl.Series], Sequence[int]]
    extra_tokens: int = 0
    """BOS and EOS, as many as there are."""
    bound: str = "none"
    """Whether a text has no more tokens than bytes: `all` texts, `ascii` ones, or `none` for certain."""
    header_is_token: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"hash_0": pl.UInt64, "hash_1": pl.UInt64, "over": pl.Boolean},
        )
    )

    def __call__(self, frame: pl.DataFrame) -> pl.Series:
        keys = ["hash_0", "hash_1"]
        unsure = frame.with_columns(unsure=self._unsure())["unsure"].fill_null(value=True).arg_true()
        over = pl.Series("over", [False]).new_from_index(0, len(frame))
        if not len(unsure):
            return over
        rows = frame[unsure]
        with self._lock:
            known = self._known
        new = rows.unique(keys, maintain_order=True).join(known, on=keys, how="anti")
        if len(new):
            lengths = pl.Series(self.count(new.select(self._text())["text"]), dtype=pl.Int64)
            told = new.select(keys).with_columns(over=lengths + self.extra_tokens > self.max_length_tokens)
            known = pl.concat([known, told])
            with self._lock:  # what two threads have counted at once stands there twice
                self._known = pl.concat([self._known, told]).unique(keys, maintain_order=True)
        found = rows.select(keys).join(known, on=keys, how="left", maintain_order="left")["over"]
        return over.scatter(unsure, found)

    def _pieces(self) -> tuple[str, str]:
        """The two headers, each from the newline in front of it."""
        if self.header_is_token:
            return _STAND_IN, _STAND_IN
        return f"\n{self.task.answer_header}", f"\nUpdated {self.task.answer_header}"

    def _text(self) -> pl.Expr:
        answer, updated = self._pieces()
        return pl.concat_str(
            pl.concat_str(
                pl.lit("Q: "), "question", pl.lit(f"{answer}\n"), "attempt", pl.lit("\nFeedback: "), "feedback"
            ),
            (pl.lit(f"{updated}\n") + pl.col("updated")).fill_null(""),
        ).alias("text")

    def _unsure(self) -> pl.Expr:
        if self.bound == "none":
            return pl.lit(True)
        answer, updated = self._pieces()
        columns = ("question", "attempt", "feedback", "updated")
        fixed = len(f"Q: {answer}\n\nFeedback: ".encode()) + self.extra_tokens
        num_bytes = pl.sum_horizontal(pl.col(name).str.len_bytes().fill_null(0).cast(pl.Int64) for name in columns)
        only_update = pl.when(pl.col("updated").is_not_null()).then(len(f"{updated}\n".encode())).otherwise(0)
        unsure = num_bytes + only_update + fixed > self.max_length_tokens
        if self.bound == "all":
            return unsure
        ascii_only = [pl.col(name).str.len_bytes() == pl.col(name).str.len_chars() for name in columns]
        return unsure | ~pl.all_horizontal(*(each.fill_null(value=True) for each in ascii_only))


def length_limit(tokenizer: PreTrainedTokenizerBase, task: Task, max_length_tokens: int) -> LengthLimit:
    """The limit as training applies it to rows of `task`. Raises ModelError for a tokenizer that is not a fast one."""
    from tripost_core.lm.encode import num_special_tokens, text_lengths_tokens

    extra = num_special_tokens(tokenizer)
    described = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {}
    if phrases := phrases_of_builtin_kind(described):
        header = _is_isolated(f"\n{task.answer_header}", phrases) and _is_isolated(
            f"\nUpdated {task.answer_header}", phrases
        )
        return LengthLimit(task, max_length_tokens, lambda texts: count_builtin(texts, phrases), extra, "all", header)
    return LengthLimit(
        task,
        max_length_tokens,
        lambda texts: text_lengths_tokens(texts.to_list(), tokenizer),
        extra,
        bound_of(described),
    )


def bound_of(described: dict[str, Any]) -> str:
    """`LengthLimit.bound` of a tokenizer, from its description in JSON.

    On bytes, without a blank put in front: every token of BPE is one symbol or several merged, and every symbol a byte.
    A normal form of Unicode leaves ASCII as it is; anything else that is done to a text before may lengthen it.
    """
    splits = described.get("pre_tokenizer") or {}
    steps = splits.get("pretokenizers", []) if splits.get("type") == "Sequence" else [splits]
    on_bytes = [step for step in steps if step.get("type") == "ByteLevel"]
    others = {step.get("type") for step in steps} - {"ByteLevel", "Split", "Digits", "Punctuation"}
    if described.get("model", {}).get("type") != "BPE" or len(on_bytes) != 1 or others:
        return "none"
    if on_bytes[0].get("add_prefix_space") or any(t["normalized"] for t in described["added_tokens"]):
        return "none"
    normalizer = (described.get("normalizer") or {}).get("type")
    return {None: "all", "NFC": "ascii"}.get(normalizer, "none")


# -- the built-in kind -------------------------------------------------------------------------------------------------


def phrases_of_builtin_kind(described: dict[str, Any]) -> dict[str, bool]:
    """{added token: whether it is one where it stands in a text} of a tokenizer like the built-in one, else empty.

    Of that kind: phrases, pairs of digits counted from the right of a number, and bytes for everything else.
    """
    from tripost_core.lm.tokenizer import build_tokenizer

    own = json.loads(build_tokenizer().backend_tokenizer.to_str())
    if not described or any(described[part] != own[part] for part in ("normalizer", "pre_tokenizer")):
        return {}
    model, own_model = ({k: v for k, v in d["model"].items() if k != "vocab"} for d in (described, own))
    plain = all(
        not (token["normalized"] or token["single_word"] or token["lstrip"] or token["rstrip"])
        for token in described["added_tokens"]
    )
    if model != own_model or not plain or not set(own["model"]["vocab"]) <= set(described["model"]["vocab"]):
        return {}
    # Special tokens are looked for like the others, and where one is found its letters stay text.
    return {token["content"]: not token["special"] for token in described["added_tokens"]}


def count_builtin(texts: pl.Series, phrases: dict[str, bool]) -> list[int]:
    """Tokens of each text: bytes, but one for a phrase (the first that begins, of these the longest) and one for two
    digits."""
    patterns = sorted(phrases, key=len, reverse=True)  # of several at one place the first of the list is taken
    instead = [_STAND_IN if phrases[phrase] else phrase for phrase in patterns]
    cut = texts.str.replace_many(patterns, instead, leftmost=True)
    return (cut.str.len_bytes().cast(pl.Int64) - cut.str.count_matches(r"[0-9]{2}").cast(pl.Int64)).to_list()


def _is_isolated(header: str, phrases: dict[str, bool]) -> bool:
    """Whether this line, newline in front included, is one token wherever another line follows: itself a phrase, no
    phrase goes on beyond it, and none that begins before it reaches into it."""
    if not phrases.get(header):
        return False
    for phrase in phrases:
        if phrase.startswith(f"{header}\n"):
            return False
        for at in range(1, len(phrase)):
            rest = phrase[at:]
            if header.startswith(rest) or rest.startswith(header):
                return False
    return True
