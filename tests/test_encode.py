"""Spans and weights of training rows: any text, any fast tokenizer."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tripost_core.errors import DataError, ModelError
from tripost_core.lm.encode import (
    ROLES,
    count_tokens,
    encode_rows,
    first_characters,
    role_weights,
    row_length_tokens,
    row_lengths_tokens,
    segment_starts,
)
from tripost_core.lm.tokenizer import build_tokenizer


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2's: a blank is put first, unknown characters fall back to their bytes, all of which report the same
    span; no BOS is added."""
    vocabulary = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "a",
        "b",
        "ab",
        "(",
        "1",
        "\n",
        "\n(",
    ]
    merges = [("a", "b"), ("\n", "(")]
    tokenizer = Tokenizer(
        models.BPE({t: i for i, t in enumerate(vocabulary)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def trimming_tokenizer() -> PreTrainedTokenizerFast:
    """As RoBERTa's: reported spans leave out the blank that opens a token; BOS and EOS are added."""
    vocabulary = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġ(", "ĊF", "Ċ("]
    ids = {t: i for i, t in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(ids, [("Ġ", "("), ("Ċ", "F"), ("Ċ", "(")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TOKENIZERS = {
    "ours": build_tokenizer(),
    "byte_fallback": byte_fallback_tokenizer(),
    "trimming": trimming_tokenizer(),
}
TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "\nFeedback: x", "\n(1) 12 + 3", " (", "Q: 1 + 2 =", "</s>", "é日🙂", "\r\n", "\n(Final response) ", "e\u0301"]
)
SEGMENTS = st.lists(st.fixed_dictionaries({"role": st.sampled_from(ROLES), "text": TEXT}), min_size=1, max_size=5)


def row(kind, segments):
    return {"row_id": "r", "kind": kind, "segments": segments}


def slow_weights(segments, spans, weight_of_role):
    """Weight by weight from the definition, character by character."""
    role_of_character = [segment["role"] for segment in segments for _ in segment["text"]]
    weights, covered = [], 0
    for start, end in spans:
        weights.append(weight_of_role[role_of_character[min(start, covered)]])
        covered = max(covered, end)
    return weights


@pytest.mark.parametrize("name", TOKENIZERS)
@CALM
@given(
    segments=SEGMENTS,
    kind=st.sampled_from(["x_imp", "x_T"]),
    w=st.sampled_from([1.0, 1.5, 3.0]),
    masked=st.sampled_from([False, True, "mistake"]),
)
@example(segments=[{"role": "prompt", "text": ""}], kind="x_T", w=1.5, masked=False)
@example(
    segments=[{"role": "attempt", "text": ""}, {"role": "feedback", "text": "🙂"}], kind="x_imp", w=1.5, masked=True
)
def test_every_token_has_the_weight_of_its_first_character(name, segments, kind, w, masked):
    tokenizer = TOKENIZERS[name]
    (encoded,) = encode_rows([row(kind, segments)], tokenizer, w, masked)
    text = "".join(segment["text"] for segment in segments)
    plain = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    bos = [] if name == "byte_fallback" else [tokenizer.bos_token_id]
    assert list(encoded.input_ids) == [*bos, *plain["input_ids"], tokenizer.eos_token_id]
    weight_of_role = role_weights(kind, w, masked)
    expected = [0.0] * len(bos) + slow_weights(segments, plain["offset_mapping"], weight_of_role)
    expected.append(weight_of_role[segments[-1]["role"]])
    expected[0] = 0.0  # nothing predicts the first token
    assert list(encoded.weights) == expected
    assert encoded.num_trained_tokens == sum(x > 0 for x in expected)
    assert row_length_tokens(segments, tokenizer) == encoded.num_tokens
    assert count_tokens(text, tokenizer) == len(plain["input_ids"])


@CALM
@given(segments=SEGMENTS)
def test_tokens_of_our_tokenizer_write_each_segment_whole(segments):
    """Where segments begin at token boundaries, the tokens with a segment's weight spell that segment."""
    tokenizer = TOKENIZERS["ours"]
    texts = ["Q: 1 + 2 =\nAnswer: Let's think step by step.", "\n(1) 7\n(Final response) So the answer is 7."]
    texts += ["\nFeedback: " + segments[0]["text"]]
    parts = [{"role": r, "text": t} for r, t in zip(("prompt", "attempt", "feedback"), texts, strict=True)]
    (encoded,) = encode_rows([row("x_imp", parts)], tokenizer)
    for weight, expected in ((0.0, "<s>" + texts[0]), (1.0, texts[1]), (1.5, texts[2] + "</s>")):
        ids = [i for i, w in zip(encoded.input_ids, encoded.weights, strict=True) if w == weight]
        assert tokenizer.decode(ids) == expected


def test_a_phrase_of_the_student_is_not_taken_for_a_segment():
    parts = [
        ("prompt", "Q"),
        ("attempt", "\n(1) a\nFeedback: fake\nUpdated Answer: b"),
        ("feedback", "\nFeedback: real"),
    ]
    (encoded,) = encode_rows([row("x_imp", [{"role": r, "text": t} for r, t in parts])], TOKENIZERS["ours"])
    feedback = count_tokens(parts[2][1], TOKENIZERS["ours"])
    assert sum(w == 1.5 for w in encoded.weights) == feedback + 1  # and EOS
    assert encoded.num_trained_tokens == encoded.num_tokens - 2  # BOS and the prompt's Q


def test_masked_attempt_leaves_loss_and_count_of_x_imp_only():
    parts = [
        {"role": r, "text": t} for r, t in (("prompt", "Q"), ("attempt", "\n(1) a"), ("feedback", "\nFeedback: b"))
    ]
    counts = {}
    for kind in ("x_imp", "x_T"):
        for masked in (False, True):
            (encoded,) = encode_rows([row(kind, parts)], TOKENIZERS["ours"], 1.5, masked)
            counts[kind, masked] = encoded.num_trained_tokens
    attempt = count_tokens(parts[1]["text"], TOKENIZERS["ours"])
    assert counts["x_imp", False] - counts["x_imp", True] == attempt
    assert counts["x_T", True] == counts["x_T", False] == counts["x_imp", False]


@CALM
@given(spans=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda s: (min(s), max(s))), max_size=8))
def test_first_characters_leave_no_character_before_them_uncovered(spans):
    covered = 0
    for (start, end), first in zip(spans, first_characters(spans), strict=True):
        assert first <= start and first in (start, covered)
        covered = max(covered, end)


def test_an_empty_segment_takes_no_token():
    parts = [{"role": r, "text": t} for r, t in (("prompt", "ab"), ("attempt", ""), ("feedback", "cd"))]
    assert segment_starts(parts) == [0, 2, 2]
    (encoded,) = encode_rows([row("x_imp", parts)], TOKENIZERS["ours"], 2.0)
    assert encoded.weights == (0.0, 0.0, 0.0, 2.0, 2.0, 2.0)


def test_many_rows_are_those_rows_one_by_one():
    rows = [row("x_T", [{"role": "attempt", "text": "ab(1 " * (i % 7)}]) for i in range(600)]
    together = encode_rows(rows, TOKENIZERS["ours"])
    assert together == [encode_rows([one], TOKENIZERS["ours"])[0] for one in rows]
    assert row_lengths_tokens([r["segments"] for r in rows], TOKENIZERS["ours"]) == [e.num_tokens for e in together]
    assert encode_rows([], TOKENIZERS["ours"]) == []


def test_what_cannot_be_encoded_is_one_sentence():
    tokenizer = TOKENIZERS["ours"]
    with pytest.raises(DataError, match="'x_other'"):
        encode_rows([row("x_other", [{"role": "prompt", "text": "a"}])], tokenizer)
    with pytest.raises(DataError, match="'system'"):
        encode_rows([row("x_T", [{"role": "system", "text": "a"}])], tokenizer)
    with pytest.raises(DataError, match="no segments"):
        encode_rows([row("x_T", [])], tokenizer)
    endless = build_tokenizer()
    endless.eos_token = None
    with pytest.raises(ModelError, match="end-of-sequence"):
        encode_rows([row("x_T", [{"role": "prompt", "text": "a"}])], endless)


@pytest.mark.parametrize(("mask", "expected"), [(False, (1, 1)), ("mistake", (1, 0)), (True, (0, 0))])
def test_what_of_a_wrong_attempt_is_masked(mask, expected):
    weights = role_weights("x_imp", 1.5, mask)
    assert (weights["attempt"], weights["mistake"], weights["feedback"]) == (*expected, 1.5)
