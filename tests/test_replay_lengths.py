"""Which rows are too long, decided without the tokenizer or with it: what `row_lengths_tokens` says, always."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripost_core.lm.encode import row_lengths_tokens, text_lengths_tokens
from tripost_core.lm.phrases import phrases
from tripost_core.lm.tokenizer import build_tokenizer
from tripost_core.problems import TASKS, load_task
from tripost_core.replay.lengths import bound_of, count_builtin, length_limit, phrases_of_builtin_kind
from tripost_core.replay.rows import segments

PIECES = st.sampled_from(
    [*phrases(), "1", "12", "345", " ", "\n", ")", "<s>", "</s>", "\x01", "\x02", "\u00e9", "\u0663", "ab"]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join)


def bpe(normalizer=None, add_prefix_space=False, vocabulary=300, phrase=None):
    """A tokenizer such as students come with: BPE on bytes, trained on a little text."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = getattr(normalizers, normalizer)()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["Let's calculate the answer of the step."] * 3, trainer)
    if phrase:
        tokenizer.add_tokens([AddedToken(phrase, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>")


TOKENIZERS = {
    "built-in": build_tokenizer(),
    "bytes": bpe(),
    "bytes and a phrase": bpe(phrase=" the answer"),
    "normal form": bpe(normalizer="NFC"),
    "longer normal form": bpe(normalizer="NFKD"),
    "blank in front": bpe(add_prefix_space=True),
}


def described(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def test_which_texts_have_no_more_tokens_than_bytes():
    bounds = {name: bound_of(described(tokenizer)) for name, tokenizer in TOKENIZERS.items()}
    assert bounds == {
        "built-in": "all",
        "bytes": "all",
        "bytes and a phrase": "all",
        "normal form": "ascii",
        "longer normal form": "none",
        "blank in front": "none",
    }
    assert {name for name, tokenizer in TOKENIZERS.items() if phrases_of_builtin_kind(described(tokenizer))} == {
        "built-in"
    }


@pytest.mark.parametrize("name", TASKS)
def test_the_headers_of_every_task_are_one_token_of_the_built_in_tokenizer(name):
    assert length_limit(TOKENIZERS["built-in"], load_task(name), 1024).header_is_token


@settings(max_examples=120, deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_tokens_are_counted_by_expressions_as_by_the_tokenizer(texts):
    tokenizer = TOKENIZERS["built-in"]
    counted = count_builtin(pl.Series(texts, dtype=pl.String), phrases_of_builtin_kind(described(tokenizer)))
    assert counted == text_lengths_tokens(texts, tokenizer)
    assert counted == [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


LINES = st.sampled_from(
    ["(1) This is 12.", "(2) 345 - -6 = 7", "", "List: a", "Options:", "Q: Sort the following words alphabetically:"]
)
ATTEMPTS = TEXTS | st.lists(LINES, max_size=6).map("\n".join)
QUESTIONS = TEXTS | st.just("How many?")
ROWS = st.lists(st.tuples(QUESTIONS, ATTEMPTS, TEXTS, st.none() | ATTEMPTS), min_size=1, max_size=4)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40, deadline=None)
@given(rows=ROWS, task=st.sampled_from(TASKS), limit=st.integers(16, 400))
def test_a_row_is_too_long_where_training_says_so(name, rows, task, limit):
    tokenizer, loaded = TOKENIZERS[name], load_task(task)
    lengths = row_lengths_tokens([segments(loaded, *row) for row in rows], tokenizer)
    too_long = length_limit(tokenizer, loaded, limit)
    names = ["question", "attempt", "feedback", "updated"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    assert too_long(frame).to_list() == [length > limit for length in lengths]
