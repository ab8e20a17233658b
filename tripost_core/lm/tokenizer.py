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

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
VOCAB_SIZE = 512
"""Rows of the embedding; the phrases may grow into the rows that are spare."""

_STRUCTURE = (
    "\nFeedback:",
    "\n(Final response)",
    "\n(",
    "Q: ",
    " + ",
    " - ",
    " * ",
    " = ",
    " + -",
    " - -",
    " * -",
    " = -",
    "(-",
    " < ",
    " ? ",
)
_ARITHMETIC = (
    ') This equation can be written as "',
    '", where ',
    ") Let's calculate ",
    ") Then, the final equation is ",
    "\n(Final response) So the answer is ",
    " and ",
)
_WORDS = (
    "Q: Sort the following words alphabetically:\nList: ",
    ') The first letter: "',
    '"="',
    '" (',
    '), "',
    ").",
    ") We now have: (",
    ') "',
    ') ["',
    '" ? "',
    '"] < (',
    '" < (',
    '"].',
    '".',
    ') Now sort this subpart ["',
    '"] by looking at their ',
    ' letters: "',
    ') Hence, we have "',
    '" < "',
    "\n(Final response) So the answer is: ",
)
_ORDINALS = (
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_CHOICES = (
    "\nOptions:",
    "\n(Final response) So the answer is (",
    " So the answer is (",
    ") Combining (",
    ") and (",
    ") we get the following ordering: ",
    ") According to this ordering, the ",
    "(left) ",
    " (right)",
    " ?? ",
)
_FEEDBACK = (
    " Step (",
    ") to step (",
    ") is correct.",
    ") are correct.",
    " In step (",
    " In step (Final response",
    ') the part "',
    '" is incorrect. This is because ',
    " The final response is also correct.",
)

# Reasons as the scripted experts word them. None is a bare word, which a list of words could hold.
_REASONS = (
    ") is ",
    ", not ",
    "it has a number that ",
    " does not have",
    "a number of ",
    " is left out",
    "other brackets than in ",
    " change the order of the operations",
    "an operator of ",
    " is changed",
    "numbers of ",
    " have changed their places",
    "the sign changes from ",
    "a sign is wrong: ",
    "the sign is wrong: ",
    "the operations of ",
    " are done in the wrong order",
    " should be ",
    " as in the question",
    " is defined as ",
    "the steps before it give ",
    "with the definitions it gives ",
    ", which is not what the question asks for",
    "the equation to calculate is ",
    '" is a miscopied "',
    '" is not one of the words to be sorted',
    '" has already been listed in this step',
    "the first letter of ",
    " letter of ",
    '" is "',
    " letters of these words have not been looked at yet",
    " letters of these words have already been looked at",
    "the order of these words is already known",
    "this unknown subpart also has ",
    "these words are not together in one unknown subpart",
    "the letter ",
    '" has the number ',
    "the letter of ",
    '" is missing',
    '" of step (',
    ") got lost",
    '" got lost',
    "according to step (",
    ') the number of "',
    '" stands alone, so nothing is unknown about it',
    'it is not known that "',
    '" comes before "',
    ") is smaller than (",
    "), so it comes first",
    '" have the same number, so their order is still unknown',
    'the steps before put "',
    '" before "',
    'a conclusion must not leave the order of "',
    'no step has worked out yet which of "',
    '" comes first',
    'it leaves out "',
    '", which the step before it has here',
    'the step before it has "',
    '" here',
    '" and "',
)


def phrases() -> tuple[str, ...]:
    """Every text that is one token, in the order of their ids: answer headers of the tasks, then templates."""
    from tripost_core.problems import TASKS, load_task

    headers = [load_task(name).answer_header for name in TASKS]
    ordered = [*(f"\nUpdated {header}" for header in headers), *(f"\n{header}" for header in headers)]
    ordered += [*_STRUCTURE, *_ARITHMETIC, *_WORDS, *_FEEDBACK]
    ordered += [f'"] by looking at their {ordinal} letters: "' for ordinal in _ORDINALS]
    ordered += [*_CHOICES, *_REASONS]
    return tuple(dict.fromkeys(ordered))


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
