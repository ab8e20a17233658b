"""Which triplets are longer than the student's limit, without tokenizing those that cannot be.

A tokenizer on bytes makes at most one token of a byte, which settles short rows. Of what is left, where the tokenizer
is of the built-in kind (`lm.tokenizer`), the lines of both attempts are counted, each line of a question once: the
samples of a question have most of them in common. Only rows that this does not settle are counted as a whole, by two
expressions or, elsewhere, by the tokenizer itself. The decision is that of `lm.encode.row_lengths_tokens` for every
row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tripost_core.problems.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TooLong = Callable[[pl.DataFrame], pl.Series]
"""Of the triplets of a frame (`question`, `attempt`, `feedback`, `updated`): whether each is over the limit."""

_STAND_IN = "\x01"
"""One byte, so one token, that is no part of any phrase: in the place of a header that is one token itself."""
_BETWEEN = "\x02"


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
    breaks: tuple[str, ...] | None = None
    """A text can be counted line by line unless one of them begins so; None: it never can."""

    def __call__(self, frame: pl.DataFrame) -> pl.Series:
        over = pl.Series("over", [False]).new_from_index(0, len(frame))
        unsure = frame.with_columns(unsure=self._unsure())["unsure"].fill_null(value=True).arg_true()
        if self.header_is_token and self.breaks is not None and len(unsure):
            unsure = unsure.filter(self._over_by_lines(frame[unsure]))
        if not len(unsure):
            return over
        lengths = pl.Series(self.count(frame[unsure].select(self._text())["text"]), dtype=pl.Int64)
        return over.scatter(unsure, lengths + self.extra_tokens > self.max_length_tokens)

    def _over_by_lines(self, frame: pl.DataFrame) -> pl.Series:
        """Whether a row can be over the limit: lines of attempts counted, a token for every byte of the rest.

        The tokens of the pieces are those of the whole, because no phrase goes across a piece's beginning: the headers
        are tokens themselves, and every other piece begins with a newline that only `breaks` could join to it.
        """
        texts = pl.concat([frame["attempt"], frame["updated"]])
        tokens = self._by_lines(pl.DataFrame({"text": texts, "question": pl.concat([frame["question"].hash()] * 2)}))
        counted = frame.select(pl.col("question", "feedback").str.len_bytes().cast(pl.Int64)).sum_horizontal()
        counted += tokens[: len(frame)] + tokens[len(frame) :].fill_null(0)
        fixed = len(f"Q: {_STAND_IN}\nFeedback: {_STAND_IN}") + self.extra_tokens
        return (counted + fixed > self.max_length_tokens).fill_null(value=True)

    def _by_lines(self, texts: pl.DataFrame) -> pl.Series:
        """Tokens of each `text` with a newline in front; one with a break is put at more than the limit.

        Equal lines are looked for among those of the same `question` only, because elsewhere there are hardly any. Two
        of a batch's lines have the same 64 bits once in 10^8 batches, and then it still has to be a matter of a few
        tokens.
        """
        texts = texts.with_columns(key=pl.col("text").hash() ^ pl.col("question"))
        different = texts.unique("key", maintain_order=True).drop_nulls("text")
        split = different["text"].str.split("\n")
        num_lines = split.list.len()
        lines = pl.DataFrame(
            {"line": split.explode(), "question": different["question"].repeat_by(num_lines).explode()}
        )
        lines = lines.select("line", key=pl.col("line").hash() ^ pl.col("question"))
        known = lines.unique("key", maintain_order=True).with_columns(counted=pl.lit("\n") + pl.col("line"))
        breaks = [pl.col("line").str.starts_with(each) for each in self.breaks or ()]
        known = known.with_columns(tokens=pl.Series(self.count(known["counted"]), dtype=pl.Int64)).select(
            "key",
            tokens=pl.when(pl.any_horizontal(pl.lit(False), *breaks))
            .then(self.max_length_tokens + 1)
            .otherwise("tokens"),
        )
        tokens = lines.select("key").join(known, on="key", how="left", maintain_order="left")["tokens"].to_numpy()
        ends = np.cumsum(num_lines.to_numpy().astype(np.int64))
        up_to = np.concatenate([[0], np.cumsum(tokens)])
        sums = pl.Series(up_to[ends] - up_to[ends - num_lines.to_numpy()], dtype=pl.Int64)
        told = different.select("key", tokens=sums)
        return texts.select("key").join(told, on="key", how="left", maintain_order="left")["tokens"]

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
        counted = lambda texts: count_builtin(texts, phrases)  # noqa: E731
        return LengthLimit(task, max_length_tokens, counted, extra, "all", header, breaks_of(phrases))
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
    # In one piece with a byte between two texts: to begin with a text costs as much as a hundred bytes of it.
    cut = texts.str.join(_BETWEEN).str.replace_many(patterns, instead, leftmost=True).str.split(_BETWEEN).explode()
    if len(cut) != len(texts) or any(_BETWEEN in phrase for phrase in phrases):  # the byte stands in a text
        cut = texts.str.replace_many(patterns, instead, leftmost=True)
    return (cut.str.len_bytes().cast(pl.Int64) - cut.str.count_matches(r"[0-9]{2}").cast(pl.Int64)).to_list()


def breaks_of(phrases: Iterable[str]) -> tuple[str, ...] | None:
    """What follows a newline inside a phrase: where no line begins so, no phrase goes from one line into the next.
    None where the feedback's line does, or every line may."""
    found = {phrase[at:].split("\n")[1] for phrase in phrases for at in range(1, len(phrase)) if phrase[at] == "\n"}
    if any(each.startswith("Feedback: ") or "Feedback: ".startswith(each) for each in found):
        return None
    return tuple(sorted(found))


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
