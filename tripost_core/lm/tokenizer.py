"""The built-in student's tokenizer: template phrases are one token, numbers go by two digits, words by letters.

Short sequences are what make everything fit on two cores: a sentence that every rationale repeats is a single token,
and what has to be computed or compared is spelled out. Numbers are cut into groups of two digits from the right
(196 -> `1` `96`), so that the same token always stands for the same place value. Anything else falls back to bytes:
encoding is lossless for every string of Unicode text.

Phrases begin with the newline of their line where they open one, so the segments of a rendered trajectory (question
block, answer header, attempt, feedback line, updated header, attempt) begin at token boundaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tripost_core.lm.phrases import phrases

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
VOCAB_SIZE = 960
"""Rows of the embedding; the phrases may grow into the rows that are spare."""


def build_tokenizer(model_max_length: int = 4096) -> PreTrainedTokenizerFast:
    """The tokenizer as a plain `transformers` one: BOS is put first, EOS is left to the caller, pad != EOS."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [f"{a}{b}" for a in "0123456789" for b in "0123456789"]
    vocabulary = {token: i for i, token in enumerate([BOS, EOS, PAD, *symbols, *pairs])}
    # After the split below a run of digits holds at most two, so these merges make exactly the pairs.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(p[0], p[1]) for p in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9]{1,2}(?=(?:[0-9]{2})*(?![0-9]))"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (BOS, EOS, PAD)])
    # Not special: decoding with skip_special_tokens keeps them.
    tokenizer.add_tokens([AddedToken(p, special=False, normalized=False) for p in phrases()])
    assert tokenizer.get_vocab_size() <= VOCAB_SIZE, tokenizer.get_vocab_size()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        model_max_length=model_max_length,
        split_special_tokens=True,  # a text that spells `</s>` stays text
        clean_up_tokenization_spaces=False,
    )
