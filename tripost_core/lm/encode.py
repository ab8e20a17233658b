"""Training rows as token ids and per-token weights (paper section 2.4; what is trained: docs/architecture.md).

A row is its segments, `{"role", "text"}`, written one after the other. Which tokens belong to which segment follows
from the character offsets that the tokenizer reports for the whole text, never from a search for token ids: no phrase
of the student can be taken for a header, and the ids are those of the text read as one piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

from tripost_core.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT, ATTEMPT, MISTAKE, FEEDBACK, IMPROVEMENT = ROLES = ("prompt", "attempt", "mistake", "feedback", "improvement")
X_IMP, X_T = KINDS = ("x_imp", "x_T")
Segment = Mapping[str, str]
_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """`input_ids` and `weights` have one entry per token, BOS and EOS included; weight 0: not trained, not counted."""

    row_id: str
    input_ids: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @property
    def num_trained_tokens(self) -> int:
        return sum(weight > 0 for weight in self.weights)


Masking = bool | Literal["mistake"]
"""Of the wrong attempt of x_imp: no, all of it, or what its repair does not keep."""


def role_weights(kind: str, improvement_weight: float, mask_attempt: Masking) -> dict[str, float]:
    """The loss weight of each role in a row of this kind (section 2.4); raises DataError for an unknown kind."""
    if kind == X_T:
        return {PROMPT: 0.0, ATTEMPT: 1.0, MISTAKE: 1.0, FEEDBACK: 1.0, IMPROVEMENT: 1.0}
    if kind == X_IMP:
        attempt = 0.0 if mask_attempt is True else 1.0
        mistake = 0.0 if mask_attempt else 1.0
        weights = {PROMPT: 0.0, ATTEMPT: attempt, MISTAKE: mistake}
        return {**weights, FEEDBACK: improvement_weight, IMPROVEMENT: improvement_weight}
    raise DataError(f"A training row is of kind {kind!r}, which is none of {', '.join(KINDS)}.")


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    improvement_weight: float = 1.5,
    mask_attempt: Masking = False,
) -> list[EncodedRow]:
    """Rows of schema `rows-1`, in their order, as ids and weights.

    BOS is put first if the tokenizer does so, and is not trained. EOS is always appended, with the weight of the last
    segment. A token belongs to the segment of its first character. The very first token of a sequence has weight 0:
    nothing predicts it.

    Raises DataError for a row of unknown kind or role, or without segments, and ModelError for a tokenizer without
    offsets or EOS.
    """
    bos = leading_ids(tokenizer)
    eos = _eos_id(tokenizer)
    encoded = []
    for batch in _batches(rows):
        texts = ["".join(segment["text"] for segment in row["segments"]) for row in batch]
        ids_of, offsets_of = _tokenize(texts, tokenizer)
        for row, ids, offsets in zip(batch, ids_of, offsets_of, strict=True):
            weight_of_segment = _segment_weights(row, improvement_weight, mask_attempt)
            starts = segment_starts(row["segments"])
            weights = [0.0] * len(bos)
            weights += [weight_of_segment[bisect_right(starts, first) - 1] for first in first_characters(offsets)]
            weights.append(weight_of_segment[-1])
            weights[0] = 0.0
            encoded.append(EncodedRow(str(row["row_id"]), (*bos, *ids, eos), tuple(weights)))
    return encoded


def row_lengths_tokens(rows_segments: Iterable[Sequence[Segment]], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Lengths as training counts them against `max_length_tokens`: text, BOS if there is one, and EOS."""
    extra = num_special_tokens(tokenizer)
    lengths = []
    for batch in _batches(list(rows_segments)):
        ids_of, _ = _tokenize(["".join(segment["text"] for segment in segments) for segments in batch], tokenizer)
        lengths += [len(ids) + extra for ids in ids_of]
    return lengths


def row_length_tokens(segments: Sequence[Segment], tokenizer: PreTrainedTokenizerBase) -> int:
    """`row_lengths_tokens` of one row."""
    return row_lengths_tokens([segments], tokenizer)[0]


def text_lengths_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each text, without BOS and EOS. The tokenizer loses its settings for padding and cutting."""
    _require_fast(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True  # a text that spells a special token stays text
    return [len(found) for found in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def num_special_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """What training adds to a text: BOS if there is one, and EOS."""
    return len(leading_ids(tokenizer)) + 1


def count_tokens(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of the text alone, without BOS and EOS."""
    return len(_tokenize([text], tokenizer)[0][0])


def segment_starts(segments: Sequence[Segment]) -> list[int]:
    """The character at which each segment begins; an empty one shares it with the segment after it."""
    return [0, *accumulate(len(segment["text"]) for segment in segments[:-1])]


def first_characters(offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The first character of each token, in text order.

    Not always the start that the tokenizer reports: some leave the blank or newline that opens a token out of its
    span. Characters that no span covers belong to the token after them. The bytes of one character all report it.
    """
    covered = list(accumulate((end for _, end in offsets), max, initial=0))
    return [min(start, before) for (start, _), before in zip(offsets, covered, strict=False)]


def leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before a text: BOS, or nothing."""
    bos = tokenizer.bos_token_id
    first = tokenizer("a", add_special_tokens=True)["input_ids"][:1]
    return [bos] if bos is not None and first == [bos] else []


def _segment_weights(row: Mapping[str, Any], improvement_weight: float, mask_attempt: Masking) -> list[float]:
    weight_of_role = role_weights(row["kind"], improvement_weight, mask_attempt)
    roles = [segment["role"] for segment in row["segments"]]
    if not roles:
        raise DataError(f"The training row {row['row_id']} has no segments.")
    if unknown := set(roles) - set(ROLES):
        raise DataError(f"The training row {row['row_id']} has a segment of the unknown role {min(unknown)!r}.")
    return [weight_of_role[role] for role in roles]


def _eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ModelError("The student's tokenizer has no end-of-sequence token, so no end of an answer can be trained.")
    return int(tokenizer.eos_token_id)


def _tokenize(
    texts: list[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """Ids and character spans. A text that spells a special token stays text."""
    _require_fast(tokenizer)
    encoding = tokenizer(
        texts,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        split_special_tokens=True,
        verbose=False,  # a row over the context length is left out later, with a count
    )
    return encoding["input_ids"], encoding["offset_mapping"]


def _require_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise ModelError("The student's tokenizer reports no character offsets (it is not a fast tokenizer).")


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    edges = [*range(0, len(items), _BATCH_ROWS), len(items)]
    return (items[start:end] for start, end in pairwise(edges))
